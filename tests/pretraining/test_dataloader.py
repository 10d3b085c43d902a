"""The feed: the same rows whatever the workers, processes and interruptions, from a corpus on disk."""

import copy
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import ROOT
from helpers.small_shards import VOCABULARY, tokenizer

from albert_torch.pretraining.dataloader import pretraining_batches
from albert_torch.pretraining.examples import FIRST_POSITION, ExampleOptions, Examples, Position
from albert_torch.pretraining.prepare import prepare_shards
from albert_torch.pretraining.shards import Shards

pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create"
)  # more workers than cores


def corpus(folder: Path) -> Shards:
    """Seven shards of random words."""
    draw = random.Random(0)
    lines = [
        " ".join(draw.choices(VOCABULARY[5:200], k=draw.randint(1, 12))) * (i % 6 > 0)
        for i in range(1_200)
    ]
    (folder / "text.txt").write_text("\n".join(lines))
    return prepare_shards(
        folder / "cache",
        [folder / "text.txt"],
        tokenizer(folder),
        shard_tokens=1_000,
        progress=False,
    )


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("corpus")
    shards = corpus(folder)
    assert len(shards) > 5
    return Examples(shards, tokenizer(folder), ExampleOptions(max_length=48, shards_per_group=2), seed=1)


def take(examples: Examples, batches: int, position: Position = FIRST_POSITION, **how: Any) -> list[Any]:
    return list(islice(pretraining_batches(examples, position, 8, **how), batches))


@pytest.fixture(scope="module")
def batches(examples: Examples) -> list[Any]:
    """More than an epoch, made by this process."""
    found = take(examples, 40)
    assert found[-1][1].epoch > 0
    return found


def test_batches_follow_the_plan(examples: Examples, batches: list[Any]) -> None:
    """Kills: a batch cut at the end of a group, a position of the batch before or after."""
    stream = list(islice(examples.plans(), 320))
    assert [row for rows, _ in batches for row in rows] == [
        examples.build(plan) for plan, _ in stream
    ]
    assert [position for _, position in batches] == [position for _, position in stream[7::8]]


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(examples: Examples, batches: list[Any], workers: int) -> None:
    """Kills: batches in the order in which workers finish, draws that depend on the worker."""
    assert take(examples, 40, num_workers=workers) == batches


@pytest.mark.parametrize("workers", [0, 1])
def test_two_processes_share_the_rows_of_one(
    examples: Examples, batches: list[Any], workers: int
) -> None:
    """Kills: the same rows on both processes, rows that no process has, batches that are not those of one process."""
    halves = [take(examples, 20, rank=rank, world_size=2, num_workers=workers) for rank in range(2)]
    for (even, position), (odd, same), (whole, expected) in zip(*halves, batches, strict=False):
        assert [row for pair in zip(even, odd, strict=True) for row in pair] == whole
        assert position == same == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_it_continues_from_any_batch(examples: Examples, batches: list[Any], workers: int) -> None:
    """Kills: prefetched batches that count as done, a group that starts again."""
    for i in random.Random(workers).sample(range(34), 2 if workers else 12):
        assert take(examples, 5, batches[i][1], num_workers=workers) == batches[i + 1 : i + 6]


def test_examples_travel_to_another_process(examples: Examples) -> None:
    """Kills: open files or lambdas inside, which workers that are not forked cannot be given."""
    there = pickle.loads(pickle.dumps(examples))
    plans = [plan for plan, _ in islice(examples.plans(), 20)]
    assert list(map(there.build, plans)) == list(map(examples.build, plans))


def test_the_global_generator_is_left_alone(examples: Examples) -> None:
    """Kills: dropout or weights that depend on how the data are read."""
    before = torch.get_rng_state(), copy.copy(random.getstate())
    take(examples, 2)
    take(examples, 2, num_workers=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_every_process_needs_a_row(examples: Examples) -> None:
    """Kills: an empty batch on the last of many processes."""
    with pytest.raises(
        ValueError, match="batch_size=8 leaves processes without examples: use at least 9"
    ):
        take(examples, 1, world_size=9)


def test_workers_end_with_the_feed(examples: Examples) -> None:
    """Kills: a worker more for each run of a sweep."""
    stream = pretraining_batches(examples, FIRST_POSITION, 8, num_workers=2)
    next(stream)
    assert len(multiprocessing.active_children()) == 2
    stream.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


KILLED = """
import multiprocessing, os, sys
from pathlib import Path
from pretraining.test_dataloader import (
    FIRST_POSITION, ExampleOptions, Examples, corpus, pretraining_batches, tokenizer
)

folder = Path(sys.argv[1])
examples = Examples(corpus(folder), tokenizer(folder), ExampleOptions(max_length=48), seed=1)
stream = pretraining_batches(examples, FIRST_POSITION, 2_000, num_workers=2)
next(stream)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), 9)
"""


def alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_do_not_outlive_a_killed_process(tmp_path: Path) -> None:
    """Kills: workers that wait for ever to hand over a batch, and hold the machine's memory."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [
            int(pid) for pid in process.stdout.readline().split()
        ]  # to the end, it would wait for workers
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = list(filter(alive, workers))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
