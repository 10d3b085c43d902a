"""Detection of collapse: large ALBERTs sometimes end up guessing, whatever the text is."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch

from albert_torch.finetuning.tasks.base import Split, Task

LOSS_MARGIN = 0.95  # a training loss above this share of the entropy is no better than guessing
MAX_SPREAD = 0.01  # standard deviation up to which probabilities count as equal for all examples


def only_guesses(task: Task, dev: Split, outputs: list[Any], losses: list[float]) -> bool:
    """Return whether a model gives every example the same answer, at the loss of guessing.

    Guessing costs the entropy of the labels: ln C if all C classes are equally frequent. The same
    answer means one predicted class, or, if the classes are choices without a fixed meaning, the
    same probabilities.

    Args:
        task: The task; collapse can be told only if it has at least two classes.
        dev: The split that the model was evaluated on.
        outputs: The logits of each example, (C,).
        losses: The training losses since the previous evaluation.
    """
    if task.num_classes < 2 or not losses or "labels" not in dev.examples[0]:
        return False
    label_counts = Counter(example["labels"] for example in dev.examples).values()
    shares = [count / len(dev.examples) for count in label_counts]
    entropy = -sum(share * math.log(share) for share in shares)
    mean_loss = sum(losses) / len(losses)
    if len(label_counts) < 2 or mean_loss < LOSS_MARGIN * entropy:
        return False
    probabilities = torch.stack(outputs).softmax(-1)  # (examples, C)
    predicts_one_class = len(set(probabilities.argmax(-1).tolist())) == 1
    return predicts_one_class or float(probabilities.std(dim=0).max()) < MAX_SPREAD
