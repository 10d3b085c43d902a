"""Rows of token ids -> batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Inputs = dict[str, Any]  # of one row: lists of ids (a list of lists for multiple choice), labels


Batch = dict[str, Tensor]


def length(row: Inputs) -> int:
    """Tokens of a row; of its longest choice for multiple choice."""
    ids = row["input_ids"]
    return max(map(len, ids)) if isinstance(ids[0], list) else len(ids)


def collate(rows: Sequence[Inputs], pad_token_id: int) -> Batch:
    """Pad rows to the longest, with an attention mask: tensors (B, T), or (B, C, T) with C choices a row.

    `labels` that are lists as long as the tokens are padded with -100; all other values become one number a row.
    """
    choices = len(rows[0]["input_ids"]) if isinstance(rows[0]["input_ids"][0], list) else 0

    def flat(name: str) -> list[list[int]]:
        return (
            [part for row in rows for part in row[name]] if choices else [row[name] for row in rows]
        )

    ids = flat("input_ids")
    longest = max(map(len, ids))
    shape = (len(rows), choices, longest) if choices else (len(rows), longest)
    batch = {
        "attention_mask": torch.tensor(
            [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
        ).view(shape)
    }
    for name, value in rows[0].items():
        fill = {"input_ids": pad_token_id, "token_type_ids": 0}.get(name, -100)
        if name in ("input_ids", "token_type_ids"):
            batch[name] = torch.tensor(
                [row + [fill] * (longest - len(row)) for row in flat(name)]
            ).view(shape)
        elif (
            isinstance(value, list) and len(value) == length(rows[0]) and isinstance(value[0], int)
        ):
            batch[name] = torch.tensor(
                [row[name] + [fill] * (longest - len(row[name])) for row in rows]
            )
        else:
            batch[name] = torch.tensor([row[name] for row in rows])
    return batch


def batches(lengths: Sequence[int], size: int, order: str, seed: int) -> Iterator[list[int]]:
    """Row numbers in batches without end, a function of the seed alone; an incomplete last batch is dropped.

    `order` "length": rows of like length together, batches in random order; "random"; or "file": as they stand.
    """
    size = min(size, len(lengths))
    generator = torch.Generator().manual_seed(seed)
    while True:
        rows = list(range(len(lengths)))
        if order != "file":
            rows = torch.randperm(len(lengths), generator=generator).tolist()
        rows = rows[: len(rows) // size * size]
        if order == "length":
            pool = 50 * size  # sorting all rows would make every epoch the same batches
            rows = [
                row
                for i in range(0, len(rows), pool)
                for row in sorted(rows[i : i + pool], key=lengths.__getitem__)
            ]
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
        if order == "length":
            parts = [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]
        yield from parts
