"""int8: the shared weight has one scale for each output channel; activations are unsigned bytes.

One rounding error is applied in every run of the shared layer, so three things keep it small. The mean of each input
channel is taken out beforehand and given back in the bias: what sticks out in an ALBERT is mostly constant. Input
channels are scaled to like ranges (SmoothQuant, Xiao et al. 2022). The feed-forward's widest channels are a product of
their own, with a scale of their own, so that the many narrow ones keep their resolution.

Means and ranges come from a run of the float32 encoder on random tokens, which show the channels' ranges as text does,
and are then fixed: what a text gives does not depend on its neighbours.
"""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.inference.kernels.linear import POST_OPS, Kernel, Linear
from albert_torch.model import activation

logger = logging.getLogger(__name__)

LEVELS, HALF = 255, 128
MARGIN = 1.1  # ranges are this much wider than what calibration saw
SMOOTHING = 0.75  # SmoothQuant's alpha: how much of a channel's range moves into the weight
WIDE = 24  # one in so many feed-forward channels counts as wide


class Recorder:
    """A kernel that notes the mean and the range of each input channel."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.count = kernel, 0
        self.low = self.high = self.total = torch.zeros(())  # (in,) each, from the first call on

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        low, high = x.aminmax(dim=0)
        self.low, self.high = (
            (low.minimum(self.low), high.maximum(self.high)) if self.count else (low, high)
        )
        self.total = self.total + x.sum(dim=0)
        self.count += len(x)
        return self.kernel(x, residual)

    @property
    def mean(self) -> Tensor:
        """Of each input channel."""
        return self.total / self.count


class Steps:
    """An interval of floats as bytes: value = scale * (byte - zero)."""

    def __init__(self, low: float, high: float) -> None:
        low, high = min(low, 0.0) * MARGIN, max(high, 0.0) * MARGIN
        self.scale = max(high - low, 1e-8) / LEVELS
        self.zero = round(-low / self.scale)


class Product:
    """q (S, in), bytes -> activation(scale (q - zero) W^T + b) + residual, in the dtype `out`, or as bytes again."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, steps: Steps, hidden_act: str | None = None
    ) -> None:
        self.steps, self.bias, self.hidden_act = steps, bias, hidden_act
        self.scales = weight.abs().amax(dim=1).clamp(min=1e-12) / 127  # (out,)
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._prepare((weight / self.scales[:, None]).round().to(torch.int8))

    def _prepare(self, weight: Tensor) -> None:
        self.weight = weight.float() * self.scales[:, None]

    def __call__(
        self, q: Tensor, residual: Tensor | None = None, out: Steps | torch.dtype = torch.float32
    ) -> Tensor:
        x = (q.float() - self.steps.zero) * self.steps.scale
        y = F.linear(x, self.weight, self.bias)
        if self.hidden_act is not None:
            y = activation("gelu" if "gelu" in self.hidden_act else self.hidden_act)(y)
        if residual is not None:
            y = y + residual
        return to_bytes(y / out.scale + (out.zero - HALF)) if isinstance(out, Steps) else y.to(out)


class FusedProduct(Product):
    """The same by oneDNN, on the processor's own byte products."""

    def _prepare(self, weight: Tensor) -> None:
        self.weight = torch.ops.onednn.qlinear_prepack(weight, None)
        # the erf form costs half as much as the tanh form, and they differ by less than a hundredth of a step
        self.post_op = (
            ("gelu", [], "none") if "gelu" in (self.hidden_act or "") else POST_OPS[self.hidden_act]
        )

    def __call__(
        self, q: Tensor, residual: Tensor | None = None, out: Steps | torch.dtype = torch.float32
    ) -> Tensor:
        ops = torch.ops.onednn.qlinear_pointwise
        given = (q, self.steps.scale, self.steps.zero, self.weight, self.scales, self.zeros)
        if residual is not None:
            y: Tensor = ops.binary(
                *given, residual, self.bias, 1.0, 0, out, 1.0, 0, "add", 1.0, "none", [], ""
            )
        elif isinstance(out, Steps):
            y = ops(*given, self.bias, out.scale, out.zero, torch.uint8, *self.post_op)
        else:
            y = ops(*given, self.bias, 1.0, 0, out, *self.post_op)
        return y


def to_bytes(x: Tensor) -> Tensor:
    """Floats from -128 to 127 to the nearest bytes, 0 to 255; `x` is overwritten."""
    signed = x.round_().clamp_(-HALF, HALF - 1).to(torch.int8)  # three times as fast as to uint8
    return signed.view(torch.uint8).bitwise_xor_(HALF)  # the top bit flipped: 128 more


@functools.cache
def fused_works() -> bool:
    """Whether oneDNN's int8 operators run here and give the right numbers: tried, not guessed."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, residual = (
        torch.randn(shape, generator=generator) for shape in ((16, 32), (16,), (5, 16))
    )
    q = torch.randint(0, LEVELS, (5, 32), generator=generator).to(torch.uint8)
    steps, out = Steps(-2.0, 3.0), Steps(-1.0, 20.0)
    try:
        for hidden_act in (None, "gelu_new", "silu", "relu", "tanh"):
            fused, plain = (
                kind(weight, bias, steps, hidden_act) for kind in (FusedProduct, Product)
            )
            torch.testing.assert_close(fused(q), plain(q), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(fused(q, out=out), plain(q, out=out), rtol=0, atol=1)
        fused, plain = (kind(weight, None, steps) for kind in (FusedProduct, Product))
        torch.testing.assert_close(fused(q, residual), plain(q, residual), rtol=1e-3, atol=1e-3)
    except (AttributeError, RuntimeError, NotImplementedError, AssertionError) as error:
        logger.info(
            "oneDNN's int8 operators do not run here (%s): plain torch instead, which is slow",
            error,
        )
        return False
    return True


class Quantizer:
    """Floats (S, in) -> bytes, each channel centred and scaled; what that does to them, `fold` undoes in the weight."""

    def __init__(self, weight: Tensor, seen: Recorder) -> None:
        self.mean = seen.mean
        reach = _not_zero((seen.high - self.mean).maximum(self.mean - seen.low))  # (in,)
        self.widths = reach**SMOOTHING / _not_zero(weight.abs().amax(dim=0)) ** (1 - SMOOTHING)
        low, high = ((edge - self.mean) / self.widths for edge in (seen.low, seen.high))
        self.steps = Steps(float(low.min()), float(high.max()))
        self.factor = 1 / (self.widths * self.steps.scale)
        self.offset = self.steps.zero - HALF - self.mean * self.factor

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The weight and bias that give, of these bytes, what the ones given would give of the floats."""
        return weight * self.widths, bias + weight @ self.mean

    def __call__(self, x: Tensor) -> Tensor:
        return to_bytes(torch.addcmul(self.offset, x.float(), self.factor))


def _not_zero(x: Tensor) -> Tensor:
    return x.clamp(min=float(x.max()) * 1e-3 + 1e-12)


def product(
    weight: Tensor, bias: Tensor | None, steps: Steps, hidden_act: str | None = None
) -> Product:
    """The fastest product of bytes for these weights."""
    return (FusedProduct if fused_works() else Product)(weight, bias, steps, hidden_act)


class Int8Linear:
    """A kernel: floats in, `dtype` out, the product in bytes."""

    def __init__(
        self, weight: Tensor, bias: Tensor, seen: Recorder, dtype: torch.dtype = torch.float32
    ) -> None:
        self.quantizer = Quantizer(weight, seen)
        self.product, self.dtype = (
            product(*self.quantizer.fold(weight, bias), self.quantizer.steps),
            dtype,
        )

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.product(self.quantizer(x), residual, self.dtype)


class Int8FeedForward:
    """H -> F -> H, a kernel with bytes all the way: the narrow channels of F by themselves, and the wide ones."""

    def __init__(
        self, ffn: Linear, ffn_output: Linear, hidden_act: str, inputs: Recorder, hidden: Recorder
    ) -> None:
        self.quantizer = Quantizer(ffn[0], inputs)
        weight, bias = self.quantizer.fold(*ffn)
        order = hidden.high.argsort()
        wide = -(-len(order) // WIDE // 64) * 64  # whole blocks of the product
        self.parts: list[tuple[Product, Steps, Product]] = []
        for channels in filter(len, (order[:-wide], order[-wide:])):
            steps = Steps(float(hidden.low[channels].min()), float(hidden.high[channels].max()))
            up = product(weight[channels], bias[channels], self.quantizer.steps, hidden_act)
            down = product(ffn_output[0][:, channels], None if self.parts else ffn_output[1], steps)
            self.parts.append((up, steps, down))

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        q = self.quantizer(x)
        for up, steps, down in self.parts:
            residual = down(up(q, out=steps), residual)  # each part adds to the one before
        assert residual is not None
        return residual
