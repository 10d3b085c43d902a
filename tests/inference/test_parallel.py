"""`parallel_map`: order, errors, and what other threads notice of the workers."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from albert_torch.inference import parallel
from albert_torch.inference.parallel import available_worker_counts, parallel_map


def test_threads_are_divided_evenly(four_threads, monkeypatch):
    """Catches: threads that belong to no worker; a number of threads that is set for all threads
    where one was meant."""
    assert available_worker_counts() == [4, 2, 1]
    assert parallel_map(lambda _: torch.get_num_threads(), range(8), 2) == [2] * 8
    assert parallel_map(lambda _: torch.get_num_threads(), range(8), 4) == [1] * 8
    assert torch.get_num_threads() == 4
    in_a_later_thread: list[int] = []
    thread = threading.Thread(target=lambda: in_a_later_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert in_a_later_thread == [4]
    monkeypatch.setattr(
        torch.__config__, "parallel_info", lambda: "ATen parallel backend: native thread pool"
    )
    parallel._threads_are_set_per_thread.cache_clear()
    assert available_worker_counts() == [1]
    parallel._threads_are_set_per_thread.cache_clear()


def test_results_come_in_order_and_errors_are_raised(four_threads):
    """Catches: results in the order of completion; an error that is lost in a thread; workers that
    an error ends."""

    def slow_first(i):
        time.sleep(0.05 if i == 0 else 0)
        return 1 / (i - 3)

    assert parallel_map(slow_first, range(3), 2) == [-1 / 3, -1 / 2, -1]
    with pytest.raises(ZeroDivisionError):
        parallel_map(slow_first, range(8), 2)
    assert parallel_map(slow_first, range(3), 2) == [-1 / 3, -1 / 2, -1]


def test_a_forked_process_has_workers_of_its_own():
    """Catches: a forked process that waits for threads which it does not have."""
    program = """
import os, torch
from albert_torch.inference.parallel import parallel_map
torch.set_num_threads(2)
assert parallel_map(abs, [1, -2], 2) == [1, 2]
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(parallel_map(abs, [-1, 2], 2) != [1, 2])
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)
