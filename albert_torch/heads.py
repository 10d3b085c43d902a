"""The seven tasks' heads on the shared encoder: classes, arguments, outputs and losses of transformers' names."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from albert_torch import losses
from albert_torch.checkpoints.matching import TIED
from albert_torch.config import AlbertConfig
from albert_torch.model import AlbertModel, activation
from albert_torch.outputs import (
    AlbertForPreTrainingOutput,
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from albert_torch.pretrained import AlbertPreTrainedModel

Output = TypeVar("Output", bound=ModelOutput)
Ids = Tensor | None
Flag = bool | None  # None: as the config says


class AlbertMLMHead(nn.Module):
    """H -> E -> V: the masked tokens, over the embedding matrix again (§3.1).  (B, T, H) -> (B, T, V)."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(
            torch.zeros(config.vocab_size)
        )  # the same parameter as decoder.bias
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(..., H) -> (..., V)."""
        scores: Tensor = self.decoder(self.LayerNorm(self.activation(self.dense(x))))
        return scores


class AlbertSOPHead(nn.Module):
    """Sentence order (§3.1): are the two segments in order (0) or swapped (1)?  (B, H) -> (B, 2)."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, H) -> (B, 2)."""
        scores: Tensor = self.classifier(self.dropout(pooled))
        return scores


def _classifier_dropout(config: AlbertConfig) -> nn.Dropout:
    rate = config.classifier_dropout_prob
    return nn.Dropout(config.hidden_dropout_prob if rate is None else rate)


class _AlbertWithHead(AlbertPreTrainedModel):
    """The encoder under a head, as `.albert`."""

    def __init__(
        self, config: AlbertConfig, add_pooling_layer: bool, attn_implementation: str, unpad: bool
    ) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.albert = AlbertModel(
            config, add_pooling_layer, attn_implementation=attn_implementation, unpad=unpad
        )

    def _encode(self, *inputs: Any, keep: Tensor | None = None) -> BaseModelOutputWithPooling:
        """Call the encoder: ids, mask, segments, positions, embeddings, then the two `output_*` flags."""
        encoded: BaseModelOutputWithPooling = self.albert(*inputs, return_dict=True, keep=keep)
        return encoded

    def _encode_pooled(self, *inputs: Any) -> BaseModelOutputWithPooling:
        """The same for a head that reads the pooler alone: without padding, the last layer makes nothing else."""
        *_, hidden_states = inputs
        wanted = self.config.output_hidden_states if hidden_states is None else hidden_states
        x = inputs[0] if inputs[4] is None else inputs[4]
        if wanted or x is None or not self.albert.unpad:
            return self._encode(*inputs)
        return self._encode(
            *inputs, keep=torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        )

    def _give(self, output: Output, return_dict: Flag) -> Output | tuple[Any, ...]:
        return (
            output
            if (self.config.return_dict if return_dict is None else return_dict)
            else output.to_tuple()
        )


class AlbertForPreTraining(_AlbertWithHead):
    """The two heads of pretraining: masked words and sentence order (§3.1)."""

    _tied_weights_keys = TIED

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, True, attn_implementation, unpad)
        self.predictions = AlbertMLMHead(config)
        self.sop_classifier = AlbertSOPHead(config)
        self.post_init()

    def forward(
        self, input_ids: Ids = None, attention_mask: Ids = None, token_type_ids: Ids = None, position_ids: Ids = None,
        inputs_embeds: Ids = None, labels: Ids = None, sentence_order_label: Ids = None,
        output_attentions: Flag = None, output_hidden_states: Flag = None, return_dict: Flag = None,
    ) -> AlbertForPreTrainingOutput | tuple[Any, ...]:  # fmt: skip
        """As `AlbertModel.forward`, and the loss, MLM + SOP, when both kinds of labels are given.

        `labels`: (B, T), the right token at masked places, -100 elsewhere; `sentence_order_label`: (B,), 1 = swapped.
        """
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self._encode(*inputs, output_attentions, output_hidden_states)
        assert encoded.pooler_output is not None
        prediction_logits = self.predictions(encoded.last_hidden_state)  # (B, T, V)
        sop_logits = self.sop_classifier(encoded.pooler_output)  # (B, 2)
        loss = None
        if labels is not None and sentence_order_label is not None:
            loss = losses.cross_entropy(prediction_logits, labels)
            loss = loss + losses.cross_entropy(sop_logits, sentence_order_label)
        seen = (encoded.hidden_states, encoded.attentions)
        return self._give(
            AlbertForPreTrainingOutput(loss, prediction_logits, sop_logits, *seen), return_dict
        )


class AlbertForMaskedLM(_AlbertWithHead):
    """The word at each place, from the words around it (§3.1)."""

    _tied_weights_keys = TIED

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, False, attn_implementation, unpad)
        self.predictions = AlbertMLMHead(config)
        self.post_init()

    def forward(
        self, input_ids: Ids = None, attention_mask: Ids = None, token_type_ids: Ids = None, position_ids: Ids = None,
        inputs_embeds: Ids = None, labels: Ids = None, output_attentions: Flag = None,
        output_hidden_states: Flag = None, return_dict: Flag = None,
    ) -> MaskedLMOutput | tuple[Any, ...]:  # fmt: skip
        """As `AlbertModel.forward`.  `labels`: (B, T), the right token at masked places, -100 elsewhere."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self._encode(*inputs, output_attentions, output_hidden_states)
        logits = self.predictions(encoded.last_hidden_state)  # (B, T, V)
        loss = None if labels is None else losses.cross_entropy(logits, labels)
        seen = (encoded.hidden_states, encoded.attentions)
        return self._give(MaskedLMOutput(loss, logits, *seen), return_dict)


class AlbertForSequenceClassification(_AlbertWithHead):
    """One label, several, or a number for each text, from its pooled `[CLS]`."""

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, True, attn_implementation, unpad)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Ids = None, attention_mask: Ids = None, token_type_ids: Ids = None, position_ids: Ids = None,
        inputs_embeds: Ids = None, labels: Ids = None, output_attentions: Flag = None,
        output_hidden_states: Flag = None, return_dict: Flag = None,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:  # fmt: skip
        """As `AlbertModel.forward`.  `labels` by `config.problem_type`: see `losses.sequence_classification`."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self._encode_pooled(*inputs, output_attentions, output_hidden_states)
        logits = self.classifier(self.dropout(encoded.pooler_output))  # (B, num_labels)
        loss = None
        if labels is not None:
            loss = losses.sequence_classification(logits, labels, self.config.problem_type)
        seen = (encoded.hidden_states, encoded.attentions)
        return self._give(SequenceClassifierOutput(loss, logits, *seen), return_dict)


class AlbertForTokenClassification(_AlbertWithHead):
    """A label for each token."""

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, False, attn_implementation, unpad)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Ids = None, attention_mask: Ids = None, token_type_ids: Ids = None, position_ids: Ids = None,
        inputs_embeds: Ids = None, labels: Ids = None, output_attentions: Flag = None,
        output_hidden_states: Flag = None, return_dict: Flag = None,
    ) -> TokenClassifierOutput | tuple[Any, ...]:  # fmt: skip
        """As `AlbertModel.forward`.  `labels`: (B, T), -100 where there is none."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self._encode(*inputs, output_attentions, output_hidden_states)
        logits = self.classifier(self.dropout(encoded.last_hidden_state))  # (B, T, num_labels)
        loss = None if labels is None else losses.cross_entropy(logits, labels)
        seen = (encoded.hidden_states, encoded.attentions)
        return self._give(TokenClassifierOutput(loss, logits, *seen), return_dict)


class AlbertForQuestionAnswering(_AlbertWithHead):
    """Where in the text the answer starts and ends. `num_labels` must be 2."""

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, False, attn_implementation, unpad)
        if config.num_labels != 2:
            raise ValueError(
                f"num_labels={config.num_labels}: question answering has two, start and end; set num_labels=2"
            )
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Ids = None, attention_mask: Ids = None, token_type_ids: Ids = None, position_ids: Ids = None,
        inputs_embeds: Ids = None, start_positions: Ids = None, end_positions: Ids = None,
        output_attentions: Flag = None, output_hidden_states: Flag = None, return_dict: Flag = None,
    ) -> QuestionAnsweringModelOutput | tuple[Any, ...]:  # fmt: skip
        """As `AlbertModel.forward`.  Positions: (B,), the answer's first and last token; ignored outside the row."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self._encode(*inputs, output_attentions, output_hidden_states)
        start_logits, end_logits = self.qa_outputs(encoded.last_hidden_state).unbind(
            dim=-1
        )  # (B, T) each
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = losses.question_answering(
                start_logits, end_logits, start_positions, end_positions
            )
        seen = (encoded.hidden_states, encoded.attentions)
        return self._give(
            QuestionAnsweringModelOutput(loss, start_logits, end_logits, *seen), return_dict
        )


class AlbertForMultipleChoice(_AlbertWithHead):
    """Which of C texts is right. Every input has a dimension more: (B, C, T)."""

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, True, attn_implementation, unpad)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(
        self, input_ids: Ids = None, attention_mask: Ids = None, token_type_ids: Ids = None, position_ids: Ids = None,
        inputs_embeds: Ids = None, labels: Ids = None, output_attentions: Flag = None,
        output_hidden_states: Flag = None, return_dict: Flag = None,
    ) -> MultipleChoiceModelOutput | tuple[Any, ...]:  # fmt: skip
        """As `AlbertModel.forward` on (B, C, T) inputs, or (B, C, T, E) `inputs_embeds`.  `labels`: (B,)."""
        first = input_ids if inputs_embeds is None else inputs_embeds
        if first is not None and first.dim() != (3 if inputs_embeds is None else 4):
            raise ValueError(
                f"the input is {tuple(first.shape)}, must be (B, choices, T), or (B, choices, T, E) embeddings"
            )
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        flat = (None if x is None else x.flatten(0, 1) for x in inputs)  # (B * C, T)
        encoded = self._encode_pooled(*flat, output_attentions, output_hidden_states)
        logits = self.classifier(self.dropout(encoded.pooler_output))  # (B * C, 1)
        logits = logits.view(-1, first.shape[1] if first is not None else 1)  # (B, C)
        loss = None if labels is None else losses.cross_entropy(logits, labels)
        seen = (encoded.hidden_states, encoded.attentions)
        return self._give(MultipleChoiceModelOutput(loss, logits, *seen), return_dict)
