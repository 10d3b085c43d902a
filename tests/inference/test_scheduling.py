"""Which rows are computed together, and by how many workers."""

import pytest

from albert_torch.inference.scheduling import largest_power_of_two, padding_to_block, schedule


@pytest.mark.parametrize(
    ("lengths", "count", "sizes"),
    [
        ([512] * 4, 4, [512] * 4),
        ([100] * 3, 1, [300]),  # of two workers, one would have twice as much
        ([30] * 4, 2, [60, 60]),  # too little for four
        ([20] * 2, 1, [40]),
        ([40, 40, 50, 50, 60, 60, 70, 70], 4, [110] * 4),
        ([100] * 100, 4, [1300, 1300, 1200, 1200, 1200, 1200, 1300, 1300]),
        ([], 1, []),
    ],
)
def test_workers_get_enough_and_about_the_same(lengths, count, sizes):
    """Catches: a worker for a handful of tokens; a worker that all others wait for; chunks that do
    not fit into the cache."""
    num_workers, chunks = schedule(lengths, 768, [4, 2, 1])
    assert num_workers == count
    assert [sum(lengths[row] for row in chunk) for chunk in chunks] == sizes
    assert sorted(row for chunk in chunks for row in chunk) == list(range(len(lengths)))
    assert all(chunk == sorted(chunk) for chunk in chunks)


def test_work_includes_attention():
    """Catches: the same number of tokens for each worker, although long rows take longer."""
    lengths = [16] * 64 + [512] * 2
    _, (first, second) = schedule(lengths, 64, [2])
    assert [lengths[row] for row in (first[-1], second[-1])] == [512, 512]


def test_sizes_are_rounded_to_a_thirty_second():
    """Catches: sizes that are rounded up further, or that stay odd; wrong examples."""
    assert [largest_power_of_two(n) for n in (1, 5, 8, 1001)] == [1, 4, 8, 512]
    assert [padding_to_block(n) for n in (0, 30, 65, 1001)] == [0, 0, 1, 7]
    padded = {size + padding_to_block(size) for size in range(1, 2049)}
    assert len(padded) == 63 + 32 * 5 + 1  # up to 63, then 32 sizes for each power of two, 2048
    assert all(padding_to_block(size) <= size / 32 for size in range(1, 2049))
