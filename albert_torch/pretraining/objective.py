"""The objective of pretraining (section 3.1): masked language modelling and sentence order."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from albert_torch.attention import Packing
from albert_torch.heads import AlbertForPreTraining
from albert_torch.losses import IGNORE_INDEX


class LossSums(NamedTuple):
    """Sums over the examples of a micro-batch, each a scalar.

    Sums of several micro-batches and processes can be added. Divided by the counts of the whole
    batch, they are the means.
    """

    mlm_loss: Tensor  # over masked tokens
    sop_loss: Tensor  # over examples
    masked: Tensor  # number of masked tokens
    examples: Tensor  # number of examples with a sentence-order label
    mlm_correct: Tensor  # number of masked tokens that are predicted
    sop_correct: Tensor  # number of examples whose order is predicted


class PretrainingObjective(nn.Module):
    """`AlbertForPreTraining` with its loss, computed without what the loss does not need.

    The last layer computes only masked tokens and [CLS], and only masked tokens get logits over the
    vocabulary. These logits are most of the memory of `AlbertForPreTraining`'s loss, and six of
    seven belong to tokens without a label.

    Args:
        model: The model to train.
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
    ) -> LossSums:
        """Return the sums of losses and correct predictions.

        Args:
            input_ids: (B, T), token ids.
            attention_mask: (B, T), 1 for real tokens.
            token_type_ids: (B, T), 0 for the first segment and 1 for the second one.
            labels: (B, T), the original id of masked tokens, `IGNORE_INDEX` elsewhere.
            sentence_order_label: (B,), 1 if the segments were swapped.
        """
        is_masked = labels != IGNORE_INDEX  # (B, T)
        encoded = self.model.albert.encode(
            input_ids, attention_mask, token_type_ids, token_mask=is_masked
        )
        assert encoded.last_hidden_state is not None
        packing = Packing(is_masked)  # M masked tokens
        original_ids = packing.pack(labels)  # (M,)
        hidden = packing.pack(encoded.last_hidden_state)  # (M, H)
        mlm_logits = self.model.predictions(hidden)  # (M, V)
        sop_logits = self.model.sop_classifier(encoded.pooler_output)  # (B, 2)
        return LossSums(
            mlm_loss=F.cross_entropy(mlm_logits, original_ids, reduction="sum"),
            sop_loss=F.cross_entropy(sop_logits, sentence_order_label, reduction="sum"),
            masked=is_masked.sum(),
            examples=(sentence_order_label != IGNORE_INDEX).sum(),
            mlm_correct=(mlm_logits.argmax(-1) == original_ids).sum(),
            sop_correct=(sop_logits.argmax(-1) == sentence_order_label).sum(),
        )
