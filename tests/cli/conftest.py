"""Fixtures of the tests of the command line: a way to run it, and tiny models with a few words."""

from pathlib import Path

import pytest
from helpers.word_models import CommandLine, save_word_model


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Runs a command in this process."""
    return CommandLine(capsys, monkeypatch)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier of three classes with names."""
    labels = {"id2label": {0: "calm", 1: "stormy", 2: "foggy"}, "num_labels": 3}
    directory = tmp_path_factory.mktemp("classifier")
    return str(save_word_model("AlbertForSequenceClassification", directory, **labels))


@pytest.fixture(scope="session")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that predicts one number."""
    directory = tmp_path_factory.mktemp("regressor")
    options = {"num_labels": 1, "problem_type": "regression"}
    return str(save_word_model("AlbertForSequenceClassification", directory, **options))


@pytest.fixture(scope="session")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A masked language model."""
    return str(save_word_model("AlbertForMaskedLM", tmp_path_factory.mktemp("masked_lm")))


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A question answering model."""
    return str(save_word_model("AlbertForQuestionAnswering", tmp_path_factory.mktemp("reader")))


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """Three lines of text, the longest first, so that sorting by length changes the order."""
    path = tmp_path / "texts.txt"
    path.write_text("the captain stood on the deck\na ship\nthe sea .\n")
    return path
