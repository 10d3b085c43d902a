"""The encoder on packed rows: no padding and no mask, and weights that are prepared once.

The rows of a batch are computed in chunks, so that what passes between two matrix products stays in
the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albert_torch.config import AlbertConfig
from albert_torch.inference.backend import (
    AttentionKernel,
    DeviceBackend,
    LayerObservers,
    LayerWeights,
)
from albert_torch.inference.kernels.int8 import Observer
from albert_torch.inference.kernels.linear import FeedForward, LinearWeights
from albert_torch.inference.packed_batch import PackedBatch
from albert_torch.inference.parallel import parallel_map
from albert_torch.layers import AlbertLayer, AlbertTransformer


class EncoderStates(NamedTuple):
    """What the encoder returns, in the order of the packed tokens and in float32.

    Attributes:
        last_hidden_state: (K, H), the needed tokens after the last layer.
        hidden_states: L + 1 tensors (S, H), the embedding projection first; None unless asked for.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None


def layer_weights(layer: AlbertLayer, dtype: torch.dtype, device: torch.device) -> LayerWeights:
    """Copy a layer's weights, with queries, keys and values as one matrix product."""

    def weights_of(*linears: nn.Module) -> LinearWeights:
        return LinearWeights(
            torch.cat([linear.get_parameter("weight") for linear in linears]).to(device, dtype),
            torch.cat([linear.get_parameter("bias") for linear in linears]).to(device, dtype),
        )

    attention = layer.attention
    return LayerWeights(
        qkv=weights_of(attention.query, attention.key, attention.value),
        dense=weights_of(attention.dense),
        ffn=weights_of(layer.ffn),
        ffn_output=weights_of(layer.ffn_output),
    )


class PackedLayerNorm:
    """A LayerNorm with a copy of the weights, in a backend's dtype and on its device."""

    def __init__(self, norm: nn.LayerNorm, backend: DeviceBackend) -> None:
        self.shape, self.eps = norm.normalized_shape, norm.eps
        self.weight = norm.weight.to(backend.device, backend.dtype, copy=True)
        self.bias = norm.bias.to(backend.device, backend.dtype, copy=True)

    def __call__(self, x: Tensor) -> Tensor:
        """(S, H) -> (S, H)."""
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class PackedLayer:
    """`AlbertLayer` on packed tokens."""

    def __init__(self, layer: AlbertLayer, config: AlbertConfig, backend: DeviceBackend) -> None:
        weights = layer_weights(layer, backend.dtype, backend.device)
        self.kernels = backend.layer_kernels(weights, config.hidden_act)
        self.attention_norm = PackedLayerNorm(layer.attention.LayerNorm, backend)
        self.output_norm = PackedLayerNorm(layer.full_layer_layer_norm, backend)

    def __call__(self, x: Tensor, attend: AttentionKernel, needed: Tensor | None = None) -> Tensor:
        """Apply the layer (section 3.1).  (S, H) -> (S, H).

        Args:
            x: (S, H)
            attend: Attention of the rows that `x` consists of.
            needed: (K,) long. If given, only these tokens are computed after the attention, and the
                result is (K, H).
        """
        context = attend(self.kernels.qkv(x))  # (S, H)
        if needed is not None:
            context, x = context[needed], x[needed]
        x = self.attention_norm(self.kernels.dense(context, x))
        return self.output_norm(self.kernels.feed_forward(x, x))

    def observe(self) -> LayerObservers:
        """From now on, record the mean and the range of the inputs of the matrix products."""
        feed_forward = self.kernels.feed_forward
        if not isinstance(feed_forward, FeedForward):
            raise TypeError(f"calibration needs a FeedForward, not a {type(feed_forward).__name__}")
        observers = LayerObservers(
            qkv=Observer(self.kernels.qkv),
            dense=Observer(self.kernels.dense),
            ffn=Observer(feed_forward),
            ffn_output=Observer(feed_forward.down),
        )
        feed_forward.down = observers.ffn_output
        self.kernels.qkv, self.kernels.dense = observers.qkv, observers.dense
        self.kernels.feed_forward = observers.ffn
        return observers


def _layer_groups(encoder: AlbertTransformer) -> list[list[AlbertLayer]]:
    """The G groups of stored layers."""
    return [list(group.albert_layers) for group in encoder.albert_layer_groups]  # type: ignore[arg-type]


class PackedEncoder:
    """`AlbertTransformer` on packed rows.

    Args:
        encoder: The module whose weights are copied.
        config: Its config.
        backend: Provides the kernels and the schedule.
        calibration: Rows from which a backend that needs calibration takes the ranges of
            activations.
    """

    def __init__(
        self,
        encoder: AlbertTransformer,
        config: AlbertConfig,
        backend: DeviceBackend,
        calibration: PackedBatch | None = None,
    ) -> None:
        self.config, self.backend = config, backend
        projection = encoder.embedding_hidden_mapping_in
        weight = projection.weight.to(backend.device, backend.dtype, copy=True)
        bias = projection.bias.to(backend.device, backend.dtype, copy=True)
        self.project = backend.linear(LinearWeights(weight, bias))  # E -> H
        self.groups = [
            [PackedLayer(layer, config, backend) for layer in group]
            for group in _layer_groups(encoder)
        ]
        if calibration is not None:
            self._calibrate(encoder, calibration)

    def _calibrate(self, encoder: AlbertTransformer, batch: PackedBatch) -> None:
        """Replace the kernels by quantized ones, with the ranges observed on a batch."""
        observers = [[layer.observe() for layer in group] for group in self.groups]
        self(batch, max_workers=1)  # observers are not thread-safe
        for group, packed_group, group_observers in zip(
            _layer_groups(encoder), self.groups, observers, strict=True
        ):
            for layer, packed_layer, observed in zip(
                group, packed_group, group_observers, strict=True
            ):
                weights = layer_weights(layer, self.backend.dtype, self.backend.device)
                packed_layer.kernels = self.backend.quantized_kernels(
                    weights, self.config.hidden_act, observed
                )

    def __call__(
        self,
        batch: PackedBatch,
        *,
        output_hidden_states: bool = False,
        max_workers: int | None = None,
    ) -> EncoderStates:
        """Encode a batch.

        Args:
            batch: The rows, and which tokens are needed.
            output_hidden_states: Whether to return the states of all layers as well.
            max_workers: Largest number of threads that compute chunks at the same time; None means
                no limit.
        """
        hidden_size = self.config.hidden_size
        num_tokens, device = len(batch.embeddings), batch.embeddings.device
        result = torch.empty(batch.num_results, hidden_size, dtype=torch.float32, device=device)
        hidden_states = [
            torch.empty(num_tokens, hidden_size, dtype=torch.float32, device=device)
            for _ in range(self.config.num_hidden_layers + 1 if output_hidden_states else 0)
        ]
        plan = self.backend.schedule(batch.row_lengths, hidden_size, max_workers)
        encode_chunk = partial(self._encode_chunk, batch, result, hidden_states)
        parallel_map(encode_chunk, plan.chunks, plan.num_workers)
        return EncoderStates(result, tuple(hidden_states) if output_hidden_states else None)

    # The tensors that are written to are made outside of inference mode, so that autograd accepts
    # them.
    @torch.inference_mode()
    def _encode_chunk(
        self,
        batch: PackedBatch,
        result: Tensor,
        hidden_states: Sequence[Tensor],
        rows: Sequence[int],
    ) -> None:
        """Encode some rows of a batch; write to `result` (K, H) and `hidden_states` (S, H)."""
        chunk = batch.chunk(rows, self.backend.padding_to_block)
        attend = self.backend.attention(chunk.row_lengths, self.config.num_attention_heads)
        x = self.project(chunk.embeddings.to(self.backend.dtype))  # (C, H)
        for depth, layers in enumerate(self._groups_by_depth()):
            if hidden_states:
                hidden_states[depth][chunk.tokens] = x[: chunk.num_tokens].float()
            is_last_group = depth == self.config.num_hidden_layers - 1
            for layer in layers[:-1]:
                x = layer(x, attend)
            x = layers[-1](x, attend, chunk.needed if is_last_group else None)
        if hidden_states:
            hidden_states[-1][chunk.tokens] = x[: chunk.num_tokens].float()
        result[chunk.results] = x[: chunk.num_results].float()

    def _groups_by_depth(self) -> Iterable[list[PackedLayer]]:
        """The group of layers at each of the L depths."""
        num_layers, num_groups = self.config.num_hidden_layers, len(self.groups)
        for depth in range(num_layers):
            yield self.groups[depth * num_groups // num_layers]
