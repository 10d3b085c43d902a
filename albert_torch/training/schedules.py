"""Learning-rate schedules: the factor of the peak learning rate at each update, counted from 0.

The reference implementations disagree about the decay, so each has a function of its own.
"""

from __future__ import annotations

from collections.abc import Callable

LRSchedule = Callable[[int], float]  # number of the update, from 0 -> factor of the learning rate


def linear_decay_after_warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the factor of a linear warmup and a linear decay that starts where the warmup ends.

    This is the schedule of transformers (`get_linear_schedule_with_warmup`), used in fine-tuning.

    Args:
        step: The number of the update, from 0.
        warmup_steps: The number of updates in which the factor rises from 0 to 1.
        total_steps: The number of the update at which the factor would be 0.
    """
    if step < warmup_steps:
        return step / warmup_steps
    return (total_steps - step) / max(1, total_steps - warmup_steps)


def polynomial_decay_from_start(
    step: int, warmup_steps: int, total_steps: int, power: float = 1.0
) -> float:
    """Return the factor of a polynomial decay from update 0 on, which a linear warmup overrides.

    This is the schedule of Google's code (optimization.py), used in pretraining. When the warmup
    ends, the factor drops from 1 to `(1 - warmup_steps / total_steps) ** power`.

    Args:
        step: The number of the update, from 0.
        warmup_steps: The number of updates in which the factor rises from 0 to 1.
        total_steps: The number of the update from which on the factor is 0.
        power: The exponent of the decay; 1 is linear.
    """
    if step < warmup_steps:
        return step / warmup_steps
    factor: float = max(0.0, 1 - step / total_steps) ** power
    return factor
