"""The heads of pretraining: masked tokens and sentence order (section 3.1 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from albert_torch import losses
from albert_torch.activations import activation
from albert_torch.config import AlbertConfig
from albert_torch.heads.base import (
    AlbertHeadModel,
    EncoderInputs,
    OutputOptions,
    classifier_dropout,
)
from albert_torch.losses import IGNORE_INDEX
from albert_torch.outputs import AlbertForPreTrainingOutput, MaskedLMOutput, ModelOutput

TIED_DECODER = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}


class AlbertMLMHead(nn.Module):
    """Predicts masked tokens, H -> E -> V. The decoder is the word embedding matrix."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # tied to decoder.bias
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)
        self.activation = activation(config.hidden_act)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., H) -> (..., V)."""
        logits: Tensor = self.decoder(self.LayerNorm(self.activation(self.dense(hidden))))
        return logits


class AlbertSOPHead(nn.Module):
    """Predicts whether two segments are in order (class 0) or swapped (class 1)."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.dropout = classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, H) -> (B, 2)."""
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


class AlbertForPreTraining(AlbertHeadModel):
    """ALBERT with both heads of pretraining: masked tokens and sentence order.

    `labels` has shape (B, T): the original token at masked positions, -100 elsewhere.
    `sentence_order_label` has shape (B,): 0 for segments in order, 1 for swapped ones. The loss is
    the sum of the two mean cross-entropies.
    """

    output_class = AlbertForPreTrainingOutput
    head_modules = ("predictions", "sop_classifier")
    uses_pooler = True
    pooled_logits = ("sop_logits",)
    auto_class = "AutoModelForPreTraining"
    label_names = ("labels", "sentence_order_label")
    _tied_weights_keys: ClassVar[dict[str, str]] = TIED_DECODER

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.predictions = AlbertMLMHead(config)
        self.sop_classifier = AlbertSOPHead(config)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `prediction_logits` (..., V) and `sop_logits` (B, 2)."""
        return {
            "prediction_logits": self.predictions(hidden),
            "sop_logits": self.sop_classifier(pooled),
        }

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean over masked tokens plus the mean over rows."""
        mlm_loss = losses.cross_entropy(logits["prediction_logits"], labels["labels"])
        sop_loss = losses.cross_entropy(logits["sop_logits"], labels["sentence_order_label"])
        return mlm_loss + sop_loss

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return labels for about half of the tokens, and a random order for each row."""
        token_labels = _some_tokens(input_ids, attention_mask, generator)
        order = torch.randint(0, 2, input_ids.shape[:1], generator=generator)
        return {"labels": token_labels, "sentence_order_label": order}

    def forward(  # type: ignore[override]  # noqa: PLR0913 - the signature is that of transformers
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        sentence_order_label: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ModelOutput | tuple[Any, ...]:
        """Encode a batch and apply both heads; see `AlbertHeadModel.forward`."""
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        all_labels = {"labels": labels, "sentence_order_label": sentence_order_label}
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        return self.forward_with_labels(inputs, all_labels, options)


class AlbertForMaskedLM(AlbertHeadModel):
    """ALBERT that predicts a token at each position from the tokens around it.

    `labels` has shape (B, T): the original token at masked positions, -100 elsewhere.
    """

    output_class = MaskedLMOutput
    head_modules = ("predictions",)
    auto_class = "AutoModelForMaskedLM"
    _tied_weights_keys: ClassVar[dict[str, str]] = TIED_DECODER

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.predictions = AlbertMLMHead(config)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `logits` (..., V)."""
        return {"logits": self.predictions(hidden)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean cross-entropy over labelled tokens."""
        return losses.cross_entropy(logits["logits"], labels["labels"])

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return labels for about half of the tokens."""
        return {"labels": _some_tokens(input_ids, attention_mask, generator)}


def _some_tokens(
    input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Keep the first token of each row and half of the others; the rest becomes IGNORE_INDEX."""
    chosen = attention_mask.bool() & (torch.rand(input_ids.shape, generator=generator) < 0.5)
    chosen[:, 0] = True
    return input_ids.masked_fill(~chosen, IGNORE_INDEX)
