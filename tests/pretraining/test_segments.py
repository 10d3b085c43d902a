"""Pairs of segments: truncation, and sentences that are too long."""

import random

import pytest
from helpers.small_shards import is_likely

from albert_torch.pretraining.segments import Span, split_long_sentences, truncate_segments


def test_truncation_takes_one_token_after_the_other_from_the_longer_segment() -> None:
    """Catches: cutting only the second segment, or in proportion to the lengths."""
    rng, room = random.Random(0), 17
    for a_size in range(1, 30):
        for b_size in range(1, 30):
            sizes = [a_size, b_size]
            while sum(sizes) > room:
                sizes[0 if sizes[0] > sizes[1] else 1] -= 1
            a, b = truncate_segments(Span(0, a_size), Span(100, 100 + b_size), room, rng)
            assert [a.size, b.size] == sizes
            assert 0 <= a.start < a.stop <= a_size
            assert 100 <= b.start < b.stop <= 100 + b_size


def test_truncation_takes_tokens_from_both_ends() -> None:
    """Catches: cutting always at the same end."""
    rng, from_front = random.Random(0), 0
    for _ in range(5_000):
        a, b = truncate_segments(Span(0, 12), Span(0, 10), 12, rng)
        from_front += a.start + b.start
    assert is_likely(from_front, 50_000, 0.5)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([0, 3, 7], [0, 3, 7]),
        ([5, 9, 13], [5, 9, 13]),
        ([0, 9, 10], [0, 4, 8, 9, 10]),
        ([0, 8], [0, 4, 8]),
    ],
)
def test_sentences_that_are_too_long_count_as_several(
    bounds: list[int], expected: list[int]
) -> None:
    """Catches: a part that is empty or too long, a bound that is lost."""
    assert split_long_sentences(bounds, 4) == expected
