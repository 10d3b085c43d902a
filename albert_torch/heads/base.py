"""The head contract: what a head class states, and the forward pass that all heads share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from albert_torch.config import AlbertConfig
from albert_torch.model import AlbertModel
from albert_torch.outputs import BaseModelOutputWithPooling, ModelOutput
from albert_torch.pretrained import AlbertPreTrainedModel


class EncoderInputs(NamedTuple):
    """The inputs that every head passes on to the encoder; see `AlbertModel.forward`."""

    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    token_type_ids: Tensor | None = None
    position_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None


class OutputOptions(NamedTuple):
    """What a forward pass returns; None stands for the value in the config."""

    output_attentions: bool | None = None
    output_hidden_states: bool | None = None
    return_dict: bool | None = None


class AlbertHeadModel(AlbertPreTrainedModel):
    """The base class of all heads: the encoder as `.albert`, and one forward pass.

    A subclass sets the class attributes below in its own body, creates the modules named in
    `head_modules` in `__init__`, calls `post_init()` at the end of it, and implements
    `compute_logits` and `compute_loss`. A class whose body sets `head_modules` enters `HEADS` under
    its name without "AlbertFor".

    Attributes:
        output_class: The `ModelOutput` class that `forward` returns.
        head_modules: Names of the submodules that the head adds to the encoder. Its checkpoint keys
            start with them.
        uses_pooler: Whether the encoder has a pooler. Default False.
        reads_pooler_only: Whether all logits are computed from `pooled`. With `unpad=True` and on
            the fast path, the last layer then computes the first token of each row only. Default
            False.
        pooled_logits: Names of the logits that are computed from `pooled` and have one entry per
            row. Needed only if the others have one entry per token; `has_token_axis` tells which.
        has_choices: Whether inputs have shape (B, C, T), C candidate texts for each example. The
            encoder sees (B * C, T). Default False.
        auto_class: Name of the transformers Auto class that builds this head, or None (default).
        label_names: Names of the label arguments of `forward`, ("labels",) by default. The loss is
            computed when all of them are given.
    """

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.albert = AlbertModel(
            config,
            add_pooling_layer=self.uses_pooler,
            attn_implementation=attn_implementation,
            unpad=unpad,
        )

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """Compute the logits.

        Args:
            hidden: Last hidden states, (B, T, H) for a padded batch or (S, H) for packed tokens.
            pooled: One vector per row, (B, H): the output of the pooler if `uses_pooler` is set,
                otherwise the last hidden state of the row's first token.

        Returns:
            The logits by the name of their field in `output_class`. If `has_choices` is set, their
            first dimension is B * C.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement compute_logits")

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            logits: The result of `compute_logits`; if `has_choices` is set, the first dimension is
                split into (B, C).
            labels: The label arguments of `forward` by name; all of `label_names` are present.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement compute_loss")

    def example_labels(
        self, input_ids: Tensor, attention_mask: Tensor, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Make random labels for a batch, by name. The parity check compares losses with them.

        Args:
            input_ids: Token ids, (B, T), or (B, C, T) if `has_choices` is set.
            attention_mask: Nonzero at real tokens; the same shape.
            generator: The source of randomness; None for torch's default.

        Returns:
            A tensor for each of `label_names`, or nothing if there is no loss to check.
        """
        return {}

    @classmethod
    def has_token_axis(cls, name: str) -> bool:
        """Return whether the logits `name` have one entry per token rather than one per row."""
        return not cls.reads_pooler_only and name not in cls.pooled_logits

    def forward(  # noqa: PLR0913 - the signature is that of transformers
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

        The inputs and the options are those of `AlbertModel.forward`. The docstring of each class
        describes its labels.

        Returns:
            An `output_class`, or a tuple of its fields that are not None if `return_dict` is False.

        Raises:
            ValueError: If an input or the labels have a wrong shape, type or value.
        """
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        options = OutputOptions(output_attentions, output_hidden_states, return_dict)
        return self.forward_with_labels(inputs, {"labels": labels}, options)

    def forward_with_labels(
        self, inputs: EncoderInputs, labels: Mapping[str, Tensor | None], options: OutputOptions
    ) -> ModelOutput | tuple[Any, ...]:
        """Do the work of `forward`, whatever the names of the labels are.

        A class with other label arguments defines `forward` with its own signature and calls this.
        """
        num_choices = None
        if self.has_choices:
            inputs, num_choices = flatten_choices(inputs)
        encoded = self._encode(inputs, options)
        hidden = encoded.last_hidden_state  # (B, T, H)
        assert hidden is not None
        pooled = encoded.pooler_output if self.uses_pooler else hidden[:, 0]  # (B, H)
        assert pooled is not None
        logits = self.compute_logits(hidden, pooled)
        if num_choices is not None:  # (B * C, ...) -> (B, C, ...)
            logits = {name: x.view(-1, num_choices, *x.shape[1:]) for name, x in logits.items()}
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
        output_attentions, output_hidden_states, _ = options
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if self.reads_pooler_only and self.albert.unpad and not output_hidden_states:
            return self.albert.encode(*inputs, output_attentions=output_attentions)
        encoded: BaseModelOutputWithPooling = self.albert(
            *inputs, output_attentions, output_hidden_states, return_dict=True
        )
        return encoded


def flatten_choices(inputs: EncoderInputs) -> tuple[EncoderInputs, int | None]:
    """Flatten (B, C, ...) to (B * C, ...), and return C, or None if there are no tokens."""
    name = "input_ids" if inputs.inputs_embeds is None else "inputs_embeds"
    tokens: Tensor | None = getattr(inputs, name)
    if tokens is None:
        return inputs, None
    if tokens.dim() != (3 if name == "input_ids" else 4):
        raise ValueError(
            f"{name} has shape {tuple(tokens.shape)}, but a head with choices takes input_ids of "
            "shape (B, choices, T) or inputs_embeds of shape (B, choices, T, E)"
        )
    flat = EncoderInputs(*(None if x is None else x.flatten(0, 1) for x in inputs))
    return flat, tokens.shape[1]


def classifier_dropout(config: AlbertConfig) -> nn.Dropout:
    """Return the dropout before a classifier: `classifier_dropout_prob`, or the hidden one."""
    rate = config.classifier_dropout_prob
    return nn.Dropout(config.hidden_dropout_prob if rate is None else rate)
