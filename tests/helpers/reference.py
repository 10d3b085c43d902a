"""The same model twice: transformers' with every parameter drawn at random, and ours with those weights."""

from typing import Any

import torch
import transformers
from torch import Tensor

import albert_torch

HEADS = (
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
    """transformers' class of that name, in eval mode; biases and LayerNorms are drawn too."""
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
    """transformers' model and ours, the same weights, in eval mode."""
    theirs = reference(name, config, dtype, attention)
    ours = getattr(albert_torch, name)(
        albert_torch.AlbertConfig(**config), attn_implementation=attention, unpad=unpad, **options
    ).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours.eval()


def batch(
    config: dict[str, Any], lengths: tuple[int, ...] = (9, 5, 1), pairs: bool = True
) -> dict[str, Tensor]:
    """Rows of those lengths, padded at the right; the second half of each row is the second segment."""
    length = max(lengths)
    ids = torch.randint(5, config["vocab_size"], (len(lengths), length))
    mask = (torch.arange(length)[None] < torch.tensor(lengths)[:, None]).long()
    half = torch.tensor(lengths)[:, None] // 2
    segments = (
        (torch.arange(length)[None] >= half).long() * mask if pairs else torch.zeros_like(mask)
    )
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": segments}


def labels(name: str, inputs: dict[str, Tensor], num_labels: int = 2) -> dict[str, Tensor]:
    """Labels of the kind that the class takes, some of them ignored."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    rows, length = ids.shape[0], ids.shape[-1]
    words = torch.where((torch.rand(ids.shape) < 0.5) & mask.bool(), ids, -100)
    words[..., 0] = ids[..., 0]
    if name == "AlbertForPreTraining":
        return {"labels": words, "sentence_order_label": torch.randint(0, 2, (rows,))}
    if name == "AlbertForMaskedLM":
        return {"labels": words}
    if name == "AlbertForSequenceClassification":
        return {"labels": torch.randint(0, num_labels, (rows,))}
    if name == "AlbertForTokenClassification":
        return {"labels": torch.where(mask.bool(), torch.randint(0, num_labels, ids.shape), -100)}
    if name == "AlbertForQuestionAnswering":
        ends = torch.tensor([length - 1, -1, length + 5][:rows])
        return {"start_positions": torch.zeros(rows, dtype=torch.long), "end_positions": ends}
    if name == "AlbertForMultipleChoice":
        return {"labels": torch.randint(0, ids.shape[1], (rows,))}
    return {}


def inputs_for(name: str, config: dict[str, Any], **how: Any) -> dict[str, Tensor]:
    """A padded batch with labels for the class; multiple choice gets two choices for each of three rows."""
    inputs = batch(config, **how)
    if name == "AlbertForMultipleChoice":
        other = batch(config, lengths=tuple(reversed(how.get("lengths", (9, 5, 1)))))
        inputs = {key: torch.stack([value, other[key]], dim=1) for key, value in inputs.items()}
    return {**inputs, **labels(name, inputs)}


def worst(ours: Tensor, theirs: Tensor, where: Tensor | None = None) -> float:
    """The largest absolute difference, at the places `where` marks; infinite for another shape or a NaN."""
    if ours.shape != theirs.shape:
        return float("inf")
    difference = (ours.detach().double() - theirs.detach().double()).abs()
    if where is not None:
        difference = difference[where.bool()]
    return float(difference.max().nan_to_num(float("inf"))) if difference.numel() else 0.0
