"""What pretraining minimises (§3.1): the loss of the masked tokens and that of the sentence order, as sums."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from albert_torch.attention import Packing
from albert_torch.heads import AlbertForPreTraining
from albert_torch.losses import IGNORE_INDEX


class Sums(NamedTuple):
    """Sums over a part of a batch, each (): divided by the counts of the whole batch, parts and processes add up."""

    mlm_loss: Tensor  # over masked places
    sop_loss: Tensor  # over rows
    masked: Tensor  # masked places
    rows: Tensor
    mlm_correct: Tensor  # masked places where the best token is the right one
    sop_correct: Tensor


class Objective(nn.Module):
    """`AlbertForPreTraining`, as `.model`, with the end of the last layer and the logits at the masked places alone.

    Those logits are most of the memory of `AlbertForPreTraining`'s loss, and six in seven of them count for nothing.
    """

    def __init__(self, model: AlbertForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        labels: Tensor,
        sentence_order_label: Tensor,
    ) -> Sums:
        """As `AlbertForPreTraining.forward`.  `labels`: (B, T), -100 where not masked; `sentence_order_label`: (B,)."""
        token_mask = labels != IGNORE_INDEX  # (B, T)
        encoded = self.model.albert.encode(
            input_ids, attention_mask, token_type_ids, token_mask=token_mask
        )
        assert encoded.last_hidden_state is not None
        masked = Packing(token_mask)  # M places
        right = masked.pack(labels)  # (M,)
        hidden = masked.pack(encoded.last_hidden_state)  # (M, H)
        mlm_logits = self.model.predictions(hidden)  # (M, V)
        sop_logits = self.model.sop_classifier(encoded.pooler_output)  # (B, 2)
        return Sums(
            F.cross_entropy(mlm_logits, right, reduction="sum"),
            F.cross_entropy(sop_logits, sentence_order_label, reduction="sum"),
            token_mask.sum(),
            (sentence_order_label != IGNORE_INDEX).sum(),
            (mlm_logits.argmax(-1) == right).sum(),
            (sop_logits.argmax(-1) == sentence_order_label).sum(),
        )
