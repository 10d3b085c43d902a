"""A small checkpoint with its tokenizer, and sentences with labels, without any network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from helpers.clients import SENTENCES, shape, unregister

from albert_torch.integrations.transformers import register_with_transformers
from albert_torch.tokenization.tokenizer import AlbertTokenizer


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "clients: runs a real client package; skips when it is not installed"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("clients")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory like those on the Hub: a random `AlbertModel` and the files of a tokenizer."""
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "corpus.txt").write_text("\n".join(text for text, _ in SENTENCES * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "spiece"),
        vocab_size=90,
        hard_vocab_limit=False,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        minloglevel=2,
    )
    tokenizer = AlbertTokenizer.from_pretrained(folder, model_max_length=48)
    tokenizer.save_pretrained(folder)
    config = transformers.AlbertConfig(**shape(len(tokenizer)))
    transformers.AlbertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def rows(checkpoint: Path) -> list[dict[str, Any]]:
    """The sentences as Trainer takes them: dictionaries of ids, mask and label."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    cut = {"max_length": 32, "truncation": True, "padding": "max_length"}
    return [{**tokenizer(text, **cut), "labels": label} for text, label in SENTENCES]


@pytest.fixture
def registered() -> Iterator[None]:
    """Register our models with transformers, until the test is over."""
    pytest.importorskip("transformers")
    register_with_transformers()
    yield
    unregister()
