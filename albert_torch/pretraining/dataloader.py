"""Batches of examples for one process of many: the same rows whatever the processes, workers and interruptions."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from albert_torch.pretraining.examples import Examples, Plan, Position
from albert_torch.training.data import Inputs

Planned = tuple[list[Plan], Position]
Batch = tuple[list[Inputs], Position]


def feed(
    examples: Examples,
    position: Position,
    batch_size: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """Batches without end: the rows of process `rank` of `world`, and the position after the batch.

    `batch_size` counts the rows of all processes; each has every `world`-th example of a batch. All of them plan all
    examples, which is cheap. `workers` make rows beside the model, some batches ahead; 0: this process makes them.
    Raises ValueError for a batch that leaves a process without rows.
    """
    if batch_size < world:
        raise ValueError(
            f"{batch_size=} leaves processes without rows: use at least {world}, one for each process"
        )
    loader: DataLoader[Batch] = DataLoader(
        _Rows(examples),
        batch_size=None,
        sampler=_batches(examples, position, batch_size, rank, world),
        num_workers=workers,
        collate_fn=_same,
        worker_init_fn=_leave_with_parent,
        generator=torch.Generator(),  # the global one would be drawn from
    )
    yield from loader


class _Rows(Dataset[Batch]):
    """What a worker does: plans -> rows."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, planned: Planned) -> Batch:
        plans, position = planned
        return [self.examples.row(plan) for plan in plans], position


def _batches(
    examples: Examples, position: Position, size: int, rank: int, world: int
) -> Iterator[Planned]:
    stream = examples.plan(position)
    while batch := list(islice(stream, size)):
        yield [plan for plan, _ in batch[rank::world]], batch[-1][1]


def _same(batch: Any) -> Any:
    return batch


def _leave_with_parent(worker: int) -> None:
    """End a worker whose parent was killed: handing over a batch that nobody takes, it would wait for ever."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
