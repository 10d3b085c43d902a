"""Pairs of models with the same weights, one of transformers and one of ours, and their inputs."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.activations import ACT2FN

import albert_torch

# Every class of ours that transformers has too.
CLASS_NAMES = (
    "AlbertModel",
    "AlbertForPreTraining",
    "AlbertForMaskedLM",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertForQuestionAnswering",
    "AlbertForMultipleChoice",
)


def reference(
    name: str, config: dict[str, Any], dtype: torch.dtype = torch.float64, attention: str = "eager"
) -> Any:
    """Return a model of transformers in evaluation mode.

    All of its parameters are random, those of LayerNorms and biases too: with their initial values
    of 1 and 0, many mistakes would not change the result.
    """
    if config.get("hidden_act", "gelu") not in ACT2FN:
        pytest.skip(f"transformers {transformers.__version__} has no {config['hidden_act']}")
    theirs = getattr(transformers, name)(
        transformers.AlbertConfig(**config, attn_implementation=attention)
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3 if parameter.dim() > 1 else 0.5)
    return theirs.to(dtype).eval()


def pair(
    name: str,
    config: dict[str, Any],
    dtype: torch.dtype = torch.float64,
    attention: str = "eager",
    unpad: bool = False,
    **options: Any,
) -> tuple[Any, Any]:
    """Return transformers' model and ours, with the same weights, in evaluation mode."""
    theirs = reference(name, config, dtype, attention)
    ours = getattr(albert_torch, name)(
        albert_torch.AlbertConfig(**config), attn_implementation=attention, unpad=unpad, **options
    ).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours.eval()


def batch(
    config: dict[str, Any], lengths: tuple[int, ...] = (9, 5, 1), pairs: bool = True
) -> dict[str, Tensor]:
    """Return random rows of these lengths, padded at the right.

    With `pairs`, the second half of each row is a second segment.
    """
    length = max(lengths)
    ids = torch.randint(5, config["vocab_size"], (len(lengths), length))
    mask = (torch.arange(length)[None] < torch.tensor(lengths)[:, None]).long()
    segments = torch.zeros_like(mask)
    if pairs:
        middle = torch.tensor(lengths)[:, None] // 2
        segments = (torch.arange(length)[None] >= middle).long() * mask
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": segments}


def labels(name: str, inputs: dict[str, Tensor], num_labels: int = 2) -> dict[str, Tensor]:
    """Return labels of the kind that a class takes; some of them do not count towards the loss."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    num_rows, length = ids.shape[0], ids.shape[-1]
    tokens = torch.where((torch.rand(ids.shape) < 0.5) & mask.bool(), ids, -100)
    tokens[..., 0] = ids[..., 0]
    if name == "AlbertForPreTraining":
        return {"labels": tokens, "sentence_order_label": torch.randint(0, 2, (num_rows,))}
    if name == "AlbertForMaskedLM":
        return {"labels": tokens}
    if name == "AlbertForSequenceClassification":
        return {"labels": torch.randint(0, num_labels, (num_rows,))}
    if name == "AlbertForTokenClassification":
        return {"labels": torch.where(mask.bool(), torch.randint(0, num_labels, ids.shape), -100)}
    if name == "AlbertForQuestionAnswering":
        ends = torch.tensor([length - 1, -1, length + 5][:num_rows])
        return {"start_positions": torch.zeros(num_rows, dtype=torch.long), "end_positions": ends}
    if name == "AlbertForMultipleChoice":
        return {"labels": torch.randint(0, ids.shape[1], (num_rows,))}
    return {}


def inputs_for(name: str, config: dict[str, Any], **options: Any) -> dict[str, Tensor]:
    """Return a padded batch with labels for a class; multiple choice gets two texts per example."""
    inputs = batch(config, **options)
    if name == "AlbertForMultipleChoice":
        lengths = tuple(reversed(options.get("lengths", (9, 5, 1))))
        second = batch(config, lengths=lengths)
        inputs = {key: torch.stack([value, second[key]], dim=1) for key, value in inputs.items()}
    return {**inputs, **labels(name, inputs)}


def run(model: nn.Module, inputs: dict[str, Tensor], **options: Any) -> Any:
    """Call a model without gradients."""
    with torch.no_grad():
        return model(**inputs, **options)


def worst(ours: Tensor, theirs: Tensor, where: Tensor | None = None) -> float:
    """Return the largest absolute difference, at the positions that `where` marks.

    It is infinite if the shapes differ or there is a NaN.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    difference = (ours.detach().double() - theirs.detach().double()).abs()
    if where is not None:
        difference = difference[where.bool()]
    return float(difference.max().nan_to_num(float("inf"))) if difference.numel() else 0.0
