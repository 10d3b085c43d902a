"""Masked language modelling on a text of one's own, to adapt a model to a domain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from albert_torch.finetuning.splits import find_split_file
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.registry import register_task
from albert_torch.heads import AlbertForMaskedLM
from albert_torch.losses import IGNORE_INDEX
from albert_torch.outputs import ModelOutput
from albert_torch.readers import read_texts
from albert_torch.training.data import Batch, Inputs
from albert_torch.training.options import Options, option

_MASK_SHARE, _KEEP_SHARE = 0.8, 0.1  # of the selected tokens; the other 10 % are replaced at random


@dataclass
class MaskedLMOptions(Options):
    """Which tokens are predicted, and where the text is."""

    masked_lm_prob: float = option(0.15, "share of the tokens to predict", minimum=0, maximum=1)
    text: str = option("text", "column of the text, if the files are tables")


class MaskedTokens(NamedTuple):
    """The selected tokens of an example: predicted, expected, and log-probability of the latter."""

    predicted: list[int]
    expected: list[int]
    log_probabilities: list[float]


@register_task("mlm")
class MaskedLM(Task):
    """Predict tokens from their context (Devlin et al. 2019, section 3.1).

    The text is cut into rows of `max_length` tokens. Of the tokens selected in each row 80 % become
    [MASK], 10 % another token, and 10 % stay. The training split gets new masks at every update;
    the others get theirs once.
    """

    head_class = AlbertForMaskedLM
    metric = "log_likelihood"
    options_class = MaskedLMOptions
    options: MaskedLMOptions

    def load_split(self, name: str) -> Split | None:
        """Read the text of a split, one text or paragraph per line, and cut it into rows."""
        path = find_split_file(self.config, name)
        if path is None:
            return None
        texts = [text for text in read_texts(path, self.options.text) if text.strip()]
        if not texts:
            raise ValueError(f"{path} has no text: {name} needs some")
        tokenized = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        token_ids = [token for row in tokenized for token in row]
        row_length = self.max_length - 2
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rows: list[Inputs] = [
            {"input_ids": [first, *token_ids[start : start + row_length], last]}
            for start in range(0, len(token_ids), row_length)
        ]
        return Split(rows if name == "train" else self.randomize(rows, self.config.seed))

    def randomize(self, examples: list[Inputs], seed: int) -> list[Inputs]:
        """Return the examples with masks and labels. At least one token of each is selected."""
        generator = torch.Generator().manual_seed(seed)
        return [self._mask(torch.tensor(example["input_ids"]), generator) for example in examples]

    def _mask(self, ids: Tensor, generator: torch.Generator) -> Inputs:
        selection, replacement = torch.rand(2, len(ids), generator=generator)
        selection[0] = selection[-1] = 2.0  # never [CLS] and [SEP]
        selected = (selection < self.options.masked_lm_prob) | (selection == selection.min())
        labels = ids.where(selected, torch.tensor(IGNORE_INDEX))
        random_ids = torch.randint(len(self.tokenizer), ids.shape, generator=generator)
        masked = selected & (replacement < _MASK_SHARE)
        randomized = selected & (replacement >= _MASK_SHARE + _KEEP_SHARE)
        ids = torch.where(masked, torch.tensor(self.tokenizer.mask_token_id), ids)
        ids = torch.where(randomized, random_ids, ids)
        return {"input_ids": ids.tolist(), "labels": labels.tolist()}

    def num_targets(self, example: Inputs) -> int:
        """Return the number of selected tokens."""
        return sum(label != IGNORE_INDEX for label in example["labels"])

    def collect_outputs(self, output: ModelOutput, batch: Batch) -> list[Any]:
        """Return the `MaskedTokens` of each example."""
        collected = []
        for logits, labels in zip(output["logits"], batch["labels"], strict=True):
            selected = labels != IGNORE_INDEX
            log_probabilities = logits[selected].float().log_softmax(-1)  # (tokens, V)
            expected = labels[selected]
            of_expected = log_probabilities.gather(1, expected[:, None]).squeeze(1)
            collected.append(
                MaskedTokens(
                    log_probabilities.argmax(-1).tolist(), expected.tolist(), of_expected.tolist()
                )
            )
        return collected

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return the mean log-likelihood of the selected tokens, perplexity, and accuracy."""
        correct = [
            predicted == expected
            for tokens in outputs
            for predicted, expected in zip(tokens.predicted, tokens.expected, strict=True)
        ]
        total = sum(value for tokens in outputs for value in tokens.log_probabilities)
        log_likelihood = total / len(correct)
        return {
            "log_likelihood": log_likelihood,
            "perplexity": math.exp(min(-log_likelihood, 700)),  # exp(710) overflows
            "accuracy": 100 * sum(correct) / len(correct),
        }

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the predicted and the expected pieces of the selected tokens of each row."""
        to_pieces = self.tokenizer.convert_ids_to_tokens
        return [
            {"prediction": to_pieces(tokens.predicted), "label": to_pieces(tokens.expected)}
            for tokens in outputs
        ]
