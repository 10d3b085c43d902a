"""Batches of examples: the same ones whatever the processes, workers and interruptions."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from albert_torch.pretraining.examples import ExamplePlan, Examples, Position
from albert_torch.training.data import Inputs


class PlannedBatch(NamedTuple):
    """The plans of one batch's examples, and the position in the stream after the batch."""

    plans: list[ExamplePlan]
    next_position: Position


class ExampleBatch(NamedTuple):
    """The examples of one batch, and the position in the stream after the batch."""

    examples: list[Inputs]
    next_position: Position


def pretraining_batches(
    examples: Examples,
    position: Position,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
) -> Iterator[ExampleBatch]:
    """Yield the batches of one training process, without end.

    All processes plan all examples, which costs little; each builds only its own.

    Args:
        examples: The examples of the corpus.
        position: Where to start. To continue after a batch, pass its `next_position`.
        batch_size: The number of examples in a batch, over all processes.
        rank: The number of this process. It gets the examples `rank`, `rank + world_size`, ... of
            each batch.
        world_size: The number of training processes.
        num_workers: The number of additional processes that build examples ahead of time. With 0,
            this process builds them when they are needed.

    Raises:
        ValueError: The batch is too small to have an example for each process.
    """
    if batch_size < world_size:
        raise ValueError(
            f"{batch_size=} leaves processes without examples: use at least {world_size}, "
            "one for each process"
        )
    loader: DataLoader[ExampleBatch] = DataLoader(
        _PlannedExamples(examples),
        batch_size=None,
        sampler=_planned_batches(examples, position, batch_size, rank, world_size),
        num_workers=num_workers,
        collate_fn=_unchanged,
        worker_init_fn=_exit_with_parent,
        generator=torch.Generator(),  # without it, torch would draw from the global generator
    )
    yield from loader


class _PlannedExamples(Dataset[ExampleBatch]):
    """The dataset of the workers: its "indices" are planned batches."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, planned: PlannedBatch) -> ExampleBatch:
        rows = [self.examples.build(plan) for plan in planned.plans]
        return ExampleBatch(rows, planned.next_position)


def _planned_batches(
    examples: Examples, position: Position, batch_size: int, rank: int, world_size: int
) -> Iterator[PlannedBatch]:
    """Yield this process's share of the plans of each batch."""
    stream = examples.plans(position)
    while batch := list(islice(stream, batch_size)):
        _, next_position = batch[-1]
        yield PlannedBatch([plan for plan, _ in batch[rank::world_size]], next_position)


def _unchanged(batch: Any) -> Any:
    return batch


def _exit_with_parent(worker: int) -> None:
    """End this worker when the process that started it is killed.

    Otherwise it would wait forever for that process to take its next batch.
    """
    parent = multiprocessing.parent_process()

    def wait_for_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()
