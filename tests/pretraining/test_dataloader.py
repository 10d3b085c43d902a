"""Batches: the same examples whatever the workers, processes and interruptions."""

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
from helpers.small_shards import PIECES, write_tokenizer

from albert_torch.pretraining.dataloader import ExampleBatch, pretraining_batches
from albert_torch.pretraining.examples import FIRST_POSITION, ExampleOptions, Examples, Position
from albert_torch.pretraining.prepare import prepare_shards
from albert_torch.pretraining.shards import Shards

# There may be more workers than cores.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def prepare_corpus(folder: Path) -> Shards:
    """Prepare seven shards of random words."""
    rng = random.Random(0)
    lines = [
        " ".join(rng.choices(PIECES[5:200], k=rng.randint(1, 12))) * (i % 6 > 0)
        for i in range(1_200)
    ]
    (folder / "text.txt").write_text("\n".join(lines))
    return prepare_shards(
        folder / "cache",
        [folder / "text.txt"],
        write_tokenizer(folder),
        shard_tokens=1_000,
        progress=False,
    )


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("corpus")
    shards = prepare_corpus(folder)
    assert len(shards) > 5
    options = ExampleOptions(max_length=48, shards_per_group=2)
    return Examples(shards, write_tokenizer(folder), options, seed=1)


def take(
    examples: Examples, count: int, position: Position = FIRST_POSITION, **options: Any
) -> list[ExampleBatch]:
    """The first batches of 8 examples from a position on."""
    return list(islice(pretraining_batches(examples, position, 8, **options), count))


@pytest.fixture(scope="module")
def batches(examples: Examples) -> list[ExampleBatch]:
    """More than an epoch, built by this process."""
    batches = take(examples, 40)
    assert batches[-1].next_position.epoch > 0
    return batches


def test_batches_follow_the_plans(examples: Examples, batches: list[ExampleBatch]) -> None:
    """Catches: a batch that ends with its group, the position of the batch before or after."""
    stream = list(islice(examples.plans(), 320))
    built = [example for batch in batches for example in batch.examples]
    assert built == [examples.build(plan) for plan, _ in stream]
    positions = [position for _, position in stream[7::8]]
    assert [batch.next_position for batch in batches] == positions


@pytest.mark.parametrize("num_workers", [1, 4])
def test_workers_change_nothing(
    examples: Examples, batches: list[ExampleBatch], num_workers: int
) -> None:
    """Catches: batches in the order in which workers finish, random numbers of the worker."""
    assert take(examples, 40, num_workers=num_workers) == batches


@pytest.mark.parametrize("num_workers", [0, 1])
def test_two_processes_share_the_examples_of_one(
    examples: Examples, batches: list[ExampleBatch], num_workers: int
) -> None:
    """Catches: the same examples in both processes, examples that no process has."""
    first, second = (
        take(examples, 20, rank=rank, world_size=2, num_workers=num_workers) for rank in range(2)
    )
    for even, odd, whole in zip(first, second, batches, strict=False):
        pairs = zip(even.examples, odd.examples, strict=True)
        assert [example for pair in pairs for example in pair] == whole.examples
        assert even.next_position == odd.next_position == whole.next_position


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_stream_continues_after_any_batch(
    examples: Examples, batches: list[ExampleBatch], num_workers: int
) -> None:
    """Catches: batches that were built ahead and count as used, a group that starts again."""
    for i in random.Random(num_workers).sample(range(34), 2 if num_workers else 12):
        continued = take(examples, 5, batches[i].next_position, num_workers=num_workers)
        assert continued == batches[i + 1 : i + 6]


def test_examples_can_be_pickled(examples: Examples) -> None:
    """Catches: open files or lambdas, which workers that are not forked cannot receive."""
    copied = pickle.loads(pickle.dumps(examples))
    plans = [plan for plan, _ in islice(examples.plans(), 20)]
    assert list(map(copied.build, plans)) == list(map(examples.build, plans))


def test_the_global_generators_are_not_used(examples: Examples) -> None:
    """Catches: dropout or weights that depend on how the data are read."""
    torch_state, python_state = torch.get_rng_state(), copy.copy(random.getstate())
    take(examples, 2)
    take(examples, 2, num_workers=1)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


def test_every_process_needs_an_example(examples: Examples) -> None:
    """Catches: an empty batch in the last of many processes."""
    match = "batch_size=8 leaves processes without examples: use at least 9"
    with pytest.raises(ValueError, match=match):
        take(examples, 1, world_size=9)


def test_workers_end_with_the_stream(examples: Examples) -> None:
    """Catches: workers that remain after each run of a sweep."""
    stream = pretraining_batches(examples, FIRST_POSITION, 8, num_workers=2)
    next(stream)
    assert len(multiprocessing.active_children()) == 2
    stream.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


# Starts two workers, prints their process ids, and kills itself.
KILLED = """
import multiprocessing, os, sys
from pathlib import Path
from pretraining.test_dataloader import prepare_corpus
from helpers.small_shards import write_tokenizer
from albert_torch.pretraining.dataloader import pretraining_batches
from albert_torch.pretraining.examples import FIRST_POSITION, ExampleOptions, Examples

folder = Path(sys.argv[1])
options = ExampleOptions(max_length=48)
examples = Examples(prepare_corpus(folder), write_tokenizer(folder), options, seed=1)
stream = pretraining_batches(examples, FIRST_POSITION, 2_000, num_workers=2)
next(stream)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), 9)
"""


def is_running(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    state = stat.rsplit(")", 1)[1].split()[0]
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_do_not_outlive_a_killed_process(tmp_path: Path) -> None:
    """Catches: workers that wait forever for their batch to be taken, and use memory."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # Only one line: reading to the end would wait for the workers.
        workers = [int(number) for number in process.stdout.readline().split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    remaining = [worker for worker in workers if is_running(worker)]
    for worker in remaining:
        os.kill(worker, signal.SIGKILL)
    assert remaining == []
