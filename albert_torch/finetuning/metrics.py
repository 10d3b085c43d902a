"""The tasks' metrics, as plain functions of what was predicted and what is right; all in percent but for losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Entity = tuple[str, int, int]  # type, first and last word


def accuracy(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """The share of equal pairs."""
    return 100 * sum(p == y for p, y in zip(predicted, labels, strict=True)) / len(labels)


def f1(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """F1 of class 1; 0 when it is nowhere."""
    hits = sum(p == y == 1 for p, y in zip(predicted, labels, strict=True))
    return 200 * hits / max(1, sum(p == 1 for p in predicted) + sum(y == 1 for y in labels))


def matthews(predicted: Sequence[int], labels: Sequence[int]) -> float:
    """Matthews' correlation of two classes (CoLA's metric); 0 when either side is constant."""
    p, y = torch.tensor(predicted).double(), torch.tensor(labels).double()
    return pearson(p, y)


def pearson(predicted: Tensor, labels: Tensor) -> float:
    """The linear correlation of two vectors; 0 when either is constant."""
    p, y = predicted.double() - predicted.double().mean(), labels.double() - labels.double().mean()
    norm = float(p.norm() * y.norm())
    return 100 * float(p @ y) / norm if norm else 0.0


def spearman(predicted: Tensor, labels: Tensor) -> float:
    """The correlation of the ranks, equal numbers sharing the mean of theirs."""
    return pearson(_ranks(predicted), _ranks(labels))


def _ranks(x: Tensor) -> Tensor:
    ordered = x.sort().values
    below, up_to = (torch.searchsorted(ordered, x, right=right) for right in (False, True))
    return (below + up_to + 1) / 2


def multi_label_f1(predicted: Tensor, labels: Tensor) -> float:
    """Micro-averaged F1 of 0/1 matrices, (rows, labels)."""
    hits, said, right = (float(x.double().sum()) for x in (predicted * labels, predicted, labels))
    return 200 * hits / max(1.0, said + right)


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """The chunks of one sentence in IOB, IOB2 or IOBES tags, as the CoNLL evaluation reads them."""
    begin = 0
    previous, kind = "O", ""
    for i, tag in enumerate((*tags, "O")):
        prefix, _, name = tag.partition("-")
        if previous != "O" and (previous in "ES" or prefix in "BSO" or name != kind):
            yield kind, begin, i - 1
        if prefix != "O" and (prefix in "BS" or previous in "ESO" or name != kind):
            begin = i
        previous, kind = prefix, name


def entity_f1(
    predicted: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Precision, recall and F1 over whole entities (CoNLL-2003)."""
    ours = {(i, *entity) for i, tags in enumerate(predicted) for entity in entities(tags)}
    right = {(i, *entity) for i, tags in enumerate(labels) for entity in entities(tags)}
    hits = len(ours & right)
    return {
        "precision": 100 * hits / max(1, len(ours)),
        "recall": 100 * hits / max(1, len(right)),
        "f1": 200 * hits / max(1, len(ours) + len(right)),
    }
