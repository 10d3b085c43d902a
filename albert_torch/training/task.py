"""What a task is to the loop: rows to train on, and what their outputs are worth; rows -> batches of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenizer import AlbertTokenizer
from albert_torch.training.recipe import Recipe

Inputs = dict[str, Any]  # of one row: lists of ids (a list of lists for multiple choice), labels
Batch = dict[str, Tensor]


@dataclass
class Split:
    """One split, tokenized: what the model takes, and what scoring needs besides."""

    rows: list[Inputs]
    source: list[Any] = field(default_factory=list)


class Task:
    """The base of all tasks. A task says which head it trains, loads its splits, and scores what the head returns."""

    head: ClassVar[type[AlbertPreTrainedModel]]
    metric: str  # the one that chooses the best checkpoint; higher is better
    classes = 0  # how many the head chooses from, where collapse to one of them can be told

    def __init__(self, recipe: Recipe, tokenizer: AlbertTokenizer) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.max_length = min(recipe.max_length, tokenizer.model_max_length)

    def load(self, split: str) -> Split | None:
        """The rows of "train", "dev" or "test", labels included where there are any; None: there is no such split."""
        raise NotImplementedError

    def model_options(self) -> dict[str, Any]:
        """What the config must say for this task, such as `num_labels`; known once "train" is loaded."""
        return {}

    def targets(self, row: Inputs) -> int:
        """How many terms a row adds to the sum that its loss is the mean of."""
        return 1

    def draw(self, rows: list[Inputs], seed: int) -> list[Inputs]:
        """The rows of one update, with what is drawn anew each time (masks)."""
        return rows

    def keep(self, output: Any, batch: Batch) -> list[Any]:
        """What scoring needs of a batch's output: one item a row, on the CPU."""
        return list(output.logits.float().cpu())

    def score(self, split: Split, kept: list[Any]) -> dict[str, float]:
        """The official metrics of a split, from what `keep` kept of its rows."""
        raise NotImplementedError

    def predictions(self, split: Split, kept: list[Any]) -> list[dict[str, Any]]:
        """What the model says of each example, as lines of predictions.jsonl."""
        raise NotImplementedError

    def encode(self, texts: Sequence[Any], pairs: Sequence[Any] | None = None, **options: Any) -> list[Inputs]:
        """Texts or pairs -> rows of `input_ids` and `token_type_ids`, cut to `max_length`."""
        batch = self.tokenizer(
            list(texts),
            None if pairs is None else list(pairs),
            **{"truncation": True, "max_length": self.max_length, "return_attention_mask": False, **options},
        )
        names = ("input_ids", "token_type_ids")
        return [dict(zip(names, row, strict=True)) for row in zip(*(batch[name] for name in names), strict=True)]


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
        return [part for row in rows for part in row[name]] if choices else [row[name] for row in rows]

    ids = flat("input_ids")
    longest = max(map(len, ids))
    shape = (len(rows), choices, longest) if choices else (len(rows), longest)
    batch = {"attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]).view(shape)}
    for name, value in rows[0].items():
        fill = {"input_ids": pad_token_id, "token_type_ids": 0}.get(name, -100)
        if name in ("input_ids", "token_type_ids"):
            batch[name] = torch.tensor([row + [fill] * (longest - len(row)) for row in flat(name)]).view(shape)
        elif isinstance(value, list) and len(value) == length(rows[0]) and isinstance(value[0], int):
            batch[name] = torch.tensor([row[name] + [fill] * (longest - len(row[name])) for row in rows])
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
                row for i in range(0, len(rows), pool) for row in sorted(rows[i : i + pool], key=lengths.__getitem__)
            ]
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
        if order == "length":
            parts = [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]
        yield from parts


Maker = Callable[[Recipe, AlbertTokenizer], Task]
