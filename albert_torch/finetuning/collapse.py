"""Collapse to one class: ALBERT-large and larger at times end up guessing, whatever the text says."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch

from albert_torch.finetuning.tasks.base import Split, Task


def only_guesses(task: Task, dev: Split, kept: list[Any], losses: list[float]) -> bool:
    """Whether the model only guesses: the same answer for every row of `dev`, and a training loss no better than that.

    Guessing costs the entropy of the labels (ln C, when the C classes are equally frequent); within 5 % is "no better".
    The same answer: one predicted class, or, where the classes are choices without a name, equal probabilities.
    """
    if task.num_classes < 2 or not losses or "labels" not in dev.examples[0]:
        return False
    counts = Counter(row["labels"] for row in dev.examples).values()
    entropy = -sum(n / len(dev.examples) * math.log(n / len(dev.examples)) for n in counts)
    probabilities = torch.stack(kept).softmax(-1)  # (rows, C)
    if len(counts) < 2 or sum(losses) / len(losses) < 0.95 * entropy:
        return False
    one_class = len(set(probabilities.argmax(-1).tolist())) == 1
    return one_class or float(probabilities.std(dim=0).max()) < 0.01
