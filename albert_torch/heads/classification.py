"""Heads that classify: a text, each token, or a choice among several texts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from albert_torch import losses
from albert_torch.config import AlbertConfig
from albert_torch.heads.base import AlbertHeadModel, classifier_dropout
from albert_torch.losses import IGNORE_INDEX
from albert_torch.outputs import (
    MultipleChoiceModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)


class AlbertForSequenceClassification(AlbertHeadModel):
    """ALBERT that predicts one label, several labels or a number for each text.

    The shape and dtype of `labels` depend on `config.problem_type`; see
    `losses.sequence_classification`.
    """

    output_class = SequenceClassifierOutput
    head_modules = ("classifier",)
    uses_pooler = True
    reads_pooler_only = True
    auto_class = "AutoModelForSequenceClassification"

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.dropout = classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `logits` (B, num_labels)."""
        return {"logits": self.classifier(self.dropout(pooled))}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the loss that belongs to `config.problem_type`."""
        problem_type = self.config.problem_type
        return losses.sequence_classification(logits["logits"], labels["labels"], problem_type)

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return random labels of the kind that `config.problem_type` names."""
        rows, num_labels = len(input_ids), self.config.num_labels
        problem_type = self.config.problem_type
        if problem_type is None and num_labels == 1:
            problem_type = "regression"
        if problem_type == "multi_label_classification":
            return {"labels": torch.randint(0, 2, (rows, num_labels), generator=generator).double()}
        if problem_type == "regression":
            targets = torch.randint(0, 9, (rows, num_labels), generator=generator)
            return {"labels": targets.squeeze(1).double()}
        return {"labels": torch.randint(0, num_labels, (rows,), generator=generator)}


class AlbertForTokenClassification(AlbertHeadModel):
    """ALBERT that predicts a label for each token.

    `labels` has shape (B, T): the class of each token, or -100 where a token has none.
    """

    output_class = TokenClassifierOutput
    head_modules = ("classifier",)
    auto_class = "AutoModelForTokenClassification"

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.dropout = classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `logits` (..., num_labels)."""
        return {"logits": self.classifier(self.dropout(hidden))}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean cross-entropy over labelled tokens."""
        return losses.cross_entropy(logits["logits"], labels["labels"])

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return a random label for each real token."""
        labels = torch.randint(0, self.config.num_labels, input_ids.shape, generator=generator)
        return {"labels": labels.masked_fill(~attention_mask.bool(), IGNORE_INDEX)}


class AlbertForMultipleChoice(AlbertHeadModel):
    """ALBERT that predicts which of C texts is right.

    Every input has one more dimension than usual: (B, C, T), or (B, C, T, E) for `inputs_embeds`.
    `labels` has shape (B,): the index of the right text.
    """

    output_class = MultipleChoiceModelOutput
    head_modules = ("classifier",)
    uses_pooler = True
    reads_pooler_only = True
    has_choices = True
    auto_class = "AutoModelForMultipleChoice"

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.dropout = classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `logits` (B * C,), which `forward` reshapes to (B, C)."""
        return {"logits": self.classifier(self.dropout(pooled)).squeeze(-1)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean cross-entropy over examples."""
        return losses.cross_entropy(logits["logits"], labels["labels"])

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return a random choice for each example."""
        num_examples, num_choices = input_ids.shape[:2]
        return {"labels": torch.randint(0, num_choices, (num_examples,), generator=generator)}
