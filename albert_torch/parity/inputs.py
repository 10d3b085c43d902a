"""What parity is checked on: texts or random ids, labels for each head, and checkpoints made for the occasion."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from albert_torch import heads
from albert_torch.config import AlbertConfig
from albert_torch.model import AlbertModel
from albert_torch.parity.compare import Row
from albert_torch.pretrained import AlbertPreTrainedModel

Batch = dict[str, Tensor]

HEADS: dict[str, type[AlbertPreTrainedModel]] = {
    "Model": AlbertModel,
    "PreTraining": heads.AlbertForPreTraining,
    "MaskedLM": heads.AlbertForMaskedLM,
    "SequenceClassification": heads.AlbertForSequenceClassification,
    "TokenClassification": heads.AlbertForTokenClassification,
    "QuestionAnswering": heads.AlbertForQuestionAnswering,
    "MultipleChoice": heads.AlbertForMultipleChoice,
}
# Without a checkpoint: the base shape as published, and one that has what no published one has.
SHAPES: dict[str, dict[str, Any]] = {
    "generated, base shape": AlbertConfig.preset("albert-base-v2").to_dict(),
    "generated, 3 groups of 2 layers": {
        "vocab_size": 211,
        "embedding_size": 20,
        "hidden_size": 48,
        "num_hidden_layers": 6,
        "num_hidden_groups": 3,
        "inner_group_num": 2,
        "num_attention_heads": 6,
        "intermediate_size": 92,
        "max_position_embeddings": 40,
        "hidden_act": "gelu",
    },
}
# No comma after a digit: Google's tokenizer, and so ours, splits "1," in two; the tokenizer.json of the Hub does not.
TEXTS: tuple[tuple[str, str | None], ...] = (
    (
        "The lighthouse keeper counts 1234 ships a year, he says.",
        "He wrote to his sister that it is never enough!",
    ),
    (
        'It wasn\'t the café (on the corner) that closed; it was the one with a £5 "set menu" - was it?',
        None,
    ),
    ("Fine.", None),
    ("", None),
)
LENGTHS = (16, 11, 4, 1)
BATCH_ROWS = 4


def random_rows(config: AlbertConfig, seed: int) -> list[Row]:
    """Rows of `LENGTHS` of any ids but padding; the second half of each is the second segment."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in (min(length, config.max_position_embeddings) for length in LENGTHS):
        ids = torch.randint(0, config.vocab_size, (length,), generator=generator)
        ids = torch.where(ids == (config.pad_token_id or 0), config.vocab_size - 1, ids)
        half = length // 2 if config.type_vocab_size > 1 else 0
        rows.append((ids.tolist(), [0] * (length - half) + [1] * half))
    return rows


def batches(head: str, rows: Sequence[Row], config: AlbertConfig, seed: int) -> list[Batch]:
    """The rows as padded batches with labels for the head; multiple choice takes two rows as two choices."""
    made = []
    for start in range(0, len(rows), BATCH_ROWS):
        chunk = list(rows[start : start + BATCH_ROWS])
        if head == "MultipleChoice" and len(chunk) % 2:
            chunk.append(chunk[-1])
        length = max(len(ids) for ids, _ in chunk)
        pad = config.pad_token_id or 0
        batch = {
            "input_ids": torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in chunk]),
            "attention_mask": torch.tensor(
                [[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in chunk]
            ),
            "token_type_ids": torch.tensor(
                [segments + [0] * (length - len(ids)) for ids, segments in chunk]
            ),
        }
        if head == "MultipleChoice":
            batch = {name: value.view(-1, 2, length) for name, value in batch.items()}  # (B, 2, T)
        made.append({**batch, **labels(head, batch, config, seed)})
    return made


def labels(head: str, batch: Mapping[str, Tensor], config: AlbertConfig, seed: int) -> Batch:
    """Random labels of the kind that the head takes, at real tokens only."""
    generator = torch.Generator().manual_seed(seed)
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    rows, classes = len(ids), config.num_labels

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, generator=generator)

    if head in ("MaskedLM", "PreTraining"):
        masked = real & (torch.rand(ids.shape, generator=generator) < 0.5)
        masked[:, 0] = True
        words = {"labels": ids.masked_fill(~masked, -100)}
        return words if head == "MaskedLM" else {**words, "sentence_order_label": draw(2, rows)}
    if head == "SequenceClassification":
        if config.problem_type == "multi_label_classification":
            return {"labels": draw(2, rows, classes).double()}
        regression = config.problem_type == "regression" or (
            config.problem_type is None and classes == 1
        )
        return {
            "labels": draw(9, rows, classes).squeeze(1).double()
            if regression
            else draw(classes, rows)
        }
    if head == "TokenClassification":
        return {"labels": draw(classes, *ids.shape).masked_fill(~real, -100)}
    if head == "QuestionAnswering":
        ends = batch["attention_mask"].sum(1) - 1
        return {"start_positions": ends // 2, "end_positions": ends}
    return {"labels": draw(ids.shape[1], rows)} if head == "MultipleChoice" else {}


def generate(
    head: str, values: Mapping[str, Any], directory: str | os.PathLike[str], seed: int
) -> None:
    """Write a checkpoint with transformers, every parameter drawn at random: biases and LayerNorms too."""
    import transformers

    model = getattr(transformers, HEADS[head].__name__)(transformers.AlbertConfig(**values))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            norm = "layernorm" in key.lower().replace("_", "") and key.endswith("weight")
            parameter.normal_(
                mean=1.0 if norm else 0.0, std=0.2 if norm else 0.05, generator=generator
            )
    model.save_pretrained(directory)
