"""Which rows are computed together, and by how many workers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CHUNK_TOKENS = 1536
"""Tokens of a chunk on a CPU. Larger chunks are not faster and do not fit into the cache."""

MIN_TOKENS_PER_WORKER = 32
"""With fewer tokens than this for each worker, an additional worker costs more than it saves."""

MAX_IMBALANCE = 1.06
"""A schedule is rejected when its busiest worker has more than this many times the average work."""


class Schedule(NamedTuple):
    """How the rows of a batch are computed.

    Attributes:
        num_workers: Number of worker threads that compute chunks at the same time.
        chunks: Row indices of each chunk, ascending within a chunk. Every row is in exactly one
            chunk.
    """

    num_workers: int
    chunks: list[list[int]]


def split_evenly(costs: Sequence[int], count: int) -> Iterator[range]:
    """Split items into at most `count` runs of neighbours with about the same total cost.

    Args:
        costs: The cost of each item.
        count: How many runs there may be.

    Yields:
        The indices of each run, in order. No run is empty.
    """
    total, spent, start = sum(costs), 0, 0
    for number in range(1, count + 1):
        target = total * number / count  # cost of all runs up to and including this one
        end = start
        while end < len(costs) and (end == start or spent + costs[end] / 2 <= target):
            spent += costs[end]
            end += 1
        if end > start:
            yield range(start, end)
        start = end


def schedule(
    row_lengths: Sequence[int], hidden_size: int, worker_counts: Sequence[int]
) -> Schedule:
    """Decide how many workers to use and which rows form a chunk.

    Neighbouring rows are dealt out to the workers, longest row first, each to the worker with the
    least work so far. The first worker count with which every worker gets enough tokens, and about
    the same amount of work, is used.

    Args:
        row_lengths: Number of tokens of each row, ascending.
        hidden_size: H of the model; it determines how the cost of attention compares with that of
            the matrix products.
        worker_counts: How many workers there may be, in order of preference; the last one is used
            if no other fits.

    Returns:
        The schedule with the chosen number of workers.
    """
    total_tokens = sum(row_lengths)
    # The matrix products are linear in the length of a row, attention is quadratic.
    row_costs = [length * (hidden_size + length) for length in row_lengths]
    for num_workers in worker_counts:
        loads = [0] * num_workers
        chunks: list[list[int]] = []
        for neighbours in split_evenly(
            row_lengths, math.ceil(total_tokens / (CHUNK_TOKENS * num_workers))
        ):
            shares: list[list[int]] = [[] for _ in loads]
            for row in reversed(neighbours):
                least_loaded = loads.index(min(loads))
                loads[least_loaded] += row_costs[row]
                shares[least_loaded].append(row)
            chunks += [sorted(rows) for rows in shares if rows]
        enough_tokens = total_tokens >= MIN_TOKENS_PER_WORKER * num_workers
        balanced = max(loads) * num_workers <= sum(row_costs) * MAX_IMBALANCE
        if enough_tokens and balanced:
            break
    return Schedule(num_workers, chunks)


def largest_power_of_two(limit: int) -> int:
    """Return the largest power of two up to `limit`, but at least 1: 1 -> 1, 5 -> 4, 8 -> 8."""
    power = 1
    while power * 2 <= limit:
        power *= 2
    return power


def padding_to_block(size: int) -> int:
    """Return how many rows to add to a matrix of `size` rows to reach a round number.

    The sum is a multiple of 1/32 of the largest power of two up to `size`, so at most 1/32 is
    added. oneDNN generates and keeps code for every shape that it sees: half a gigabyte for all
    sizes up to a thousand, a few megabytes for the round ones.

    Example:
        30 -> 0 (below 64 every size is round), 65 -> 1, 1001 -> 7 (1008 is a multiple of 16).
    """
    block = max(1, largest_power_of_two(size) // 32)
    return -size % block
