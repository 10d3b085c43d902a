"""Run a function on several items in parallel worker threads, which share torch's threads.

When threads share one operator, they wait for each other at its end, several hundred times for each
chunk of a batch, and whatever happens between two operators keeps only one of them busy. It is
faster to let every thread compute chunks of its own.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@functools.cache
def _threads_are_set_per_thread() -> bool:
    """Whether `torch.set_num_threads` affects only the calling thread, as it does with OpenMP."""
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()


def available_worker_counts() -> list[int]:
    """Return the numbers of workers that divide torch's threads evenly, descending to 1."""
    threads = torch.get_num_threads() if _threads_are_set_per_thread() else 1
    return [count for count in range(threads, 0, -1) if threads % count == 0]


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], num_workers: int
) -> list[Result]:
    """Map `function` over `items` in `num_workers` threads, preserving order.

    Each worker gets an equal share of torch's intra-op threads. With one worker, the calling thread
    does the work.

    Raises:
        Exception: The first exception that `function` raised. The workers remain usable.
    """
    if num_workers == 1:
        return [function(item) for item in items]
    threads_per_worker = torch.get_num_threads() // num_workers
    pool = _worker_pool(os.getpid(), num_workers, threads_per_worker)
    return list(pool.map(function, items))


def _start_worker(num_threads: int) -> None:
    """Limit the operators that this thread calls to `num_threads` threads."""
    # The first query, and only the first, initialises this thread's value with the global one. It
    # has to come before set_num_threads, which would be overwritten otherwise.
    torch.get_num_threads()
    torch.set_num_threads(num_threads)


@functools.cache
def _worker_pool(process_id: int, num_workers: int, threads_per_worker: int) -> ThreadPoolExecutor:
    """Return the pool for these sizes, with all its threads started.

    Pools are kept, because their threads keep caches. `process_id` is part of the key because a
    forked process does not inherit threads and needs a pool of its own.
    """
    threads_before = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        num_workers, "albert_torch", initializer=_start_worker, initargs=(threads_per_worker,)
    )
    all_started = threading.Barrier(num_workers)
    list(pool.map(lambda _: all_started.wait(), range(num_workers)))
    # The value that a worker sets is also the one that threads started later begin with: restore
    # it.
    torch.set_num_threads(threads_before)
    return pool
