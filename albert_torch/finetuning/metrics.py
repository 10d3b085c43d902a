"""Metrics of the fine-tuning tasks, as functions of predictions and labels. All are in percent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Entity = tuple[str, int, int]
"""The type of an entity, and the indices of its first and last word."""


def accuracy(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Return the share of predictions that equal their label."""
    correct = sum(guess == label for guess, label in zip(predicted, labels, strict=True))
    return 100 * correct / len(labels)


def binary_f1(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Return the F1 of class 1, the metric of MRPC and QQP in GLUE (Wang et al. 2018).

    It is 0 if class 1 is neither predicted nor a label.
    """
    true_positives = sum(
        guess == label == 1 for guess, label in zip(predicted, labels, strict=True)
    )
    positives = sum(guess == 1 for guess in predicted) + sum(label == 1 for label in labels)
    return 200 * true_positives / max(1, positives)


def matthews(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Return Matthews' correlation coefficient of two classes, the metric of CoLA in GLUE.

    For two classes it is Pearson's correlation (Matthews 1975). It is 0 if all predictions or all
    labels are equal.
    """
    return pearson(torch.tensor(predicted).double(), torch.tensor(labels).double())


def pearson(predicted: Tensor, labels: Tensor) -> float:
    """Return Pearson's linear correlation of two vectors, (N,), in float64.

    It is 0 if one of them is constant.
    """
    x = predicted.double() - predicted.double().mean()
    y = labels.double() - labels.double().mean()
    norm = float(x.norm() * y.norm())
    return 100 * float(x @ y) / norm if norm else 0.0


def spearman(predicted: Tensor, labels: Tensor) -> float:
    """Return Spearman's rank correlation of two vectors, (N,). Equal numbers share their mean rank.

    It is 0 if one of them is constant.
    """
    return pearson(_mean_ranks(predicted), _mean_ranks(labels))


def _mean_ranks(x: Tensor) -> Tensor:
    """The rank of each element, counted from 1; the mean of their ranks for equal elements."""
    ordered = x.sort().values
    num_below = torch.searchsorted(ordered, x)
    num_not_above = torch.searchsorted(ordered, x, right=True)
    return (num_below + num_not_above + 1) / 2


def multi_label_f1(predicted: Tensor, labels: Tensor) -> float:
    """Return micro-averaged F1: over all pairs of an example and a label.

    Args:
        predicted: Zeros and ones, (N, labels).
        labels: Zeros and ones, (N, labels).
    """
    true_positives = float((predicted * labels).double().sum())
    positives = float(predicted.double().sum()) + float(labels.double().sum())
    return 200 * true_positives / max(1.0, positives)


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """Yield the entities of a sentence, as the evaluation script of CoNLL-2000 reads them.

    Args:
        tags: One tag per word in the scheme IOB1, IOB2 or IOBES: "O", or a prefix and the type of
            the entity, such as "B-PER". Invalid sequences are read as the script reads them: an "I"
            after another type starts an entity.
    """
    first_word = 0
    previous_prefix, previous_type = "O", ""
    for word, tag in enumerate((*tags, "O")):
        prefix, _, entity_type = tag.partition("-")
        changes_type = entity_type != previous_type
        ends = previous_prefix in ("E", "S") or prefix in ("B", "S", "O") or changes_type
        if previous_prefix != "O" and ends:
            yield previous_type, first_word, word - 1
        starts = prefix in ("B", "S") or previous_prefix in ("E", "S", "O") or changes_type
        if prefix != "O" and starts:
            first_word = word
        previous_prefix, previous_type = prefix, entity_type


def entity_f1(
    predicted: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return precision, recall and F1 over whole entities (Tjong Kim Sang and De Meulder 2003).

    An entity is right if its type and its first and last word are.

    Args:
        predicted: The predicted tags of each sentence.
        labels: The right tags of each sentence.
    """
    found = {(i, *entity) for i, tags in enumerate(predicted) for entity in entities(tags)}
    right = {(i, *entity) for i, tags in enumerate(labels) for entity in entities(tags)}
    num_correct = len(found & right)
    return {
        "precision": 100 * num_correct / max(1, len(found)),
        "recall": 100 * num_correct / max(1, len(right)),
        "f1": 200 * num_correct / max(1, len(found) + len(right)),
    }
