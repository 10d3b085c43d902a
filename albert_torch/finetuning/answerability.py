"""Question answering with a head of its own for "no answer", as the paper does on SQuAD v2.0 (§A.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from albert_torch import losses
from albert_torch.config import AlbertConfig
from albert_torch.heads import AlbertForQuestionAnswering
from albert_torch.outputs import QuestionAnsweringModelOutput


@dataclass
class AnswerableOutput(QuestionAnsweringModelOutput):
    """As for question answering, and `impossible_logits` (B,): above 0 means "no answer"."""

    impossible_logits: Tensor | None = None


class AlbertForAnswerableQuestions(AlbertForQuestionAnswering):
    """Start, end, and from the first token whether there is an answer at all; half of that loss is added."""

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.impossible = nn.Linear(config.hidden_size, 1)
        self._draw(("impossible.weight", "impossible.bias"))

    def forward(  # type: ignore[override]  # what transformers' clients may pass besides is of no use here
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        is_impossible: Tensor | None = None,
        **unused: Any,
    ) -> AnswerableOutput:
        """As `AlbertForQuestionAnswering.forward`.  `is_impossible`: (B,), 1 where the row holds no answer."""
        states = self._encode(
            input_ids, attention_mask, token_type_ids, None, None, None, None
        ).last_hidden_state
        assert states is not None
        start_logits, end_logits = self.qa_outputs(states).unbind(dim=-1)  # (B, T) each
        impossible_logits = self.impossible(states[:, 0]).squeeze(-1)  # (B,)
        loss = None
        if start_positions is not None and end_positions is not None and is_impossible is not None:
            loss = losses.question_answering(
                start_logits, end_logits, start_positions, end_positions
            )
            wanted = is_impossible.to(impossible_logits.dtype)
            loss = loss + 0.5 * F.binary_cross_entropy_with_logits(impossible_logits, wanted)
        return AnswerableOutput(loss, start_logits, end_logits, impossible_logits=impossible_logits)
