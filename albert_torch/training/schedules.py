"""Learning-rate schedules."""

from __future__ import annotations


def lr_multiplier(step: int, warmup: int, steps: int) -> float:
    """The learning rate's factor at an update, counted from 0: up to 1 over `warmup` updates, then down to 0."""
    return step / warmup if step < warmup else (steps - step) / max(1, steps - warmup)
