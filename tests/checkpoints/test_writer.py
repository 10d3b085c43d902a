"""saving.py: what is on the disk after a save, a save that fails, and a save that is killed."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import transformers
from helpers.constants import SHARED, TINY
from safetensors import safe_open
from safetensors.torch import load_file

import albert_torch
from albert_torch import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertModel,
    CheckpointError,
)
from albert_torch.checkpoints.convert import convert
from albert_torch.checkpoints.reader import read_state_dict
from albert_torch.checkpoints.writer import save_state_dict
from albert_torch.hub import Source

CONFIG = {**SHARED, "num_hidden_layers": 2}


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def filled(value, count=4):
    return {f"x{i}": torch.full((10, 10), float(value)) for i in range(count)}  # 400 bytes each


def read(folder):
    return read_state_dict(Source(folder))[0]


def test_the_file_is_as_transformers_writes_it(tmp_path):
    """Kills: other metadata, tied copies stored twice or under the decoder's name, a file only its owner can read."""
    AlbertForPreTraining(AlbertConfig(**CONFIG)).save_pretrained(tmp_path)
    assert names(tmp_path) == ["config.json", "model.safetensors"]
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        keys = set(file.keys())
    transformers.AlbertForPreTraining(transformers.AlbertConfig(**CONFIG)).save_pretrained(
        tmp_path / "theirs"
    )
    assert keys == load_file(tmp_path / "theirs" / "model.safetensors").keys()
    (tmp_path / "plain").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_views_and_transposes(tmp_path):
    """Kills: a tensor that is not contiguous refused, or saved in the order of its memory; a view saved as its base."""
    base = torch.arange(12.0).view(3, 4)
    state = {"t": base.T, "row": base[1], "base": base, "again": base, "empty": torch.empty(0)}
    save_state_dict(state, tmp_path)
    after = read(tmp_path)
    assert after.keys() == {"t", "row", "base", "empty"}
    assert all(torch.equal(state[key], after[key]) for key in after)


@pytest.mark.parametrize(
    ("size", "shards"), [(400, 4), (401, 4), (800, 2), ("1KB", 2), ("1KiB", 2), (1, 4), (1600, 1)]
)
def test_shard_sizes(size, shards, tmp_path):
    """Kills: a limit that is off by one, 1024 for 1000, or a tensor above the limit refused."""
    save_state_dict(filled(1), tmp_path, size)
    expected = [f"model-{n:05}-of-{shards:05}.safetensors" for n in range(1, shards + 1)]
    expected = ["model.safetensors"] if shards == 1 else [*expected, "model.safetensors.index.json"]
    assert names(tmp_path) == expected
    if shards > 1:
        assert json.loads((tmp_path / expected[-1]).read_text())["metadata"]["total_size"] == 1600
    assert read(tmp_path).keys() == filled(1).keys()


@pytest.mark.parametrize("size", [0, -1, "5XB", "", "GB", 1.5, None])
def test_a_shard_size_that_is_none(size, tmp_path):
    """Kills: "5GB" misread as 5 bytes, or an endless split."""
    with pytest.raises(
        ValueError,
        match=r"max_shard_size=.* must be a number of bytes above 0, or text such as '5GB'",
    ):
        save_state_dict(filled(1), tmp_path, size)


def test_one_save_after_another(tmp_path):
    """Kills: stale shards or a stale index that a reader would prefer; another's files removed."""
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / "model.txt").touch()
    for value, size in enumerate([800, 400, 400, 10_000, 400, 800, 10_000]):
        save_state_dict(filled(value), tmp_path, size)
        assert all(tensor.eq(value).all() for tensor in read(tmp_path).values())
        weights = [
            name for name in names(tmp_path) if name not in ("pytorch_model.bin", "model.txt")
        ]
        assert len(weights) == {800: 3, 400: 5, 10_000: 1}[size]
    assert {"pytorch_model.bin", "model.txt"} < set(names(tmp_path))


def test_saving_over_the_file_that_is_mapped(tmp_path):
    """Kills: a save that truncates the very file its tensors still lie in."""
    save_state_dict(filled(1), tmp_path)
    state = read(tmp_path)
    save_state_dict(state, tmp_path)
    assert all(tensor.eq(1).all() for tensor in (*state.values(), *read(tmp_path).values()))


@pytest.mark.parametrize("size", [10_000, 400], ids=["one-file", "shards"])
def test_a_full_disk(size, tmp_path):
    """Kills: an old checkpoint spoiled, hidden files left, or an error that does not say what happened."""
    save_state_dict(filled(1), tmp_path, size, config="{}")
    before = names(tmp_path)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, old[1]))
    try:
        with pytest.raises(
            OSError, match=r"could not save \(.*File too large.*\); existing files are unchanged"
        ):
            save_state_dict({**filled(2), "large": torch.ones(1000)}, tmp_path, size, config="{}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == before
    assert all(tensor.eq(1).all() for tensor in read(tmp_path).values())


def test_a_disk_that_fills_while_syncing(tmp_path, monkeypatch):
    """Kills: an fsync that is not there, or whose error comes after the old file is gone."""
    save_state_dict(filled(1), tmp_path)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"No space left on device.*Free disk space"
    ) as caught:
        save_state_dict(filled(2), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["model.safetensors"]
    assert all(tensor.eq(1).all() for tensor in read(tmp_path).values())


SAVER = """
import itertools, sys, torch
from albert_torch.checkpoints.writer import save_state_dict
for value in itertools.count():
    state = {f"x{i}": torch.full((100, 100), float(value)) for i in range(4)}
    save_state_dict(state, sys.argv[1], sys.argv[2].split("/")[value % 2], config="{}")
    print(value, flush=True)
"""


@pytest.mark.parametrize("sizes", ["5GB/5GB", "5GB/50KB", "50KB/50KB"])
def test_a_save_that_is_killed(sizes, tmp_path):
    """Kills: a moment in which the checkpoint is gone, half written or of two saves (SIGKILL at random moments)."""
    rng = random.Random(sizes)
    environment = {**os.environ, "PYTHONPATH": str(Path(albert_torch.__file__).parent.parent)}
    command = [sys.executable, "-c", SAVER, str(tmp_path), sizes]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        first = process.stdout.readline()
        assert first == "0\n"
        for _ in range(
            10
        ):  # stopped, looked at as a reader would find it after a kill there, and set going again
            time.sleep(rng.random() * 0.02)
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            frozen = shutil.copytree(tmp_path, tmp_path.with_name("frozen"))
            whole(frozen)
            shutil.rmtree(frozen)
            process.send_signal(signal.SIGCONT)
        time.sleep(rng.random() * 0.02)
        process.kill()
        process.communicate()
        whole(tmp_path)


def whole(folder):
    state = read(folder)
    assert sorted(state) == ["x0", "x1", "x2", "x3"]
    assert len({number for tensor in state.values() for number in tensor.flatten().tolist()}) == 1


# ---- convert ----

CLASSES = ["AlbertModel", "AlbertForPreTraining", "AlbertForMaskedLM", "AlbertForSequenceClassification",
           "AlbertForTokenClassification", "AlbertForQuestionAnswering", "AlbertForMultipleChoice"]  # fmt: skip


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_convert_an_old_pickle(name, named, tmp_path):
    """Kills: a head lost, a wrong prefix, a class that transformers then reads with keys missing or left over."""
    torch.manual_seed(1)
    theirs = getattr(transformers, name)(transformers.AlbertConfig(**TINY)).eval()
    theirs.config.architectures = [name] if named else None
    theirs.config.save_pretrained(tmp_path / "old")
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma"): value
        for key, value in theirs.state_dict().items()
    }
    old = {f"module.{key}": value.clone() for key, value in old.items()}  # the tied copies apart
    torch.save(old, tmp_path / "old" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "old" / "spiece.model").write_bytes(b"pieces")
    convert(tmp_path / "old", tmp_path / "new")
    assert names(tmp_path / "new") == ["config.json", "model.safetensors", "spiece.model"]
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    if not named and name == "AlbertForMultipleChoice":
        name = "AlbertForSequenceClassification"  # the same tensors but for their number of labels
    assert config["architectures"] == [name]
    assert config["dtype"] == "float32"
    theirs.save_pretrained(tmp_path / "theirs")
    ours, reference = (
        load_file(tmp_path / which / "model.safetensors") for which in ("new", "theirs")
    )
    assert ours.keys() == reference.keys()
    assert all(torch.equal(ours[key], reference[key]) for key in reference)


def test_convert_keeps_all_heads_and_works_in_place(tmp_path):
    """Kills: a pooler dropped since the named class has none; a tokenizer file copied onto itself."""
    model = AlbertForPreTraining(AlbertConfig(**CONFIG))
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    config = json.loads((tmp_path / "config.json").read_text()) | {
        "architectures": ["AlbertForMaskedLM"]
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    before = load_file(tmp_path / "model.safetensors")
    convert(str(tmp_path), tmp_path)
    after = load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert "albert.pooler.weight" in after
    AlbertForMaskedLM.from_pretrained(tmp_path)


def test_convert_changes_the_dtype_when_asked(tmp_path):
    """Kills: a dtype that is not applied, or that the config does not tell."""
    model = AlbertForPreTraining(AlbertConfig(**CONFIG))
    model.save_pretrained(tmp_path)
    convert(tmp_path, tmp_path / "half", torch.bfloat16)
    half = AlbertForPreTraining.from_pretrained(tmp_path / "half").state_dict()
    assert all(
        torch.equal(half[name], value.bfloat16()) for name, value in model.state_dict().items()
    )
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"


def test_convert_refuses_what_is_no_albert(tmp_path):
    """Kills: any file at all rewritten as an ALBERT."""
    AlbertModel(AlbertConfig(**CONFIG)).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    save_state_dict({"bert.encoder.x": torch.ones(1)}, tmp_path, config=config)
    with pytest.raises(CheckpointError, match=r"holds bert.encoder.x, which is in no ALBERT"):
        convert(tmp_path, tmp_path / "new")
    save_state_dict({"classifier.bias": torch.ones(1)}, tmp_path, config=config)
    with pytest.raises(CheckpointError, match="no embeddings and no encoder"):
        convert(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()
