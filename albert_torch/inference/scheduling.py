"""Which rows are computed together: chunks that stay in the cache, as many at a time as there are workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

CHUNK_TOKENS = 1536  # on a CPU; more tokens at a time gain nothing and leave the cache
WORKER_TOKENS = 32  # for fewer, another worker does not pay
UNEVEN = 1.06  # nor where the one with the most to do has more than so many times its share


def parts(costs: Sequence[int], count: int) -> Iterator[range]:
    """Neighbours in `count` parts of like cost, or in fewer."""
    total, done, start = sum(costs), 0, 0
    for part in range(1, count + 1):
        end = start
        while end < len(costs) and (end == start or done + costs[end] / 2 <= total * part / count):
            done += costs[end]
            end += 1
        if end > start:
            yield range(start, end)
        start = end


def plan(
    lengths: Sequence[int], hidden_size: int, staffs: Sequence[int]
) -> tuple[int, list[list[int]]]:
    """How many workers to employ, one of the numbers `staffs`, and the rows of each chunk; `lengths` ascend.

    As many workers as have enough to do, and about as much each: neighbours are dealt out, the longest first, each row
    to whom has the least so far.
    """
    total = sum(lengths)
    costs = [
        length * (hidden_size + length) for length in lengths
    ]  # products, and attention, which is the slower one
    for workers in staffs:
        loads = [0] * workers
        chunks: list[list[int]] = []
        for some in parts(lengths, -(-total // (CHUNK_TOKENS * workers))):
            dealt: list[list[int]] = [[] for _ in loads]
            for row in reversed(some):
                least = loads.index(min(loads))
                loads[least] += costs[row]
                dealt[least].append(row)
            chunks += [sorted(rows) for rows in dealt if rows]
        if total >= WORKER_TOKENS * workers and max(loads) * workers <= sum(costs) * UNEVEN:
            break
    return workers, chunks


def filling(size: int) -> int:
    """How many rows bring a product's `size` to a round number, at most a thirty-second more.

    oneDNN keeps code for every shape that it has met, half a gigabyte of it if all sizes up to a thousand come along.
    """
    return -size % (1 << max(0, size.bit_length() - 6))
