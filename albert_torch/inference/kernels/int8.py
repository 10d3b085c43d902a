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

import functools
import logging
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.activations import activation
from albert_torch.inference.kernels import onednn
from albert_torch.inference.kernels.linear import OPERATOR_ERRORS, Kernel, LinearWeights
from albert_torch.inference.kernels.onednn import QuantParams

logger = logging.getLogger(__name__)

BYTE_MAX = 255
SIGN_OFFSET = 128  # the difference between an unsigned and a signed byte
WEIGHT_MAX = 127  # weights are quantized symmetrically to -127 ... 127
RANGE_MARGIN = 1.1  # quantized ranges are wider than the observed ones by this factor
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


def quant_params(low: float, high: float) -> QuantParams:
    """Return the parameters that store values from `low` to `high`, and zero, as unsigned bytes."""
    low, high = min(low, 0.0) * RANGE_MARGIN, max(high, 0.0) * RANGE_MARGIN
    scale = max(high - low, 1e-8) / BYTE_MAX
    return QuantParams(scale, zero_point=round(-low / scale))


class QuantizedLinear:
    """A linear layer on bytes, computed with floats: slow, but it defines the result.

    q (S, in) uint8 -> activation(dequantize(q) W^T + b) + residual, as floats or as bytes again.

    Args:
        weight: (out, in) float32; quantized here.
        bias: (out,) float32, or None.
        input_params: How the input encodes its values.
        hidden_act: The activation. Both forms of GELU use the erf form: it costs half as much in
            oneDNN, and the two differ by less than a hundredth of a quantization step.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        input_params: QuantParams,
        hidden_act: str | None = None,
    ) -> None:
        self.bias, self.input_params = bias, input_params
        if hidden_act is not None and "gelu" in hidden_act:
            hidden_act = "gelu"
        self.hidden_act = hidden_act
        scales = weight.abs().amax(dim=1).clamp(min=1e-12) / WEIGHT_MAX  # (out,)
        self._prepare((weight / scales[:, None]).round().to(torch.int8), scales)

    def _prepare(self, weight: Tensor, scales: Tensor) -> None:
        """Store an int8 weight (out, in) and its scales (out,) as `__call__` needs them."""
        self.weight = weight.float() * scales[:, None]

    def __call__(
        self,
        q: Tensor,
        residual: Tensor | None = None,
        output: QuantParams | torch.dtype = torch.float32,
    ) -> Tensor:
        """Apply the layer.

        Args:
            q: (S, in) uint8.
            residual: (S, out) floats, or None.
            output: The dtype of the result, or the parameters of a quantized result (which takes no
                residual).

        Returns:
            (S, out)
        """
        x = (q.float() - self.input_params.zero_point) * self.input_params.scale
        y = F.linear(x, self.weight, self.bias)
        if self.hidden_act is not None:
            y = activation(self.hidden_act)(y)
        if residual is not None:
            y = y + residual
        if isinstance(output, QuantParams):
            return to_bytes(y / output.scale + (output.zero_point - SIGN_OFFSET))
        return y.to(output)


class OneDnnQuantizedLinear(QuantizedLinear):
    """The same layer by oneDNN, which uses the processor's byte products."""

    def _prepare(self, weight: Tensor, scales: Tensor) -> None:
        self.quantized_weight = onednn.QuantizedWeight(
            packed=onednn.prepack_quantized_weight(weight),
            scales=scales,
            zero_points=torch.zeros(len(weight), dtype=torch.int32),
        )
        self.post_op = onednn.POST_OPS[self.hidden_act]

    def __call__(
        self,
        q: Tensor,
        residual: Tensor | None = None,
        output: QuantParams | torch.dtype = torch.float32,
    ) -> Tensor:
        """Apply the layer; with a residual, the result is not quantized and has no activation."""
        weight, bias = self.quantized_weight, self.bias
        if residual is None:
            return onednn.quantized_linear(q, self.input_params, weight, bias, self.post_op, output)
        assert isinstance(output, torch.dtype)
        return onednn.quantized_linear_add(q, self.input_params, weight, bias, residual, output)


def to_bytes(x: Tensor) -> Tensor:
    """Round floats from -128 to 127 and return them, plus 128, as unsigned bytes.

    `x` is overwritten. The conversion to int8 is three times as fast as the one to uint8. Flipping
    the top bit of a signed byte and reading it as an unsigned one adds 128: -128 (1000 0000)
    becomes 0 (0000 0000), and 127 (0111 1111) becomes 255.
    """
    signed = x.round_().clamp_(-SIGN_OFFSET, SIGN_OFFSET - 1).to(torch.int8)
    top_bit = SIGN_OFFSET
    return signed.view(torch.uint8).bitwise_xor_(top_bit)


@functools.cache
def onednn_int8_works() -> bool:
    """Whether oneDNN's int8 operators run on this machine and return correct values."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, residual = (
        torch.randn(shape, generator=generator) for shape in ((16, 32), (16,), (5, 16))
    )
    q = torch.randint(0, BYTE_MAX, (5, 32), generator=generator).to(torch.uint8)
    params, output = quant_params(-2.0, 3.0), quant_params(-1.0, 20.0)
    try:
        for hidden_act in (None, "gelu_new", "silu", "relu", "tanh"):
            fused = OneDnnQuantizedLinear(weight, bias, params, hidden_act)
            plain = QuantizedLinear(weight, bias, params, hidden_act)
            torch.testing.assert_close(fused(q), plain(q), rtol=1e-3, atol=1e-3)
            fused_bytes, plain_bytes = fused(q, output=output), plain(q, output=output)
            torch.testing.assert_close(fused_bytes, plain_bytes, rtol=0, atol=1)
        fused = OneDnnQuantizedLinear(weight, None, params)
        plain = QuantizedLinear(weight, None, params)
        torch.testing.assert_close(fused(q, residual), plain(q, residual), rtol=1e-3, atol=1e-3)
    except OPERATOR_ERRORS as error:
        logger.info(
            "oneDNN's int8 operators do not run here (%s): using torch's own, which is slow",
            error,
        )
        return False
    return True


def quantized_linear(
    weight: Tensor, bias: Tensor | None, input_params: QuantParams, hidden_act: str | None = None
) -> QuantizedLinear:
    """Return the fastest int8 linear layer on this machine; see `QuantizedLinear`."""
    layer_class = OneDnnQuantizedLinear if onednn_int8_works() else QuantizedLinear
    return layer_class(weight, bias, input_params, hidden_act)


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
        self.linear = quantized_linear(weight, bias, self.quantizer.params)

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
                    quantized_linear(
                        up.weight[channels], up.bias[channels], self.quantizer.params, hidden_act
                    ),
                    hidden_params,
                    quantized_linear(down.weight[:, channels], down_bias, hidden_params),
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
