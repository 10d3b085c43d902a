"""Reading weight files: complete, damaged and hostile ones, all made here."""

import json
import os
import random
import shutil
import struct
import warnings

import pytest
import torch
from helpers.checkpoint_files import CONFIG, as_pickle, weights
from safetensors.torch import save_file

from albert_torch import AlbertConfig, AlbertForMaskedLM, AlbertModel, CheckpointError
from albert_torch.checkpoints.reader import WEIGHT_FILES, read_state_dict
from albert_torch.hub import Source


def test_order_of_weight_files(saved, tmp_path):
    """Catches: an old .bin that is preferred to the safetensors file next to it."""
    for number, name in reversed(list(enumerate(WEIGHT_FILES))):
        state = {"x": torch.full((1,), float(number))}
        if name.endswith("index.json"):
            shard = f"{number}.safetensors" if "safetensors" in name else f"{number}.bin"
            (tmp_path / name).write_text(json.dumps({"weight_map": {"x": shard}}))
            name = shard
        (save_file if "safetensors" in name else torch.save)(state, tmp_path / name)
        read, path = read_state_dict(Source(tmp_path))
        assert read["x"].item() == number
        assert path.name == WEIGHT_FILES[number]


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_give_the_numbers_of_safetensors(zipped, folder):
    """Catches: pickles of torch before 1.6, which cannot be mapped, refused or read wrongly."""
    before = weights(folder)
    as_pickle(folder, _use_new_zipfile_serialization=zipped)
    after, _ = read_state_dict(Source(folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_directory_without_weights(folder):
    """Catches: a message that does not name the files that were looked for."""
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"does not contain model.safetensors or .* or pytorch_model.bin.index.json",
    ):
        AlbertModel.from_pretrained(folder)


def _header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: b"", "model.safetensors is empty; download"),
        (lambda whole: b"   \n", "model.safetensors is empty; download"),
        (lambda whole: whole[: len(whole) // 2], "not a complete safetensors file .* again"),
        (lambda whole: whole[:7], "not a complete safetensors file"),
        (lambda whole: whole[:8] + b"?" + whole[9:], "not a complete safetensors file"),
        (lambda whole: whole.replace(b'"F32"', b'"F33"', 1), "not a complete safetensors file"),
        (lambda whole: struct.pack("<Q", 7 << 30) + whole[8:], "not a complete safetensors file"),
        (
            lambda whole: _header(b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
            "not a complete safetensors",
        ),
        (
            lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "pointer of git-lfs.* `git lfs pull`",
        ),
        (lambda whole: b"<!DOCTYPE html><html></html>", "is a web page instead of weights"),
    ],
    ids=[
        "empty",
        "blank",
        "half",
        "stub",
        "no-json",
        "bit-flip",
        "gigabytes",
        "no-data",
        "lfs",
        "html",
    ],
)
def test_unreadable_safetensors(content, message, folder):
    """Catches: a traceback from Rust, a hang, gigabytes allocated for a wrong header."""
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(content(whole))
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code(zipped, folder, tmp_path):
    """Catches: torch.load without weights_only; torch's advice to switch it off passed on."""
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "ran"
    torch.save(
        {"x": Evil(str(marker))},
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(
        CheckpointError, match=r"asks to run posix.mkdir, which was refused; convert it"
    ) as caught:
        AlbertModel.from_pretrained(folder)
    assert "weights_only" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-100]),
            "not a complete PyTorch checkpoint",
        ),
        (lambda path: path.write_bytes(b"garbage" * 99), "not a complete PyTorch checkpoint"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"storage", b"storagf", 1)),
            "not a complete PyTorch",
        ),
        (lambda path: torch.save([1, 2], path), "contains a list instead of a state dict"),
        (lambda path: torch.save({"x": 3}, path), "x is not a plain tensor; save model.state_dict"),
        (lambda path: torch.save({"x": torch.eye(2).to_sparse()}, path), "x is not a plain tensor"),
    ],
)
def test_unreadable_pickles(spoil, message, folder):
    """Catches: exceptions of the unpickler passed on; a wrong byte that a checksum shows."""
    as_pickle(folder)
    spoil(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


def test_a_pickle_that_names_another_tensors_bytes(tmp_path):
    """Catches: a damaged pickle, for which torch.load gives b the numbers of a."""
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(4), "b": torch.zeros(4)}, path)
    first, second = (
        b"X\x01\x00\x00\x00" + number for number in (b"0", b"1")
    )  # the names of the storages
    path.write_bytes(path.read_bytes().replace(second, first))
    assert torch.load(path, weights_only=True)["b"].eq(1).all(), "torch sees nothing wrong"
    with pytest.raises(
        CheckpointError, match=r"not a complete PyTorch checkpoint \(BadZipFile: Bad CRC-32"
    ):
        read_state_dict(Source(tmp_path))


def shard(folder):
    """Split the weights into two shards: the first key, and all others."""
    state = weights(folder)
    first, *rest = state
    (folder / "model.safetensors").unlink()
    save_file({first: state[first]}, folder / "a.safetensors")
    save_file({key: state[key] for key in rest}, folder / "b.safetensors")
    index = {"weight_map": {first: "a.safetensors", **dict.fromkeys(rest, "b.safetensors")}}
    return index, first, rest, state


def test_shards_give_the_numbers_of_one_file(folder):
    """Catches: a shard that is left out."""
    index, *_, state = shard(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    read, _ = read_state_dict(Source(folder))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda m, first, rest: m | {first: "../a.safetensors"},
            "points outside its directory: '../a.safetensors'",
        ),
        (
            lambda m, first, rest: m | {first: "/etc/passwd"},
            "points outside its directory: '/etc/passwd'",
        ),
        (lambda m, first, rest: m | {first: ""}, "points outside its directory: ''"),
        (
            lambda m, first, rest: m | {first: "c.safetensors"},
            "names c.safetensors, which does not exist",
        ),
        (
            lambda m, first, rest: m | {"junk": "a.safetensors"},
            "a.safetensors lacks junk, which model.safetensors.index",
        ),
        (
            lambda m, first, rest: {k: v for k, v in m.items() if k != rest[0]},
            "is not named by model.safetensors.index",
        ),
        (lambda m, first, rest: m | {first: 1}, "must contain .*weight_map"),
        (lambda m, first, rest: [], "must contain .*weight_map"),
        (lambda m, first, rest: {}, "must contain .*weight_map"),
    ],
)
def test_a_wrong_index(spoil, message, folder):
    """Catches: an index that reads other files; a shard or key whose absence goes unnoticed."""
    index, first, rest, _ = shard(folder)
    index["weight_map"] = spoil(index["weight_map"], first, rest)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


def test_a_key_in_two_shards(folder):
    """Catches: a tensor that is taken from whichever shard is read last."""
    index, first, _, state = shard(folder)
    save_file(state, folder / "b.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"{first} is in two shards"):
        AlbertModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}', "duplicate keys: x"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("\udce9", "is not valid JSON"),
    ],
)
def test_an_index_that_is_damaged(text, message, folder):
    """Catches: a duplicate key, which Python's JSON reader accepts; damaged files."""
    shard(folder)
    (folder / "model.safetensors.index.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=message):
        AlbertModel.from_pretrained(folder)


KINDS_OF_DAMAGE = (
    *["bytes"] * 2,
    *["header"] * 2,
    *["cut", "extended", "removed", "swapped"],
    *["json"] * 3,
)
WRONG_NUMBERS = (None, True, 0, -1, 1, 2, 3, 7, 10**9, 10**12, 10**30, 1.5, 1e300, float("nan"))
WRONG_OTHERS = ("", "x", "../x", [], {}, [1])


def damage_a_file(folder, rng):
    """Damage a file at random, and return whether the numbers may differ afterwards."""
    path = rng.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    damage = rng.choice(KINDS_OF_DAMAGE)
    if damage == "json" and path.suffix == ".json":
        values = json.loads(content)
        place, key = values, rng.choice(sorted(values))
        while isinstance(place[key], dict) and place[key]:
            place, key = place[key], rng.choice(sorted(place[key]))
        place[key] = rng.choice([*WRONG_NUMBERS, *WRONG_OTHERS])
        path.write_text(json.dumps(values))
        return False
    if damage == "removed":
        path.unlink()
        return False
    if damage == "swapped":
        other = rng.choice(sorted(folder.iterdir()))
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return False
    end_of_header = 0
    if path.suffix == ".safetensors":
        end_of_header = 8 + int.from_bytes(content[:8], "little")
    if damage == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
        return False
    if damage == "extended":
        path.write_bytes(content + rng.randbytes(rng.randrange(1, 99)))
        return False
    end = end_of_header if damage == "header" and end_of_header else len(content)
    places = [rng.randrange(end) for _ in range(rng.choice([1, 1, 2, 8]))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return path.suffix == ".bin" or (path.suffix == ".safetensors" and max(places) >= end_of_header)


@pytest.mark.parametrize("kind", ["safetensors", "shards", "zip", "legacy"])
def test_damage_is_loaded_right_or_refused(kind, tmp_path):
    """Catches: a crash, a hang, a huge allocation or a wrong weight after any damage to a file."""
    whole, rng = tmp_path / "whole", random.Random(kind)
    config = AlbertConfig(
        **{**CONFIG, "vocab_size": 11, "max_position_embeddings": 5, "intermediate_size": 7}
    )
    model = AlbertForMaskedLM(config)
    model.save_pretrained(whole, max_shard_size=4000 if kind == "shards" else "5GB")
    if kind in ("zip", "legacy"):
        as_pickle(whole, _use_new_zipfile_serialization=kind == "zip")
    right = model.state_dict()
    loaded = refused = 0
    for number in range(550):
        folder = shutil.copytree(whole, tmp_path / str(number))
        may_differ = damage_a_file(folder, rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = AlbertForMaskedLM.from_pretrained(folder).state_dict()
            assert may_differ or all(torch.equal(right[key], state[key]) for key in right), (
                f"wrong weight in {folder}"
            )
            loaded += 1
        except (ValueError, FileNotFoundError):  # CheckpointError is a ValueError
            refused += 1
        shutil.rmtree(folder)
    assert loaded > 20
    assert refused > 100
