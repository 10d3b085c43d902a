"""`optimize` turns a model into one that answers the same call faster, for inference only."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from albert_torch.heads import HEADS, AlbertHeadModel, EncoderInputs, flatten_choices
from albert_torch.inference.backend import DeviceBackend, select_backend
from albert_torch.inference.encoder import PackedEncoder
from albert_torch.inference.packed_batch import PackedBatch, PackedOutput
from albert_torch.model import AlbertModel
from albert_torch.outputs import ModelOutput
from albert_torch.pretrained import AlbertPreTrainedModel

CALIBRATION_LENGTHS = (16, 32, 64, 128, 256)  # tokens of the random rows that int8 is calibrated on


def optimize(
    model: AlbertPreTrainedModel,
    dtype: torch.dtype | str = torch.float32,
    device: torch.device | str | None = None,
    *,
    calibration: Sequence[Sequence[int]] | None = None,
    backend: DeviceBackend | None = None,
) -> OptimizedAlbert:
    """Return an inference-only copy of a model, with the same call signature and outputs.

    The model itself is not changed, and the copy does not follow later changes of its weights.

    Args:
        model: An instance of any class in `HEADS`.
        dtype: float32; bfloat16 (on a CPU whose bfloat16 products are slower, float32 is used);
            float16 on GPUs; int8 on CPUs, see `kernels.int8`. A name such as "int8" is accepted.
        device: Where the copy runs. None means the device of the model.
        calibration: Rows of token ids from which int8 takes the ranges of activations. None means
            random rows, which serve as well.
        backend: Kernels and scheduling of your own, in place of the ones for `dtype` and `device`.

    Raises:
        TypeError: If the model is not an instance of a class in `HEADS`.
        ValueError: If the dtype is unknown or not available on the device, or if calibration rows
            are given for a dtype that does not need them.
    """
    if not isinstance(model, tuple(HEADS.values())):
        names = ", ".join(model_class.__name__ for model_class in HEADS.values())
        raise TypeError(f"optimize takes a model of one of {names}, not {type(model).__name__}")
    if backend is None:
        backend = select_backend(dtype, model.device if device is None else device)
    if calibration is not None and not backend.needs_calibration:
        raise ValueError(
            f"calibration rows are for int8 only, but the dtype is {dtype}: leave them out"
        )
    return OptimizedAlbert(model, backend, calibration)


class OptimizedAlbert(nn.Module):
    """An inference-only ALBERT, made by `optimize`.

    Call it with a padded batch, like the model it was made from, or call `packed` with rows of
    token ids. Only real tokens are computed, and in the last layer only those that the head reads.
    All outputs are float32.

    Attributes:
        config: A copy of the model's config.
        model: The embeddings, the pooler and the head of the model, in float32; the encoder is
            None.
        encoder: The encoder on packed rows.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: AlbertPreTrainedModel,
        backend: DeviceBackend,
        calibration: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.config = copy.deepcopy(model.config)
        encoder = model.base_model.encoder
        without_encoder = copy.deepcopy(model, {id(encoder): None})
        self.model = without_encoder.float().to(backend.device).eval().requires_grad_(False)
        calibration_batch = None
        if backend.needs_calibration:
            rows = self._random_rows() if calibration is None else calibration
            calibration_batch = self._pack(rows)
        self.encoder = PackedEncoder(encoder, self.config, backend, calibration_batch)
        self.training = False

    @property
    def model_class(self) -> type[AlbertPreTrainedModel]:
        """The class of the model that was optimized."""
        return type(self.model)

    def _random_rows(self) -> list[list[int]]:
        generator = torch.Generator().manual_seed(0)
        limit, vocab_size = self.config.max_position_embeddings, self.config.vocab_size
        return [
            torch.randint(vocab_size, (min(length, limit),), generator=generator).tolist()
            for length in CALIBRATION_LENGTHS
        ]

    def train(self, mode: bool = True) -> OptimizedAlbert:
        """Do nothing for `mode=False`.

        Raises:
            ValueError: For `mode=True`.
        """
        if mode:
            raise ValueError(
                "an optimized model is for inference only: train the plain model and call optimize "
                "again"
            )
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(
            "an optimized model cannot be moved or cast: call optimize(model, dtype, device) again"
        )

    @torch.no_grad()
    def forward(  # noqa: PLR0913 - the signature of the model that was optimized
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ModelOutput | tuple[Any, ...]:
        """Compute what the model's own `forward` does, without labels and attentions.

        Args:
            input_ids: Token ids, (B, T), or (B, C, T) for a model with choices.
            attention_mask: (B, T), nonzero at real tokens, wherever they are.
            token_type_ids: Segment of each token, (B, T); 0 everywhere by default.
            position_ids: Position of each token, (B, T); 0 to T - 1 by default.
            inputs_embeds: Word embeddings, (B, T, E), instead of `input_ids`.
            output_attentions: Must not be true.
            output_hidden_states: Whether to return all hidden states. None means the value in the
                config, as for the other two.
            return_dict: Whether to return an output object rather than a tuple.

        Returns:
            The model's output class, or a tuple of its fields that are not None. At padding, all
            values are zero.

        Raises:
            ValueError: If the model would raise it, if `attention_mask` is not (B, T), or if
                attentions are asked for.
        """
        if _or_default(output_attentions, self.config.output_attentions):
            raise ValueError(
                "the fast path does not compute attention probabilities: call the plain model for "
                "them"
            )
        inputs = EncoderInputs(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds
        )
        num_choices = None
        if self.model_class.has_choices:
            inputs, num_choices = flatten_choices(inputs)
        with_hidden_states = _or_default(output_hidden_states, self.config.output_hidden_states)
        batch = self._pack_padded(inputs, with_hidden_states)
        states = self.encoder(batch, output_hidden_states=with_hidden_states)
        per_token, per_row = self._head_outputs(batch, states.last_hidden_state)
        values = per_row | {name: batch.to_padded(value) for name, value in per_token.items()}
        if num_choices is not None:
            shape = (-1, num_choices)
            values = {name: torch.unflatten(x, 0, shape) for name, x in values.items()}
        output = self.model_class.output_class(**values)
        if states.hidden_states is not None:
            output["hidden_states"] = tuple(map(batch.to_padded, states.hidden_states))
        return_dict = _or_default(return_dict, self.config.return_dict)
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def packed(
        self,
        rows: Sequence[Sequence[int]],
        token_type_ids: Sequence[Sequence[int]] | None = None,
        *,
        needed_columns: Sequence[Sequence[int]] | None = None,
        apply_head: bool = True,
    ) -> PackedOutput:
        """Compute the outputs for rows of token ids of any lengths, without padding.

        Args:
            rows: The token ids of each row.
            token_type_ids: The segment of each token; 0 everywhere by default.
            needed_columns: For each row, the columns of the tokens that are needed, ascending. The
                last layer then computes only these, and only they are returned. By default all
                tokens are returned.
            apply_head: Whether to apply the head. If not, the result is that of an `AlbertModel`.

        Returns:
            Values by name of the output field. Those with one value per row are left out if
            `needed_columns` lacks the first token of a row.

        Raises:
            ValueError: If there are no rows, if a row is empty or has more tokens than the model
                has positions, or if an id is unknown.
        """
        if apply_head and self.model_class.reads_pooler_only:
            needed_columns = [[0]] * len(rows)
        batch = self._pack(rows, token_type_ids, needed_columns)
        last_hidden_state = self.encoder(batch).last_hidden_state  # (K, H)
        per_token, per_row = self._head_outputs(batch, last_hidden_state, apply_head)
        values = per_row | {name: batch.to_rows(value) for name, value in per_token.items()}
        if needed_columns is None:
            return PackedOutput(values, [len(row) for row in rows])
        return PackedOutput(values, [len(set(columns)) for columns in needed_columns])

    def _pack_padded(self, inputs: EncoderInputs, with_hidden_states: bool) -> PackedBatch:
        embeddings = self.model.base_model.embeddings(
            inputs.input_ids, inputs.token_type_ids, inputs.position_ids, inputs.inputs_embeds
        )  # (B, T, E)
        mask, batch_shape = inputs.attention_mask, embeddings.shape[:2]
        if mask is None:
            mask = embeddings.new_ones(batch_shape)
        if mask.shape != batch_shape:
            raise ValueError(
                f"attention_mask has shape {tuple(mask.shape)}, but the fast path takes only "
                f"{tuple(batch_shape)}, one value for each token"
            )
        first_only = self.model_class.reads_pooler_only and not with_hidden_states
        return PackedBatch.from_padded(embeddings, mask, first_tokens_only=first_only)

    def _pack(
        self,
        rows: Sequence[Sequence[int]],
        token_type_ids: Sequence[Sequence[int]] | None = None,
        needed_columns: Sequence[Sequence[int]] | None = None,
    ) -> PackedBatch:
        limit = self.config.max_position_embeddings
        row_lengths = [len(row) for row in rows]
        if not row_lengths or not all(0 < length <= limit for length in row_lengths):
            raise ValueError(
                f"the rows have {row_lengths} tokens: give at least one row, each of 1 to {limit} "
                "tokens"
            )
        return PackedBatch.from_rows(
            rows,
            token_type_ids,
            needed_columns,
            embed=self.model.base_model.embeddings,
            device=self.model.device,
        )

    def _head_outputs(
        self, batch: PackedBatch, hidden: Tensor, apply_head: bool = True
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Apply the pooler and the head to the last hidden states (K, H) of the needed tokens.

        Returns:
            Two dicts by name of the output field: values per token (K, ...), in packed order, and
            values per row (B, ...), in the caller's order. The latter is empty if the first token
            of some row is not among the needed ones.
        """
        base: AlbertModel = self.model.base_model
        pooled = batch.first_tokens(hidden)  # (B, H)
        if pooled is not None and base.pooler is not None:
            pooled = base.pool(pooled)
        if not apply_head or not isinstance(self.model, AlbertHeadModel):
            if pooled is None or base.pooler is None:
                return {"last_hidden_state": hidden}, {}
            return {"last_hidden_state": hidden}, {"pooler_output": pooled}
        if pooled is None:  # what is computed from these zeros is not returned
            zeros = hidden.new_zeros(batch.shape[0], hidden.shape[1])
            logits = self.model.compute_logits(hidden, zeros)
        else:
            logits = self.model.compute_logits(hidden, pooled)
        per_token = {
            name: value for name, value in logits.items() if self.model.has_token_axis(name)
        }
        if pooled is None:
            return per_token, {}
        return per_token, {name: value for name, value in logits.items() if name not in per_token}


def _or_default(argument: bool | None, default: bool) -> bool:
    return default if argument is None else argument
