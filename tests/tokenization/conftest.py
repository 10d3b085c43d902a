"""SentencePiece models and tokenizers for the tests of tokenization."""

from pathlib import Path

import pytest
import sentencepiece
import transformers
from helpers.google_tokenizer import train_sentencepiece

from albert_torch.tokenization.tokenizer import AlbertTokenizer

SMALL_AND_PUBLISHED = ["small", pytest.param("published", marks=pytest.mark.assets)]


@pytest.fixture(scope="session")
def small_model() -> bytes:
    """The contents of a small spiece.model."""
    return train_sentencepiece()


@pytest.fixture(scope="session")
def small_model_file(tmp_path_factory: pytest.TempPathFactory, small_model: bytes) -> Path:
    path = tmp_path_factory.mktemp("sentencepiece") / "spiece.model"
    path.write_bytes(small_model)
    return path


@pytest.fixture(scope="session", params=SMALL_AND_PUBLISHED)
def model_file(request: pytest.FixtureRequest, small_model_file: Path) -> Path:
    """A small spiece.model, and the one of the published English models."""
    if request.param == "small":
        return small_model_file
    assets: Path = request.getfixturevalue("assets")
    return assets / "assets" / "spiece.model"


@pytest.fixture(scope="session")
def tokenizer(model_file: Path) -> AlbertTokenizer:
    return AlbertTokenizer.from_pretrained(model_file)


@pytest.fixture(scope="session")
def processor(model_file: Path) -> "sentencepiece.SentencePieceProcessor":
    """The sentencepiece package, with the model of `tokenizer`."""
    return sentencepiece.SentencePieceProcessor(model_file=str(model_file))


@pytest.fixture(scope="session")
def reference(
    tokenizer: AlbertTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> "transformers.PreTrainedTokenizerFast":
    """The tokenizer of transformers, with the files that `tokenizer` has saved."""
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)
