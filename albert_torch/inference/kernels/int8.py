"""int8 kernels: weights with one scale for each output channel, activations as unsigned bytes.

The same rounding error is applied in every run of the shared layer, so three measures keep it
small:

- The mean of each input channel is subtracted before quantization and added back through the bias.
  The outlier channels of an ALBERT are mostly constant.
- Input channels are scaled to similar ranges (SmoothQuant, Xiao et al. 2022).
- The widest channels of the feed-forward layer form a product of their own, with their own scale,
  so that the many narrow channels keep their resolution.

Means and ranges are observed once, while the float32 encoder runs on calibration rows, and are
fixed from then on: the vector of a text does not depend on the other texts in its batch. Random
tokens serve as well as text for this.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from albert_torch.inference.kernels.linear import Kernel, LinearWeights
from albert_torch.inference.kernels.onednn import QuantParams
from albert_torch.inference.kernels.quantized_linear import (
    SIGN_OFFSET,
    QuantizedLinear,
    cpu_quantized_linear,
    quant_params,
    to_bytes,
)

SMOOTHING = 0.75  # SmoothQuant's alpha: how much of a channel's range is moved into the weight
WIDE_CHANNEL_RATIO = 24  # one feed-forward channel in this many is treated as wide
WIDE_CHANNEL_BLOCK = 64  # the number of wide channels is rounded up to whole blocks of the product


class Observer:
    """A kernel that wraps another one and records mean and range of each input channel."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.count = kernel, 0
        self.low = self.high = self.total = torch.zeros(())  # (in,) each after the first call

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(S, in) -> (S, out)."""
        low, high = x.aminmax(dim=0)
        if self.count > 0:
            low, high = low.minimum(self.low), high.maximum(self.high)
        self.low, self.high = low, high
        self.total = self.total + x.sum(dim=0)
        self.count += len(x)
        return self.kernel(x, residual)

    @property
    def mean(self) -> Tensor:
        """(in,), the mean of each input channel."""
        return self.total / self.count


class Quantizer:
    """Floats (S, in) -> bytes, each channel centred and scaled.

    Args:
        weight: (out, in), the weight that the bytes will be multiplied with.
        observed: Mean and range of each input channel.
    """

    def __init__(self, weight: Tensor, observed: Observer) -> None:
        self.mean = observed.mean
        reach = (observed.high - self.mean).maximum(self.mean - observed.low)  # (in,)
        weight_reach = weight.abs().amax(dim=0)  # (in,)
        self.channel_scales = _away_from_zero(reach) ** SMOOTHING / _away_from_zero(
            weight_reach
        ) ** (1 - SMOOTHING)
        low = (observed.low - self.mean) / self.channel_scales
        high = (observed.high - self.mean) / self.channel_scales
        self.params = quant_params(float(low.min()), float(high.max()))
        self.factor = 1 / (self.channel_scales * self.params.scale)
        self.offset = self.params.zero_point - SIGN_OFFSET - self.mean * self.factor

    def fold(self, weights: LinearWeights) -> LinearWeights:
        """Return the layer that computes from the bytes what `weights` do from the floats."""
        weight, bias = weights
        return LinearWeights(weight * self.channel_scales, bias + weight @ self.mean)

    def __call__(self, x: Tensor) -> Tensor:
        """(S, in) floats -> (S, in) uint8."""
        return to_bytes(torch.addcmul(self.offset, x.float(), self.factor))


def _away_from_zero(x: Tensor) -> Tensor:
    """Raise very small values to a thousandth of the largest one."""
    return x.clamp(min=float(x.max()) * 1e-3 + 1e-12)


class Int8Linear:
    """A kernel that quantizes its input, multiplies bytes, and returns floats.

    Args:
        weights: The float32 layer.
        observed: Mean and range of its input.
        dtype: Of the result.
    """

    def __init__(
        self, weights: LinearWeights, observed: Observer, dtype: torch.dtype = torch.float32
    ) -> None:
        self.quantizer, self.dtype = Quantizer(weights.weight, observed), dtype
        weight, bias = self.quantizer.fold(weights)
        self.linear = cpu_quantized_linear(weight, bias, self.quantizer.params)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(S, in) -> (S, out)."""
        return self.linear(self.quantizer(x), residual, self.dtype)


class _ChannelGroup(NamedTuple):
    """Some of the F channels: H -> channels -> H, with their own quantization in between."""

    up: QuantizedLinear
    hidden_params: QuantParams
    down: QuantizedLinear


class Int8FeedForward:
    """H -> F -> H on bytes throughout: the sum of the narrow and of the wide F channels.

    Args:
        up: The float32 layer H -> F.
        down: The float32 layer F -> H.
        hidden_act: The activation between them.
        observed_input: Mean and range of the input of `up`.
        observed_hidden: Mean and range of the input of `down`.
    """

    def __init__(
        self,
        up: LinearWeights,
        down: LinearWeights,
        hidden_act: str,
        observed_input: Observer,
        observed_hidden: Observer,
    ) -> None:
        self.quantizer = Quantizer(up.weight, observed_input)
        up = self.quantizer.fold(up)
        by_range = observed_hidden.high.argsort()  # (F,), the widest channels last
        blocks = math.ceil(len(by_range) / WIDE_CHANNEL_RATIO / WIDE_CHANNEL_BLOCK)
        num_wide = blocks * WIDE_CHANNEL_BLOCK
        self.groups: list[_ChannelGroup] = []
        for channels in (by_range[:-num_wide], by_range[-num_wide:]):
            if len(channels) == 0:  # a small model has no more channels than the wide group takes
                continue
            hidden_params = quant_params(
                float(observed_hidden.low[channels].min()),
                float(observed_hidden.high[channels].max()),
            )
            down_bias = None if self.groups else down.bias  # added once, by the first group
            self.groups.append(
                _ChannelGroup(
                    cpu_quantized_linear(
                        up.weight[channels], up.bias[channels], self.quantizer.params, hidden_act
                    ),
                    hidden_params,
                    cpu_quantized_linear(down.weight[:, channels], down_bias, hidden_params),
                )
            )

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(S, H) -> (S, H)."""
        q = self.quantizer(x)
        result = residual
        for group in self.groups:
            hidden = group.up(q, output=group.hidden_params)
            result = group.down(hidden, result)  # every group adds to the result so far
        assert result is not None  # there is at least one group
        return result
