"""A plugin as a user would write it: one head, and one task that trains it, in one file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from albert_torch import AlbertConfig
from albert_torch.finetuning import Options, Split, Task, option, register_task
from albert_torch.heads import AlbertHeadModel
from albert_torch.outputs import SequenceClassifierOutput


class AlbertForToyClassification(AlbertHeadModel):
    """Classes of texts, from the vector of the first token without a pooler."""

    output_class = SequenceClassifierOutput
    head_modules = ("toy_scores",)
    reads_pooler_only = True

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.toy_scores = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return (B, num_labels)."""
        return {"logits": self.toy_scores(pooled)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the cross-entropy."""
        return nn.functional.cross_entropy(logits["logits"], labels["labels"])


@dataclass
class ToyOptions(Options):
    """The option of the task."""

    first_word: str = option("good", "the word at the start of a text that makes it positive")


@register_task("toy")
class ToyTask(Task):
    """Whether a line starts with a word; DATA/train.txt and DATA/dev.txt hold the lines."""

    head_class = AlbertForToyClassification
    metric = "accuracy"
    options_class = ToyOptions
    options: ToyOptions

    def load_split(self, name: str) -> Split | None:
        """Read the lines of a file."""
        path = Path(self.config.data) / f"{name}.txt"
        if not path.is_file():
            return None
        lines = path.read_text().splitlines()
        labels = [int(line.split()[0] == self.options.first_word) for line in lines]
        examples = self.encode(lines)
        return Split([{**x, "labels": label} for x, label in zip(examples, labels, strict=True)])

    def model_config_overrides(self) -> dict[str, Any]:
        """Name the classes."""
        return {"id2label": {0: "other", 1: self.options.first_word}}

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return the accuracy in percent."""
        predicted = torch.stack(outputs).argmax(-1)
        labels = torch.tensor([example["labels"] for example in split.examples])
        return {"accuracy": 100 * float((predicted == labels).float().mean())}

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the class of each line."""
        return [{"prediction": int(logits.argmax())} for logits in outputs]
