"""Masked language modelling continued on a text: words hidden anew at every update."""

from __future__ import annotations

import math
from typing import Any

import torch

from albert_torch.finetuning.splits import locate
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.heads import AlbertForMaskedLM
from albert_torch.training.data import Batch, Inputs

IGNORED = -100


class MaskedLM(Task):
    """A text file in rows of `max_length` tokens; of those to predict 80 % are hidden, 10 % changed, 10 % kept."""

    head = AlbertForMaskedLM
    metric = "log_likelihood"

    def load(self, split: str) -> Split | None:
        """The text of a split, cut into rows; those of the dev and test split get their masks here, once."""
        path = locate(self.recipe, split)
        if path is None:
            return None
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        if not lines:
            raise ValueError(f"{path} has no text: {split} needs some")
        ids = [
            i for row in self.tokenizer(lines, add_special_tokens=False)["input_ids"] for i in row
        ]
        size = self.max_length - 2
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rows: list[Inputs] = [
            {"input_ids": [first, *ids[i : i + size], last]} for i in range(0, len(ids), size)
        ]
        return Split(rows if split == "train" else self.draw(rows, self.recipe.seed))

    def draw(self, rows: list[Inputs], seed: int) -> list[Inputs]:
        """Hide tokens: at least one of each row."""
        generator = torch.Generator().manual_seed(seed)
        return [self._mask(torch.tensor(row["input_ids"]), generator) for row in rows]

    def _mask(self, ids: torch.Tensor, generator: torch.Generator) -> Inputs:
        chance, kind = torch.rand(2, len(ids), generator=generator)
        chance[0] = chance[-1] = 2.0  # [CLS] and [SEP]
        chosen = (chance < self.recipe.masked_lm_prob) | (chance == chance.min())
        labels = ids.where(chosen, torch.tensor(IGNORED))
        other = torch.randint(len(self.tokenizer), ids.shape, generator=generator)
        ids = torch.where(chosen & (kind < 0.8), torch.tensor(self.tokenizer.mask_token_id), ids)
        ids = torch.where(chosen & (kind >= 0.9), other, ids)
        return {"input_ids": ids.tolist(), "labels": labels.tolist()}

    def targets(self, row: Inputs) -> int:
        """Tokens to predict."""
        return predicted(row)

    def keep(self, output: Any, batch: Batch) -> list[Any]:
        """The best token at each place to predict, the right one, and its log-probability."""
        kept = []
        for logits, labels in zip(output.logits, batch["labels"], strict=True):
            at = labels != IGNORED
            scores = logits[at].float().log_softmax(-1)
            right = scores.gather(1, labels[at][:, None]).squeeze(1)
            kept.append((scores.argmax(-1).tolist(), labels[at].tolist(), right.tolist()))
        return kept

    def score(self, split: Split, kept: list[Any]) -> dict[str, float]:
        """Mean log-likelihood of the hidden tokens, perplexity, accuracy."""
        pairs = [
            (best == label) for row in kept for best, label in zip(row[0], row[1], strict=True)
        ]
        likelihood = sum(p for row in kept for p in row[2]) / len(pairs)
        accuracy = 100 * sum(pairs) / len(pairs)
        return {
            "log_likelihood": likelihood,
            "perplexity": math.exp(min(-likelihood, 700)),
            "accuracy": accuracy,
        }

    def predictions(self, split: Split, kept: list[Any]) -> list[dict[str, Any]]:
        """The best piece for each hidden token, and what stood there."""
        piece = self.tokenizer.convert_ids_to_tokens
        return [{"prediction": piece(best), "label": piece(labels)} for best, labels, _ in kept]


def predicted(row: Inputs) -> int:
    """How many tokens of a row are to be predicted."""
    return sum(label != IGNORED for label in row["labels"])
