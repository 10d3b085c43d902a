"""The two learning-rate schedules."""

import pytest

from albert_torch.training.schedules import linear_decay_after_warmup, polynomial_decay_from_start


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (2, 0.5), (4, 1.0), (7, 0.5), (9, 1 / 6), (10, 0.0)]
)
def test_linear_decay_starts_after_the_warmup(step: int, expected: float) -> None:
    """Kills: a decay from the first update on, a warmup that starts at its end."""
    assert linear_decay_after_warmup(step, warmup_steps=4, total_steps=10) == pytest.approx(
        expected
    )


def test_a_warmup_of_the_whole_run() -> None:
    """Kills: a division by zero when no updates are left for the decay."""
    assert [linear_decay_after_warmup(step, 4, 4) for step in range(5)] == [0, 0.25, 0.5, 0.75, 0]


def test_polynomial_decay_starts_at_the_first_update() -> None:
    """Kills: a decay that starts after the warmup, a division by a warmup of zero updates."""
    factors = [polynomial_decay_from_start(step, 4, 10) for step in range(11)]
    assert factors == pytest.approx([0, 0.25, 0.5, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0])
    factors = [polynomial_decay_from_start(step, 0, 4, power=2.0) for step in range(5)]
    assert factors == pytest.approx([1, 0.5625, 0.25, 0.0625, 0])


def test_polynomial_decay_ends_at_zero() -> None:
    """Kills: a power of a negative number, which is complex or NaN, after the last update."""
    assert polynomial_decay_from_start(12, 0, 10, power=0.5) == 0
