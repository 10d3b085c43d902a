"""Chunks side by side: who computes what, and what other threads notice of it."""

import subprocess
import sys
import threading
import time

import pytest
import torch
from helpers.constants import SHARED
from helpers.reference import pair, worst

from albert_torch.inference import encoder as packed
from albert_torch.inference import optimize
from albert_torch.inference import parallel as workers
from albert_torch.inference import pipelines as tasks
from albert_torch.inference.parallel import shares, side_by_side
from albert_torch.inference.scheduling import plan


@pytest.fixture
def four_threads():
    """torch's threads as on a machine with four cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_threads_are_parted_evenly(four_threads, monkeypatch):
    """Kills: threads that belong to no worker, a number of threads that is told to all where one was meant."""
    assert shares() == [4, 2, 1]
    assert side_by_side(lambda _: torch.get_num_threads(), range(8), 2) == [2] * 8
    assert side_by_side(lambda _: torch.get_num_threads(), range(8), 4) == [1] * 8
    assert torch.get_num_threads() == 4
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [4]
    monkeypatch.setattr(
        torch.__config__, "parallel_info", lambda: "ATen parallel backend: native thread pool"
    )
    workers._divisible.cache_clear()
    assert shares() == [1]
    workers._divisible.cache_clear()


def test_results_come_in_order_and_errors_come_through(four_threads):
    """Kills: results as they get ready, an error that is lost in a thread, workers that one error ends."""

    def slow_first(i):
        time.sleep(0.05 if i == 0 else 0)
        return 1 / (i - 3)

    assert side_by_side(slow_first, range(3), 2) == [-1 / 3, -1 / 2, -1]
    with pytest.raises(ZeroDivisionError):
        side_by_side(slow_first, range(8), 2)
    assert side_by_side(slow_first, range(3), 2) == [-1 / 3, -1 / 2, -1]


@pytest.mark.parametrize(
    ("lengths", "count", "sizes"),
    [
        ([512] * 4, 4, [512] * 4),
        ([100] * 3, 1, [300]),  # 2 workers: one would have twice as much
        ([30] * 4, 2, [60, 60]),  # too little for 4
        ([20] * 2, 1, [40]),
        ([40, 40, 50, 50, 60, 60, 70, 70], 4, [110] * 4),
        ([100] * 100, 4, [1300, 1300, 1200, 1200, 1200, 1200, 1300, 1300]),
        ([], 1, []),
    ],
)
def test_workers_get_enough_and_about_as_much_each(lengths, count, sizes):
    """Kills: a worker for a handful of tokens, one that all the others wait for, chunks that outgrow the cache."""
    found, rows = plan(lengths, 768, [4, 2, 1])
    assert (found, [sum(lengths[row] for row in some) for some in rows]) == (count, sizes)
    assert sorted(row for some in rows for row in some) == list(range(len(lengths)))
    assert all(some == sorted(some) for some in rows)


def test_attention_counts_in_what_a_worker_gets():
    """Kills: as many tokens each, where those of long rows take longer."""
    lengths = [16] * 64 + [512] * 2
    _, (one, other) = plan(lengths, 64, [2])
    assert [lengths[row] for row in (one[-1], other[-1])] == [512, 512]


def test_side_by_side_is_one_after_another(four_threads, monkeypatch):
    """Kills: chunks that write over each other, states or kept tokens of another chunk, ranges of int8 that depend on
    which thread was first."""
    _, ours = pair("AlbertModel", SHARED, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 60, (n,), generator=generator).tolist() for n in range(3, 20)] * 4
    ids = torch.randint(5, 60, (16, 12), generator=generator)
    keep = [[0, len(row) - 1] for row in rows]
    seen = []
    monkeypatch.setattr(
        packed, "side_by_side", lambda *args: seen.append(args[2]) or side_by_side(*args)
    )
    for dtype, bound in ((torch.float32, 1e-6), (torch.int8, 0.1)):
        fast = optimize(ours, dtype)

        def results(fast=fast):
            return [
                fast.packed(rows).last_hidden_state,
                fast.packed(rows, keep=keep).last_hidden_state,
                *fast(ids, output_hidden_states=True).hidden_states,
            ]

        with monkeypatch.context() as patch:
            patch.setattr(packed, "shares", lambda: [1])
            want = results()
        found = results()
        assert all(worst(x, y) < bound for x, y in zip(found, want, strict=True))
    assert seen == [1, 1, 1, 4, 4, 4, 1, 1, 1, 1, 4, 4, 4]  # and one that takes the ranges
    again = optimize(ours, torch.int8).packed(rows).last_hidden_state
    assert torch.equal(again, fast.packed(rows).last_hidden_state)


def test_a_fork_has_workers_of_its_own():
    """Kills: a forked process that waits for threads which it has not."""
    program = """
import os, torch
from albert_torch.inference.parallel import side_by_side
torch.set_num_threads(2)
assert side_by_side(abs, [1, -2], 2) == [1, 2]
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(side_by_side(abs, [-1, 2], 2) != [1, 2])
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("lengths", "batch_tokens", "want"), [([3] * 9, 9, 0), ([400] * 9, 1200, 3), ([1025], 8, 1)]
)
def test_the_heap_is_trimmed_after_batches(monkeypatch, lengths, batch_tokens, want):
    """Kills: pieces of the heap that pile up from one batch to the next, time lost on few tokens."""
    trimmed = []
    monkeypatch.setattr(tasks, "_trim_heap", lambda: trimmed.append(sum(seen)))
    seen = []
    for batch in tasks.batches([([7] * n,) for n in lengths], batch_tokens):
        seen += [len(row) for (row,) in batch]
    assert len(trimmed) == want
    assert not want or trimmed[-1] == sum(lengths)  # the last batch is one of them
