"""Heads that find the answer to a question in a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albert_torch import losses
from albert_torch.config import AlbertConfig
from albert_torch.heads.base import AlbertHeadModel, EncoderInputs, OutputOptions
from albert_torch.outputs import (
    AnswerableQuestionsModelOutput,
    ModelOutput,
    QuestionAnsweringModelOutput,
)


class AlbertForQuestionAnswering(AlbertHeadModel):
    """ALBERT that predicts where in the text the answer starts and ends.

    `config.num_labels` must be 2. `start_positions` and `end_positions` have shape (B,): the first
    and the last token of the answer. Positions after the end of the row do not count towards the
    loss.
    """

    output_class: ClassVar[type[ModelOutput]] = QuestionAnsweringModelOutput
    head_modules: ClassVar[tuple[str, ...]] = ("qa_outputs",)
    auto_class: ClassVar[str | None] = "AutoModelForQuestionAnswering"
    label_names: ClassVar[tuple[str, ...]] = ("start_positions", "end_positions")

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        if config.num_labels != 2:
            raise ValueError(
                f"num_labels={config.num_labels}, but question answering has two labels, start and "
                "end: set num_labels=2"
            )
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `start_logits` and `end_logits`, both (B, T) or (S,)."""
        start_logits, end_logits = self.qa_outputs(hidden).unbind(dim=-1)
        return {"start_logits": start_logits, "end_logits": end_logits}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean of the cross-entropies of start and end."""
        return losses.question_answering(
            logits["start_logits"],
            logits["end_logits"],
            labels["start_positions"],
            labels["end_positions"],
        )

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the second half of each row as its answer."""
        last = attention_mask.sum(1) - 1
        return {"start_positions": last // 2, "end_positions": last}

    def forward(  # type: ignore[override]  # noqa: PLR0913 - the signature is that of transformers
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ModelOutput | tuple[Any, ...]:
        """Encode a batch and apply the head; see `AlbertHeadModel.forward`."""
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        labels = {"start_positions": start_positions, "end_positions": end_positions}
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        return self.forward_with_labels(inputs, labels, options)


class AlbertForAnswerableQuestions(AlbertForQuestionAnswering):
    """Question answering with an output of its own for "there is no answer".

    The paper does this for SQuAD v2.0 (appendix A.4); transformers has no such class. The labels
    are those of `AlbertForQuestionAnswering` and `is_impossible` of shape (B,), 1 where the text
    holds no answer. Half of its binary cross-entropy is added to the loss.
    """

    output_class = AnswerableQuestionsModelOutput
    head_modules = ("qa_outputs", "impossible")
    pooled_logits = ("impossible_logits",)
    auto_class = None
    label_names = ("start_positions", "end_positions", "is_impossible")

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.impossible = nn.Linear(config.hidden_size, 1)
        self._init_parameters(("impossible.weight", "impossible.bias"))

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `start_logits`, `end_logits` and `impossible_logits` (B,)."""
        logits = super().compute_logits(hidden, pooled)
        return {**logits, "impossible_logits": self.impossible(pooled).squeeze(-1)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of the answer plus half of the loss of "there is no answer"."""
        impossible_logits = logits["impossible_logits"]
        impossible_loss = F.binary_cross_entropy_with_logits(
            impossible_logits, labels["is_impossible"].to(impossible_logits.dtype)
        )
        return super().compute_loss(logits, labels) + 0.5 * impossible_loss

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the second half of each row as its answer, and random `is_impossible`."""
        labels = super().example_labels(input_ids, attention_mask, generator)
        impossible = torch.randint(0, 2, input_ids.shape[:1], generator=generator)
        return {**labels, "is_impossible": impossible}

    def forward(  # type: ignore[override]  # noqa: PLR0913 - as for question answering
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        is_impossible: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ModelOutput | tuple[Any, ...]:
        """Encode a batch and apply the head; see `AlbertHeadModel.forward`."""
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        labels = {
            "start_positions": start_positions,
            "end_positions": end_positions,
            "is_impossible": is_impossible,
        }
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        return self.forward_with_labels(inputs, labels, options)
