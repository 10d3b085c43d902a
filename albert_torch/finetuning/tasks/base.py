"""What a task is to the loop: rows to train on, and what their outputs are worth; rows -> batches of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Batch, Inputs


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

    def __init__(self, recipe: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
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

    def encode(
        self, texts: Sequence[Any], pairs: Sequence[Any] | None = None, **options: Any
    ) -> list[Inputs]:
        """Texts or pairs -> rows of `input_ids` and `token_type_ids`, cut to `max_length`."""
        batch = self.tokenizer(
            list(texts),
            None if pairs is None else list(pairs),
            **{
                "truncation": True,
                "max_length": self.max_length,
                "return_attention_mask": False,
                **options,
            },
        )
        names = ("input_ids", "token_type_ids")
        return [
            dict(zip(names, row, strict=True))
            for row in zip(*(batch[name] for name in names), strict=True)
        ]


Maker = Callable[[FinetuningConfig, AlbertTokenizer], Task]
