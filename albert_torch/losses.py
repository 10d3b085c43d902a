"""The losses of the heads: pure functions of logits and labels that return a scalar. Label -100 is ignored."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = -100
"""A label with this value does not count towards the loss."""


def cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Mean over the labels that are not ignored.  logits: (..., C); labels: (...), integers from 0 to C - 1.

    Raises `ValueError` for labels of another shape or type, or, on the CPU, out of range.
    """
    classes = logits.shape[-1]
    if labels.numel() != logits.numel() // classes:
        raise ValueError(
            f"labels are {tuple(labels.shape)}, logits {tuple(logits.shape)}: one label for each row"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels are {labels.dtype}: class labels are integers (torch.long)")
    try:
        return F.cross_entropy(
            logits.reshape(-1, classes), labels.reshape(-1).long(), ignore_index=ignore_index
        )
    except IndexError:
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(
            f"labels go from {low} to {high}, must be 0 to {classes - 1}, or {ignore_index}"
        ) from None


def sequence_classification(
    logits: Tensor, labels: Tensor, problem_type: str | None = None
) -> Tensor:
    """Mean squared error, cross-entropy or binary cross-entropy.  logits: (B, C).

    `problem_type` None: one logit means regression, integer labels a single label, anything else several labels.
    Labels are (B,) or (B, 1) for a single label, (B, C) for several; (B,) or (B, C) for regression.
    """
    if problem_type is None:
        single = labels.dtype in (torch.int32, torch.int64)
        problem_type = "single_label_classification" if single else "multi_label_classification"
        problem_type = "regression" if logits.shape[-1] == 1 else problem_type
    if problem_type == "single_label_classification":
        return cross_entropy(logits, labels)
    if labels.numel() != logits.numel():
        raise ValueError(
            f"labels are {tuple(labels.shape)}, must be {tuple(logits.shape)} as the logits: {problem_type}"
        )
    labels = labels.reshape(logits.shape).to(logits.dtype)
    if problem_type == "regression":
        return F.mse_loss(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels)


def question_answering(
    start_logits: Tensor, end_logits: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """Mean of the two cross-entropies.  logits: (B, T); positions: (B,) or (B, 1), those outside the row ignored."""
    length = start_logits.shape[1]
    start_loss = cross_entropy(start_logits, start.clamp(0, length), ignore_index=length)
    return (start_loss + cross_entropy(end_logits, end.clamp(0, length), ignore_index=length)) / 2
