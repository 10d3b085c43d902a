"""Chunks side by side: each thread computes chunks of its own, in place of a share of every operator.

Threads that share an operator wait for each other at its end, some hundred times a chunk, and what lies between two
operators is left to one of them.
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
def _divisible() -> bool:
    """Whether a thread can be told how many threads its operators use, without telling all the others."""
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()


def shares() -> list[int]:
    """Into how many workers the threads of this machine can be parted evenly, most first; the last is 1."""
    threads = torch.get_num_threads() if _divisible() else 1
    return [n for n in range(threads, 0, -1) if threads % n == 0]


def side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> list[Result]:
    """The function of each item, in their order, computed by so many workers at a time, which share the threads."""
    if workers == 1:
        return [function(item) for item in items]
    return list(
        _pool(os.getpid(), workers, torch.get_num_threads() // workers).map(function, items)
    )


def _use(threads: int) -> None:
    """Let this thread's operators use so many threads."""
    torch.get_num_threads()  # the first question, and only that, takes over what the other threads use
    torch.set_num_threads(threads)


@functools.cache
def _pool(process: int, workers: int, threads: int) -> ThreadPoolExecutor:
    """Workers whose operators use `threads` threads each. They stay, as do the caches of theirs; a fork has its own."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "albert_torch", initializer=_use, initargs=(threads,))
    started = threading.Barrier(workers)
    list(pool.map(lambda _: started.wait(), range(workers)))
    torch.set_num_threads(
        before
    )  # what a thread is told, those that are yet to start would take over
    return pool
