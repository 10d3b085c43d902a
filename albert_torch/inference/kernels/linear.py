"""Matrix products with weights prepared once: oneDNN's fused operators and MKL's packed product where this machine runs
them, else plain torch.

A kernel is called with x (S, in) and perhaps a residual (S, out); it gives activation(x W^T + b) + residual, (S, out).
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from albert_torch.model import activation

logger = logging.getLogger(__name__)

# hidden_act -> oneDNN's post-operation: its name, scalars, algorithm
POST_OPS: dict[str | None, tuple[str, list[float], str]] = {
    None: ("none", [], ""),
    **dict.fromkeys(("gelu", "gelu_python"), ("gelu", [], "none")),
    **dict.fromkeys(
        ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"), ("gelu", [], "tanh")
    ),
    **dict.fromkeys(("silu", "swish"), ("swish", [], "")),
    "relu": ("relu", [], ""),
    "tanh": ("tanh", [], ""),
}


Linear = tuple[Tensor, Tensor]  # weight (out, in), bias (out,)


class Kernel(Protocol):
    """x (S, in) -> activation(x W^T + b) + residual, (S, out)."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor: ...


class PlainLinear:
    """The definition, in torch's own operators: any device, any floating dtype."""

    def __init__(self, weight: Tensor, bias: Tensor, hidden_act: str | None = None) -> None:
        self.weight, self.bias = weight, bias
        self.activation: Callable[[Tensor], Tensor] | None = (
            None if hidden_act is None else activation(hidden_act)
        )

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = torch.nn.functional.linear(x, self.weight, self.bias)  # (S, out)
        if self.activation is not None:
            y = self.activation(y)
        return y if residual is None else y.add_(residual)


class FusedLinear:
    """The same by oneDNN: weights in its blocked layout, activation or residual added inside the product."""

    def __init__(self, weight: Tensor, bias: Tensor, hidden_act: str | None = None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias, self.post_op = bias, POST_OPS[hidden_act]

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if residual is None:
            y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *self.post_op)
        else:
            y = torch.ops.mkldnn._linear_pointwise.binary(
                x, residual, self.weight, self.bias, "add"
            )
        return y


class MklLinear:
    """The same by MKL, the activation after the product: faster without one, and for few rows even with it."""

    ROWS = 512  # the packed form is made for about so many, and serves any number
    FEW = 64  # rows; up to here the product gains more than a separate activation costs

    def __init__(self, weight: Tensor, bias: Tensor, hidden_act: str | None = None) -> None:
        self.weight = torch.ops.mkl._mkl_reorder_linear_weight(weight, self.ROWS)
        self.shape = weight.new_empty(()).expand_as(
            weight
        )  # all that the operator reads of the original
        self.bias = bias
        self.activation: Callable[[Tensor], Tensor] | None = (
            None if hidden_act is None else activation(hidden_act)
        )
        if POST_OPS[hidden_act][2] == "tanh":
            self.activation = _gelu_tanh

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        # told another number of rows than it gets, the operator would fall back to the original weight
        y: Tensor = torch.ops.mkl._mkl_linear(x, self.weight, self.shape, self.bias, len(x))
        if self.activation is not None:
            y = self.activation(y)
        return y if residual is None else y.add_(residual)


SLOPE = 2 * math.sqrt(2 / math.pi)
_SLOPE = torch.tensor(SLOPE)


def _gelu_tanh(x: Tensor) -> Tensor:
    """GELU's tanh form, (1 + tanh z) / 2 being sigmoid(2 z), which is cheaper; `x` is overwritten."""
    gate = torch.addcmul(_SLOPE, x, x, value=0.044715 * SLOPE).mul_(x).sigmoid_()
    return x.mul_(gate)


@functools.cache
def fused_works(dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused operators run here in `dtype` and give the right numbers: tried, not guessed."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, residual = (
        torch.randn(shape, generator=generator).to(dtype)
        for shape in ((5, 32), (16, 32), (16,), (5, 16))
    )
    close = partial(
        torch.testing.assert_close,
        rtol=(bound := 1e-4 if dtype == torch.float32 else 0.02),
        atol=bound,
    )
    try:
        for hidden_act in ("gelu", "gelu_new", "silu", "relu", "tanh"):
            close(
                FusedLinear(weight, bias, hidden_act)(x), PlainLinear(weight, bias, hidden_act)(x)
            )
        close(FusedLinear(weight, bias)(x, residual), PlainLinear(weight, bias)(x, residual))
    except (AttributeError, RuntimeError, NotImplementedError, AssertionError) as error:
        logger.info(
            "oneDNN's fused operators do not run in %s here (%s): plain torch instead", dtype, error
        )
        return False
    return True


@functools.cache
def bf16_pays() -> bool:
    """Whether a bfloat16 product is faster than a float32 one here: on a CPU with bfloat16 dot products but no matrix
    unit it may be half as fast, and float32 then serves better in every respect.
    """
    x, weight, bias = torch.zeros(256, 768), torch.zeros(768, 768), torch.zeros(768)
    fine, coarse = (
        partial(linear(weight.to(kind), bias.to(kind)), x.to(kind))
        for kind in (torch.float32, torch.bfloat16)
    )
    return _faster(coarse, fine)


@functools.cache
def mkl_pays() -> bool:
    """Whether MKL's packed product runs here, gives the right numbers for any number of rows, and is not the slower one
    (as it may be on other makers' processors).
    """
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator) for shape in ((1024, 768), (768, 768), (768,))
    )
    try:
        packed, fused = MklLinear(weight, bias), FusedLinear(weight, bias)
        for rows in (1, 5, 64, 1024):
            torch.testing.assert_close(
                packed(x[:rows], x[:rows]), fused(x[:rows], x[:rows]), rtol=1e-4, atol=1e-3
            )
    except (AttributeError, RuntimeError, NotImplementedError, AssertionError) as error:
        logger.info("MKL's packed product does not run here (%s): oneDNN's instead", error)
        return False
    return not _faster(partial(fused, x[:64]), partial(packed, x[:64]), margin=1.1)


def _faster(one: Callable[[], Tensor], other: Callable[[], Tensor], margin: float = 1.0) -> bool:
    """Whether the best of some calls of the one is faster than the best of the other, by a factor `margin` at least."""
    best = {one: float("inf"), other: float("inf")}
    for _ in range(25):  # many: one may share the machine
        for call in best:
            start = time.perf_counter()
            call()
            best[call] = min(best[call], time.perf_counter() - start)
    return best[one] * margin < best[other]


def linear(weight: Tensor, bias: Tensor, hidden_act: str | None = None) -> Kernel:
    """The fastest kernel for these weights, in their dtype, on their device."""
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return PlainLinear(weight, bias, hidden_act)
    if not fused_works(weight.dtype):
        return PlainLinear(weight, bias, hidden_act)
    if hidden_act is None and weight.dtype == torch.float32 and mkl_pays():
        return MklLinear(weight, bias)
    return FusedLinear(weight, bias, hidden_act)


class FeedForward:
    """H -> F -> H, a kernel made of two; `few` stands in for the first one when there are few rows."""

    def __init__(self, ffn: Linear, ffn_output: Linear, hidden_act: str) -> None:
        self.ffn, self.ffn_output = linear(*ffn, hidden_act), linear(*ffn_output)
        self.few = (
            MklLinear(*ffn, hidden_act) if isinstance(self.ffn_output, MklLinear) else self.ffn
        )

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        ffn = self.few if len(x) <= MklLinear.FEW else self.ffn
        return self.ffn_output(ffn(x), residual)
