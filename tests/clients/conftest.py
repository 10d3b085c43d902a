"""What the clients are given: a small checkpoint with its tokenizer, and sentences with labels.  No network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from albert_torch.register import AUTO_CLASSES, register_with_transformers
from albert_torch.tokenizer import AlbertTokenizer

SENTENCES = [
    ("a warm and funny film about growing old", 1),
    ("dull , slow and far too long", 0),
    ("the actors are a joy to watch", 1),
    ("nothing in it is worth your time", 0),
    ("one of the best scripts of the year", 1),
    ("a mess of half finished ideas", 0),
    ("it made me laugh and then cry", 1),
    ("the jokes fall flat every time", 0),
]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clients: runs a real client package; skips when it is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("clients")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as on the Hub, written by transformers: random `AlbertModel`, `spiece.model`, tokenizer files."""
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


def shape(vocab_size: int) -> dict[str, Any]:
    """One layer, run three times."""
    sizes = {"embedding_size": 10, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
    return {**sizes, "vocab_size": vocab_size, "intermediate_size": 36, "max_position_embeddings": 48}


@pytest.fixture
def rows(checkpoint: Path) -> list[dict[str, Any]]:
    """The sentences as a Trainer takes them: dicts of ids, mask and label."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    cut = {"max_length": 32, "truncation": True, "padding": "max_length"}
    return [{**tokenizer(text, **cut), "labels": label} for text, label in SENTENCES]


@pytest.fixture
def registered() -> Iterator[None]:
    """transformers with our models registered, and without them afterwards."""
    pytest.importorskip("transformers")
    register_with_transformers()
    yield
    unregister()


def unregister() -> None:
    """Undo `register_with_transformers`, which has no such half: transformers keeps what is registered."""
    import transformers

    for name in AUTO_CLASSES:
        getattr(transformers, name)._model_mapping._extra_content.pop(transformers.AlbertConfig, None)
