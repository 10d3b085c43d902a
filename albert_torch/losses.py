"""The losses of the heads: pure functions of logits and labels that return a scalar."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = -100
"""A label with this value does not count towards the loss."""


def cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Return the mean cross-entropy over the labels that count.

    Args:
        logits: (..., C) for C classes.
        labels: Integers from 0 to C - 1, as many as there are rows of logits.
        ignore_index: The label that does not count.

    Raises:
        ValueError: If the labels have another number or type, or, on a CPU, are out of range.
    """
    num_classes = logits.shape[-1]
    if labels.numel() != logits.numel() // num_classes:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and logits {tuple(logits.shape)}: there must "
            "be one label for each row of logits"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels have dtype {labels.dtype}, must be integers such as torch.long")
    flat_logits, flat_labels = logits.reshape(-1, num_classes), labels.reshape(-1).long()
    try:
        return F.cross_entropy(flat_logits, flat_labels, ignore_index=ignore_index)
    except IndexError:  # on a CPU; a GPU reports a device-side assertion instead
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(
            f"labels range from {low} to {high}, must be 0 to {num_classes - 1}, or {ignore_index} "
            "where there is none"
        ) from None


def sequence_classification(
    logits: Tensor, labels: Tensor, problem_type: str | None = None
) -> Tensor:
    """Return the loss of a classifier of texts.

    Args:
        logits: (B, C).
        labels: For single-label classification, (B,) or (B, 1) integers. For multi-label
            classification, (B, C), 1 for the labels that apply. For regression, (B, C), or (B,) if
            there is one logit.
        problem_type: "single_label_classification" (cross-entropy), "multi_label_classification"
            (binary cross-entropy) or "regression" (mean squared error). None infers it, as
            transformers does: one logit means regression, otherwise integers mean one label and
            floats mean several.

    Raises:
        ValueError: If the labels do not have the shape or type that belongs to the problem type.
    """
    if problem_type is None:
        problem_type = _infer_problem_type(logits, labels)
    if problem_type == "single_label_classification":
        return cross_entropy(logits, labels)
    if labels.numel() != logits.numel():
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, must be {tuple(logits.shape)} like the "
            f"logits for {problem_type}"
        )
    labels = labels.reshape(logits.shape).to(logits.dtype)
    if problem_type == "regression":
        return F.mse_loss(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels)


def _infer_problem_type(logits: Tensor, labels: Tensor) -> str:
    if logits.shape[-1] == 1:
        return "regression"
    if labels.dtype in (torch.int32, torch.int64):
        return "single_label_classification"
    return "multi_label_classification"


def question_answering(
    start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor
) -> Tensor:
    """Return the mean of the cross-entropies of the answer's start and end.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        start_positions: First token of the answer, (B,) or (B, 1). Positions after the end of the
            row do not count; negative ones count as 0, as in transformers.
        end_positions: Last token of the answer, (B,) or (B, 1); likewise.
    """
    length = start_logits.shape[1]
    start_loss = cross_entropy(start_logits, start_positions.clamp(0, length), ignore_index=length)
    end_loss = cross_entropy(end_logits, end_positions.clamp(0, length), ignore_index=length)
    return (start_loss + end_loss) / 2
