"""The head contract, every `AlbertFor*` class, and `HEADS`, the table of them.

A head is one class. It names its output class and the modules that it adds to the encoder, and it implements
`compute_logits` and `compute_loss`. Everything else derives from `HEADS`: `forward`, loading, conversion, the fast path,
the parity check, export, and registration with transformers. A class that is defined outside the package takes part in
the same way:

    class AlbertForPairScoring(AlbertHeadModel):
        output_class = SequenceClassifierOutput
        head_modules = ("scorer",)
        uses_pooler = True
        reads_pooler_only = True

        def __init__(self, config, *, attn_implementation="sdpa", unpad=False):
            super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
            self.scorer = nn.Linear(config.hidden_size, 1)
            self.post_init()

        def compute_logits(self, hidden, pooled):
            return {"logits": self.scorer(pooled)}

        def compute_loss(self, logits, labels):
            return F.mse_loss(logits["logits"].squeeze(-1), labels["labels"])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albert_torch import losses
from albert_torch.config import AlbertConfig
from albert_torch.losses import IGNORE_INDEX
from albert_torch.model import AlbertModel, activation
from albert_torch.outputs import (
    AlbertForPreTrainingOutput,
    AnswerableQuestionsModelOutput,
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from albert_torch.pretrained import HEADS, AlbertPreTrainedModel

__all__ = [
    "HEADS",
    "AlbertForAnswerableQuestions",
    "AlbertForMaskedLM",
    "AlbertForMultipleChoice",
    "AlbertForPreTraining",
    "AlbertForQuestionAnswering",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertHeadModel",
    "EncoderInputs",
    "OutputOptions",
]

_TIED_DECODER = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}


class EncoderInputs(NamedTuple):
    """The inputs that every head passes on to the encoder; see `AlbertModel.forward`."""

    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    token_type_ids: Tensor | None = None
    position_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None


class OutputOptions(NamedTuple):
    """What a forward pass returns; None means the value in the config."""

    output_attentions: bool | None = None
    output_hidden_states: bool | None = None
    return_dict: bool | None = None


class AlbertHeadModel(AlbertPreTrainedModel):
    """The base of all heads: the encoder as `.albert`, and one `forward` for all of them.

    A subclass states the class attributes below in its own body, creates the modules named in `head_modules` in
    `__init__`, calls `post_init()` at its end, and implements `compute_logits` and `compute_loss`. Stating
    `head_modules` enters the class into `HEADS`.

    Attributes:
        output_class: The `ModelOutput` class that `forward` returns.
        head_modules: Names of the submodules that the head adds, which are the first parts of its checkpoint keys.
        uses_pooler: Whether the encoder has a pooler.
        reads_pooler_only: Whether the logits depend on `pooled` alone. With `unpad=True` and on the fast path the last
            layer then computes only the first token of each row.
        pooled_logits: Names of the logits that have one entry per row because they are computed from `pooled`. All
            other logits have one entry per token, unless `reads_pooler_only` is set.
        has_choices: Whether inputs are (B, C, T): C candidate texts per example. The model sees (B * C, T).
        auto_class: Name of the transformers Auto class that builds this head, or None.
        label_names: Names of the label arguments of `forward`. The loss is computed when all of them are given.
    """

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.albert = AlbertModel(
            config, self.uses_pooler, attn_implementation=attn_implementation, unpad=unpad
        )

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return the logits by name of the field of `output_class`.

        Args:
            hidden: Last hidden states, (B, T, H) in a padded batch or (S, H) for packed tokens.
            pooled: One vector per row, (B, H): the pooler's output if `uses_pooler` is set, otherwise the last hidden
                state of the row's first token.
        """
        raise NotImplementedError

    def compute_loss(
        self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]
    ) -> Tensor | None:
        """Return the scalar loss.

        Args:
            logits: What `compute_logits` returned, reshaped to (B, C) if `has_choices` is set.
            labels: The label arguments of `forward` by name; all of `label_names` are present.
        """
        raise NotImplementedError

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return random labels for a batch, by name, as the parity check needs them.

        Args:
            input_ids: (B, T), or (B, C, T) if `has_choices` is set.
            attention_mask: Of the same shape, nonzero at real tokens.
            generator: Source of randomness.
        """
        return {}

    @classmethod
    def has_token_axis(cls, name: str) -> bool:
        """Return whether the logits of that name have one entry per token rather than one per row."""
        return not cls.reads_pooler_only and name not in cls.pooled_logits

    def forward(  # noqa: PLR0913 - the signature of transformers
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ModelOutput | tuple[Any, ...]:
        """Encode a batch and apply the head.

        The inputs and options are those of `AlbertModel.forward`; `labels` is described in the docstring of each class.

        Returns:
            An `output_class`, or a tuple of its fields that are not None if `return_dict` is False.
        """
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        return self.apply_head(inputs, {"labels": labels}, options)

    def apply_head(
        self, inputs: EncoderInputs, labels: Mapping[str, Tensor | None], options: OutputOptions
    ) -> ModelOutput | tuple[Any, ...]:
        """Encode `inputs`, compute the logits, and the loss if all labels are given; what every `forward` returns."""
        num_choices = None
        if self.has_choices:
            inputs, num_choices = _flatten_choices(inputs)
        encoded = self._encode(inputs, options)
        hidden, pooled = encoded.last_hidden_state, encoded.pooler_output  # (B, T, H), (B, H)
        assert hidden is not None
        logits = self.compute_logits(hidden, hidden[:, 0] if pooled is None else pooled)
        if num_choices is not None:
            logits = {name: x.unflatten(0, (-1, num_choices)) for name, x in logits.items()}
        given = {name: value for name, value in labels.items() if value is not None}
        loss = None
        if given.keys() >= set(self.label_names):
            loss = self.compute_loss(logits, given)
        output = self.output_class(
            loss=loss,
            **logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return_dict = options.return_dict
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()

    def _encode(self, inputs: EncoderInputs, options: OutputOptions) -> BaseModelOutputWithPooling:
        """Run the encoder; where the head reads first tokens only and rows are packed, the last layer skips the others."""
        output_hidden_states = options.output_hidden_states
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if self.reads_pooler_only and self.albert.unpad and not output_hidden_states:
            return self.albert.encode(*inputs, output_attentions=options.output_attentions)
        encoded: BaseModelOutputWithPooling = self.albert(
            *inputs, options.output_attentions, output_hidden_states, return_dict=True
        )
        return encoded


def _flatten_choices(inputs: EncoderInputs) -> tuple[EncoderInputs, int | None]:
    """(B, C, ...) inputs -> (B * C, ...) inputs and C, which is None if there is no input."""
    name = "input_ids" if inputs.inputs_embeds is None else "inputs_embeds"
    tokens: Tensor | None = getattr(inputs, name)
    if tokens is None:
        return inputs, None
    if tokens.dim() != (3 if name == "input_ids" else 4):
        raise ValueError(
            f"{name} has shape {tuple(tokens.shape)}, but a head with choices takes input_ids of shape "
            "(B, choices, T) or inputs_embeds of shape (B, choices, T, E)"
        )
    flat = EncoderInputs(*(None if x is None else x.flatten(0, 1) for x in inputs))
    return flat, tokens.shape[1]


class AlbertMLMHead(nn.Module):
    """The masked-token head, H -> E -> V, whose decoder is the word embedding matrix (section 3.1)."""

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
    """The sentence-order head (section 3.1): are the two segments in order (0) or swapped (1)?"""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, H) -> (B, 2)."""
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def _classifier_dropout(config: AlbertConfig) -> nn.Dropout:
    rate = config.classifier_dropout_prob
    return nn.Dropout(config.hidden_dropout_prob if rate is None else rate)


class AlbertForPreTraining(AlbertHeadModel):
    """The two heads of pretraining: masked tokens and sentence order (section 3.1).

    `labels` is (B, T), the original token at masked positions and -100 elsewhere; `sentence_order_label` is (B,), 0 for
    segments in order and 1 for swapped ones. The loss is the sum of the two cross-entropies.
    """

    output_class = AlbertForPreTrainingOutput
    head_modules = ("predictions", "sop_classifier")
    uses_pooler = True
    pooled_logits = ("sop_logits",)
    auto_class = "AutoModelForPreTraining"
    label_names = ("labels", "sentence_order_label")
    _tied_weights_keys: ClassVar[dict[str, str]] = _TIED_DECODER

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
        return mlm_loss + losses.cross_entropy(logits["sop_logits"], labels["sentence_order_label"])

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return token labels at about half of the positions, and an order label for each row."""
        order = torch.randint(0, 2, input_ids.shape[:1], generator=generator)
        return {
            "labels": _masked_token_labels(input_ids, attention_mask, generator),
            "sentence_order_label": order,
        }

    def forward(  # noqa: PLR0913 - the signature of transformers
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
        """Encode a batch and apply both heads; the labels are described in the docstring of the class."""
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        targets = {"labels": labels, "sentence_order_label": sentence_order_label}
        return self.apply_head(inputs, targets, options)


class AlbertForMaskedLM(AlbertHeadModel):
    """A token for each position, predicted from the tokens around it (section 3.1).

    `labels` is (B, T), the original token at masked positions and -100 elsewhere.
    """

    output_class = MaskedLMOutput
    head_modules = ("predictions",)
    auto_class = "AutoModelForMaskedLM"
    _tied_weights_keys: ClassVar[dict[str, str]] = _TIED_DECODER

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
        """Return the mean cross-entropy over masked positions."""
        return losses.cross_entropy(logits["logits"], labels["labels"])

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the tokens themselves at about half of the positions."""
        return {"labels": _masked_token_labels(input_ids, attention_mask, generator)}


def _masked_token_labels(
    input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
) -> Tensor:
    """The first token of each row and half of the other real tokens; `IGNORE_INDEX` elsewhere."""
    chosen = torch.rand(input_ids.shape, generator=generator) < 0.5
    chosen &= attention_mask.bool()
    chosen[:, 0] = True
    return input_ids.masked_fill(~chosen, IGNORE_INDEX)


class AlbertForSequenceClassification(AlbertHeadModel):
    """One label, several labels, or a number for each text, from its pooled first token.

    `labels` depends on `config.problem_type`; see `losses.sequence_classification`.
    """

    output_class = SequenceClassifierOutput
    head_modules = ("classifier",)
    uses_pooler = True
    reads_pooler_only = True
    pooled_logits = ("logits",)
    auto_class = "AutoModelForSequenceClassification"

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `logits` (B, num_labels)."""
        return {"logits": self.classifier(self.dropout(pooled))}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the loss for `config.problem_type`."""
        return losses.sequence_classification(
            logits["logits"], labels["labels"], self.config.problem_type
        )

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return labels of the kind that `config.problem_type` asks for."""
        rows, classes, kind = len(input_ids), self.config.num_labels, self.config.problem_type
        if kind == "multi_label_classification":
            return {"labels": torch.randint(0, 2, (rows, classes), generator=generator).double()}
        if kind == "regression" or (kind is None and classes == 1):
            scores = torch.randint(0, 9, (rows, classes), generator=generator)
            return {"labels": scores.squeeze(1).double()}
        return {"labels": torch.randint(0, classes, (rows,), generator=generator)}


class AlbertForTokenClassification(AlbertHeadModel):
    """A label for each token. `labels` is (B, T), -100 where a token has none."""

    output_class = TokenClassifierOutput
    head_modules = ("classifier",)
    auto_class = "AutoModelForTokenClassification"

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.dropout = _classifier_dropout(config)
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
        """Return a label for each real token."""
        labels = torch.randint(0, self.config.num_labels, input_ids.shape, generator=generator)
        return {"labels": labels.masked_fill(~attention_mask.bool(), IGNORE_INDEX)}


class AlbertForQuestionAnswering(AlbertHeadModel):
    """The start and the end of the answer in the text. `num_labels` must be 2.

    `start_positions` and `end_positions` are (B,), the first and last token of the answer; positions outside the row
    are ignored.
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
                f"num_labels={config.num_labels}, but question answering has two labels, start and end: "
                "set num_labels=2"
            )
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `start_logits` and `end_logits`, both (B, T) or (S,)."""
        start_logits, end_logits = self.qa_outputs(hidden).unbind(dim=-1)
        return {"start_logits": start_logits, "end_logits": end_logits}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean of the losses of start and end."""
        return losses.question_answering(
            logits["start_logits"],
            logits["end_logits"],
            labels["start_positions"],
            labels["end_positions"],
        )

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the second half of each row as the answer."""
        ends = attention_mask.sum(1) - 1
        return {"start_positions": ends // 2, "end_positions": ends}

    def forward(  # noqa: PLR0913 - the signature of transformers
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
        """Encode a batch and apply the head; the labels are described in the docstring of the class."""
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        targets = {"start_positions": start_positions, "end_positions": end_positions}
        return self.apply_head(inputs, targets, options)


class AlbertForAnswerableQuestions(AlbertForQuestionAnswering):
    """Question answering with a separate output for "no answer", as the paper does for SQuAD v2.0 (appendix A.4).

    The labels are those of `AlbertForQuestionAnswering` and `is_impossible`, (B,), 1 where the text holds no answer.
    Half of the binary cross-entropy of `is_impossible` is added to the loss. transformers has no such class.
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
        self._draw(("impossible.weight", "impossible.bias"))

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `start_logits` and `end_logits`, both (B, T) or (S,), and `impossible_logits` (B,)."""
        logits = super().compute_logits(hidden, pooled)
        return {**logits, "impossible_logits": self.impossible(pooled).squeeze(-1)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of the span plus half of that of `is_impossible`."""
        impossible = labels["is_impossible"].to(logits["impossible_logits"].dtype)
        impossible_loss = F.binary_cross_entropy_with_logits(
            logits["impossible_logits"], impossible
        )
        return super().compute_loss(logits, labels) + 0.5 * impossible_loss

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the second half of each row as the answer, and a random label for "no answer"."""
        impossible = torch.randint(0, 2, input_ids.shape[:1], generator=generator)
        span = super().example_labels(input_ids, attention_mask, generator)
        return {**span, "is_impossible": impossible.double()}

    def forward(  # type: ignore[override]  # noqa: PLR0913 - question answering's, and one label
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
        """Encode a batch and apply the head; the labels are described in the docstring of the class."""
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        targets = {
            "start_positions": start_positions,
            "end_positions": end_positions,
            "is_impossible": is_impossible,
        }
        return self.apply_head(inputs, targets, options)


class AlbertForMultipleChoice(AlbertHeadModel):
    """Which of C texts is right? Every input has one more dimension, (B, C, T). `labels` is (B,)."""

    output_class = MultipleChoiceModelOutput
    head_modules = ("classifier",)
    uses_pooler = True
    reads_pooler_only = True
    pooled_logits = ("logits",)
    has_choices = True
    auto_class = "AutoModelForMultipleChoice"

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.dropout = _classifier_dropout(config)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Return `logits` (B * C,), which `forward` reshapes to (B, C)."""
        return {"logits": self.classifier(self.dropout(pooled)).squeeze(-1)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the mean cross-entropy of the right choices."""
        return losses.cross_entropy(logits["logits"], labels["labels"])

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return a random choice for each example."""
        rows, num_choices = input_ids.shape[:2]
        return {"labels": torch.randint(0, num_choices, (rows,), generator=generator)}
