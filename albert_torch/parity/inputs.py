"""Inputs of the parity check: texts or random token ids, as batches with labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from albert_torch.config import AlbertConfig
from albert_torch.pretrained import AlbertPreTrainedModel

EncodedText = tuple[list[int], list[int]]  # token ids and segment ids, without padding

# The shapes of generated checkpoints: the published base shape, and one with what no published
# checkpoint has, several groups of several layers.
GENERATED_SHAPES: dict[str, dict[str, Any]] = {
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
# There is no comma after a digit: Google's tokenizer, and so ours, splits "1," into two tokens, and
# the tokenizer.json files on the Hub do not.
DEFAULT_TEXTS: tuple[tuple[str, str | None], ...] = (
    (
        "The lighthouse keeper counts 1234 ships a year, he says.",
        "He wrote to his sister that it is never enough!",
    ),
    (
        "It wasn't the café (on the corner) that closed; it was the one with a £5 "
        '"set menu" - was it?',
        None,
    ),
    ("Fine.", None),
    ("", None),
)
RANDOM_LENGTHS = (16, 11, 4, 1)  # tokens of the random inputs
ROWS_PER_BATCH = 4


def random_inputs(config: AlbertConfig, seed: int) -> list[EncodedText]:
    """Return inputs of `RANDOM_LENGTHS` random token ids, without the id of padding.

    The second half of each is its second segment.
    """
    generator = torch.Generator().manual_seed(seed)
    pad_id = config.pad_token_id or 0
    inputs = []
    for full_length in RANDOM_LENGTHS:
        length = min(full_length, config.max_position_embeddings)
        ids = torch.randint(0, config.vocab_size, (length,), generator=generator)
        ids = torch.where(ids == pad_id, config.vocab_size - 1, ids)
        second = length // 2 if config.type_vocab_size > 1 else 0
        inputs.append((ids.tolist(), [0] * (length - second) + [1] * second))
    return inputs


def make_batches(
    model: AlbertPreTrainedModel, inputs: Sequence[EncodedText], seed: int
) -> list[dict[str, Tensor]]:
    """Return padded batches of the inputs with random labels for the model's head.

    A head with choices gets (B, 2, T): two inputs at a time are the choices of one example.
    """
    batches = []
    for start in range(0, len(inputs), ROWS_PER_BATCH):
        rows = list(inputs[start : start + ROWS_PER_BATCH])
        if model.has_choices and len(rows) % 2:
            rows.append(rows[-1])
        batch = _pad(rows, model.config.pad_token_id or 0)
        if model.has_choices:
            batch = {name: tensor.view(-1, 2, tensor.shape[-1]) for name, tensor in batch.items()}
        batches.append({**batch, **_example_labels(model, batch, seed)})
    return batches


def read_text_pairs(path: Path) -> list[tuple[str, str | None]]:
    """Return the texts of a file with one text per line, and a tab between the two of a pair.

    Empty lines are skipped.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It contains no text.
    """
    texts: list[tuple[str, str | None]] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            first, tab, second = line.partition("\t")
            texts.append((first, second if tab else None))
    if not texts:
        raise ValueError(f"{path} contains no text: write one text per line")
    return texts


def _pad(rows: Sequence[EncodedText], pad_id: int) -> dict[str, Tensor]:
    length = max(len(ids) for ids, _ in rows)
    padding = [length - len(ids) for ids, _ in rows]
    return {
        "input_ids": torch.tensor(
            [ids + [pad_id] * count for (ids, _), count in zip(rows, padding, strict=True)]
        ),
        "attention_mask": torch.tensor([[1] * (length - count) + [0] * count for count in padding]),
        "token_type_ids": torch.tensor(
            [segments + [0] * count for (_, segments), count in zip(rows, padding, strict=True)]
        ),
    }


def _example_labels(
    model: AlbertPreTrainedModel, batch: dict[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """Return the labels that the head makes up; `AlbertModel` has none."""
    example_labels = getattr(model, "example_labels", None)
    if example_labels is None:
        return {}
    generator = torch.Generator().manual_seed(seed)
    labels: dict[str, Tensor] = example_labels(
        batch["input_ids"], batch["attention_mask"], generator
    )
    return labels
