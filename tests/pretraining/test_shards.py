"""Shards on disk: what is damaged is refused, and files are mapped, a few at a time."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.small_corpus import letter_tokenizer, write_documents

from albert_torch.pretraining import shards
from albert_torch.pretraining.prepare import prepare_shards
from albert_torch.pretraining.shards import Shards


@pytest.fixture
def prepared(tmp_path: Path) -> Shards:
    """A corpus of many small shards."""
    text = write_documents(tmp_path / "text.txt")
    return prepare_shards(
        tmp_path / "c", [text], letter_tokenizer(), shard_tokens=100, progress=False
    )


def damage_index(folder: Path) -> None:
    (folder / "index.json").write_text("{")


def change_format(folder: Path) -> None:
    index = folder / "index.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 2'))


def truncate_shard(folder: Path) -> None:
    file = folder / "shard-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def remove_shard(folder: Path) -> None:
    (folder / "shard-00001.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (damage_index, r"index\.json is not the index of a corpus"),
        (change_format, r"index\.json has format 2, but this version reads format 1"),
        (truncate_shard, r"00001\.safetensors has \d+ bytes instead of \d+; delete its folder"),
        (remove_shard, r"00001\.safetensors has no bytes instead of \d+; delete its folder"),
    ],
)
def test_a_damaged_corpus_is_refused(
    prepared: Shards, damage: Callable[[Path], None], match: str
) -> None:
    """Catches: an error in the middle of training."""
    damage(prepared.folder)
    with pytest.raises(ValueError, match=match):
        Shards.open(prepared.folder)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    """Catches: a corpus that is still being written taken for a complete one."""
    match = r"contains no prepared corpus \(there is no index\.json\); prepare one"
    with pytest.raises(FileNotFoundError, match=match):
        Shards.open(tmp_path)


def test_only_a_few_shards_are_mapped(prepared: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a corpus that is read into memory, and copied to every worker process."""
    monkeypatch.setattr(shards, "MAX_MAPPED_SHARDS", 4)
    assert len(prepared) > 2 * shards.MAX_MAPPED_SHARDS
    for number in range(len(prepared)):
        assert prepared[number] is prepared[number]
    assert len(prepared._mapped) == shards.MAX_MAPPED_SHARDS
    assert len(pickle.dumps(prepared)) < 500
    again = pickle.loads(pickle.dumps(prepared))
    assert again[1].ids.equal(prepared[1].ids)
    with pytest.raises(IndexError, match=f"there is no shard {len(prepared)}; there are"):
        prepared[len(prepared)]
    memory_map = Path("/proc/self/maps")
    if memory_map.exists():
        assert str(prepared.folder / "shard-00001.safetensors") in memory_map.read_text()
