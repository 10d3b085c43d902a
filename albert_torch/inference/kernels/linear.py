"""Matrix products whose weights are prepared once, by oneDNN or MKL where they run.

Everything here is a kernel in the sense of `Kernel`: a callable that takes x (S, in) and an
optional residual (S, out) and returns activation(x W^T + b) + residual, (S, out). Which operators a
machine has, and which are faster on it, is found out by running them once, not from version numbers
or processor names.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.activations import activation
from albert_torch.inference.kernels import onednn

logger = logging.getLogger(__name__)

OPERATOR_ERRORS = (AttributeError, RuntimeError, NotImplementedError, AssertionError)
"""What a trial raises if the operator is missing, does not run, or returns wrong values."""


class LinearWeights(NamedTuple):
    """The parameters of a linear layer: `weight` (out, in) and `bias` (out,)."""

    weight: Tensor
    bias: Tensor


class Kernel(Protocol):
    """A linear layer or feed-forward block: x (S, in), residual (S, out) or None -> (S, out)."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Apply the layer to `x` and add `residual` to the result."""
        ...


class PlainLinear:
    """The definition, in torch's own operators; it runs on any device and in any floating dtype."""

    def __init__(self, weights: LinearWeights, hidden_act: str | None = None) -> None:
        self.weight, self.bias = weights
        self.activation = None if hidden_act is None else activation(hidden_act)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(S, in) -> (S, out)."""
        y = F.linear(x, self.weight, self.bias)  # (S, out)
        if self.activation is not None:
            y = self.activation(y)
        return y if residual is None else y.add_(residual)


class OneDnnLinear:
    """oneDNN's product, with the activation or the residual as part of the same operator."""

    def __init__(self, weights: LinearWeights, hidden_act: str | None = None) -> None:
        self.weight = onednn.prepack_linear_weight(weights.weight)
        self.bias = weights.bias
        self.post_op = onednn.POST_OPS[hidden_act]

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(S, in) -> (S, out).  With a residual there must be no activation."""
        if residual is None:
            return onednn.fused_linear(x, self.weight, self.bias, self.post_op)
        return onednn.fused_linear_add(x, self.weight, self.bias, residual)


class MklLinear:
    """MKL's product on a packed weight, followed by a separate activation.

    It is faster than oneDNN's product without an activation, and for few rows even with one.
    """

    PACKING_ROWS = (
        512  # the packed form is optimised for about this many rows and works for any number
    )
    FEW_ROWS = 64  # up to this many rows the faster product outweighs the separate activation

    def __init__(self, weights: LinearWeights, hidden_act: str | None = None) -> None:
        weight = weights.weight
        self.packed_weight = torch.ops.mkl._mkl_reorder_linear_weight(weight, self.PACKING_ROWS)
        # The operator reads only the shape of the original weight, so a view without memory stands
        # in for it.
        self.weight_shape = weight.new_empty(()).expand_as(weight)
        self.bias = weights.bias
        self.activation: Callable[[Tensor], Tensor] | None = None
        if onednn.POST_OPS[hidden_act] == onednn.GELU_TANH:
            self.activation = _gelu_tanh_
        elif hidden_act is not None:
            self.activation = activation(hidden_act)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(S, in) -> (S, out)."""
        num_rows = len(x)  # with any other number here, the operator would use the original weight
        y: Tensor = torch.ops.mkl._mkl_linear(
            x, self.packed_weight, self.weight_shape, self.bias, num_rows
        )
        if self.activation is not None:
            y = self.activation(y)
        return y if residual is None else y.add_(residual)


GELU_SLOPE = 2 * math.sqrt(2 / math.pi)
_GELU_SLOPE = torch.tensor(GELU_SLOPE)


def _gelu_tanh_(x: Tensor) -> Tensor:
    """The tanh form of GELU, in place.  (1 + tanh z) / 2 is sigmoid(2 z), which is cheaper."""
    gate = torch.addcmul(_GELU_SLOPE, x, x, value=0.044715 * GELU_SLOPE).mul_(x).sigmoid_()
    return x.mul_(gate)


class FeedForward:
    """H -> F -> H as two kernels.

    Args:
        up: H -> F, including the activation.
        down: F -> H.
        up_for_few_rows: Used in place of `up` for at most `MklLinear.FEW_ROWS` rows; by default
            `up` itself.
    """

    def __init__(self, up: Kernel, down: Kernel, up_for_few_rows: Kernel | None = None) -> None:
        self.up, self.down = up, down
        self.up_for_few_rows = up if up_for_few_rows is None else up_for_few_rows

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(S, H) -> (S, H)."""
        up = self.up_for_few_rows if len(x) <= MklLinear.FEW_ROWS else self.up
        return self.down(up(x), residual)


def cpu_linear(weights: LinearWeights, hidden_act: str | None = None) -> Kernel:
    """Return the fastest kernel for a linear layer on this CPU, in the weights' dtype."""
    dtype = weights.weight.dtype
    if dtype not in (torch.float32, torch.bfloat16) or not onednn_linear_works(dtype):
        return PlainLinear(weights, hidden_act)
    if hidden_act is None and dtype == torch.float32 and mkl_is_fast():
        return MklLinear(weights)
    return OneDnnLinear(weights, hidden_act)


# ---- trials: what runs on this machine, and what is faster ----


@functools.cache
def onednn_linear_works(dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused operators run on this machine in `dtype` and return correct values."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, residual = (
        torch.randn(shape, generator=generator).to(dtype)
        for shape in ((5, 32), (16, 32), (16,), (5, 16))
    )
    weights = LinearWeights(weight, bias)
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    assert_close = partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
    try:
        for hidden_act in ("gelu", "gelu_new", "silu", "relu", "tanh"):
            fused, plain = OneDnnLinear(weights, hidden_act), PlainLinear(weights, hidden_act)
            assert_close(fused(x), plain(x))
        fused, plain = OneDnnLinear(weights), PlainLinear(weights)
        assert_close(fused(x, residual), plain(x, residual))
    except OPERATOR_ERRORS as error:
        logger.info(
            "oneDNN's fused operators do not run in %s here (%s): using torch's own operators",
            dtype,
            error,
        )
        return False
    return True


@functools.cache
def bfloat16_is_fast() -> bool:
    """Whether a bfloat16 product is faster than a float32 one on this machine.

    On a CPU with bfloat16 dot products but no matrix unit it can take twice as long; float32 is
    then better in every respect.
    """
    x, weight, bias = torch.zeros(256, 768), torch.zeros(768, 768), torch.zeros(768)
    calls = []
    for dtype in (torch.float32, torch.bfloat16):
        kernel = cpu_linear(LinearWeights(weight.to(dtype), bias.to(dtype)))
        calls.append(partial(kernel, x.to(dtype)))
    float32_call, bfloat16_call = calls
    return _is_faster(bfloat16_call, float32_call)


@functools.cache
def mkl_is_fast() -> bool:
    """Whether MKL's packed product runs here, is correct, and is not slower than oneDNN's.

    It can be slower on processors that are not Intel's.
    """
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator) for shape in ((1024, 768), (768, 768), (768,))
    )
    weights = LinearWeights(weight, bias)
    try:
        packed, fused = MklLinear(weights), OneDnnLinear(weights)
        for num_rows in (1, 5, 64, 1024):
            rows = x[:num_rows]
            torch.testing.assert_close(packed(rows, rows), fused(rows, rows), rtol=1e-4, atol=1e-3)
    except OPERATOR_ERRORS as error:
        logger.info("MKL's packed product does not run here (%s): using oneDNN's", error)
        return False
    return not _is_faster(partial(fused, x[:64]), partial(packed, x[:64]), margin=1.1)


def _is_faster(
    candidate: Callable[[], Tensor], other: Callable[[], Tensor], margin: float = 1.0
) -> bool:
    """Whether the best time of `candidate` beats that of `other` by the factor `margin`."""
    best = {candidate: float("inf"), other: float("inf")}
    for _ in range(25):  # many, because other processes may be using the machine
        for call in best:
            start = time.perf_counter()
            call()
            best[call] = min(best[call], time.perf_counter() - start)
    return best[candidate] * margin < best[other]
