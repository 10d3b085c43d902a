"""Saving: the files after a save, after a save that failed, and after one that was killed."""

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
from helpers.constants import SHARED
from safetensors import safe_open
from safetensors.torch import load_file

import albert_torch
from albert_torch import (
    AlbertConfig,
    AlbertForPreTraining,
)
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
    """Catches: other metadata; tied tensors stored twice or under another name; permissions."""
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
    """Catches: a tensor that is not contiguous and is refused, or saved as it lies in memory."""
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
    """Catches: a limit that is off by one, 1024 for 1000, a large tensor that is refused."""
    save_state_dict(filled(1), tmp_path, size)
    expected = [f"model-{n:05}-of-{shards:05}.safetensors" for n in range(1, shards + 1)]
    expected = ["model.safetensors"] if shards == 1 else [*expected, "model.safetensors.index.json"]
    assert names(tmp_path) == expected
    if shards > 1:
        assert json.loads((tmp_path / expected[-1]).read_text())["metadata"]["total_size"] == 1600
    assert read(tmp_path).keys() == filled(1).keys()


@pytest.mark.parametrize("size", [0, -1, "5XB", "", "GB", 1.5, None])
def test_a_shard_size_that_is_not_one(size, tmp_path):
    """Catches: "5GB" read as 5 bytes, or an endless split."""
    with pytest.raises(
        ValueError,
        match=r"max_shard_size=.* must be a number of bytes above 0, or a text such as '5GB'",
    ):
        save_state_dict(filled(1), tmp_path, size)


def test_one_save_after_another(tmp_path):
    """Catches: old shards or an old index that a reader would prefer; unrelated files removed."""
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
    """Catches: a save that truncates the file from which its tensors are mapped."""
    save_state_dict(filled(1), tmp_path)
    state = read(tmp_path)
    save_state_dict(state, tmp_path)
    assert all(tensor.eq(1).all() for tensor in (*state.values(), *read(tmp_path).values()))


@pytest.mark.parametrize("size", [10_000, 400], ids=["one-file", "shards"])
def test_a_full_disk(size, tmp_path):
    """Catches: a damaged previous checkpoint, leftover files, an error without an explanation."""
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
    """Catches: files that are not synced, or only after the previous ones are gone."""
    save_state_dict(filled(1), tmp_path)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*Free disk space") as caught:
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
    """Catches: a moment in which the checkpoint is missing, incomplete or mixed from two saves."""
    rng = random.Random(sizes)
    environment = {**os.environ, "PYTHONPATH": str(Path(albert_torch.__file__).parent.parent)}
    command = [sys.executable, "-c", SAVER, str(tmp_path), sizes]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        first = process.stdout.readline()
        assert first == "0\n"
        for _ in range(10):  # stop, read what a kill at this moment would leave, and continue
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
