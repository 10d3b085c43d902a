"""Matrix products with weights prepared once: oneDNN's fused operators where this machine runs them, else plain torch.

A kernel is called with x (S, in) and perhaps a residual (S, out); it gives activation(x W^T + b) + residual, (S, out).
"""

from __future__ import annotations

import functools
import logging
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
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"), ("gelu", [], "tanh")),
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
        self.activation: Callable[[Tensor], Tensor] | None = None if hidden_act is None else activation(hidden_act)

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
            y = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")
        return y


@functools.cache
def fused_works(dtype: torch.dtype) -> bool:
    """Whether oneDNN's fused operators run here in `dtype` and give the right numbers: tried, not guessed."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, residual = (
        torch.randn(shape, generator=generator).to(dtype) for shape in ((5, 32), (16, 32), (16,), (5, 16))
    )
    close = partial(torch.testing.assert_close, rtol=(bound := 1e-4 if dtype == torch.float32 else 0.02), atol=bound)
    try:
        for hidden_act in ("gelu", "gelu_new", "silu", "relu", "tanh"):
            close(FusedLinear(weight, bias, hidden_act)(x), PlainLinear(weight, bias, hidden_act)(x))
        close(FusedLinear(weight, bias)(x, residual), PlainLinear(weight, bias)(x, residual))
    except (AttributeError, RuntimeError, NotImplementedError, AssertionError) as error:
        logger.info("oneDNN's fused operators do not run in %s here (%s): plain torch instead", dtype, error)
        return False
    return True


@functools.cache
def bf16_pays() -> bool:
    """Whether a bfloat16 product is faster than a float32 one here: on a CPU with bfloat16 dot products but no matrix
    unit it may be half as fast, and float32 then serves better in every respect."""
    x, weight, bias = torch.zeros(256, 768), torch.zeros(768, 768), torch.zeros(768)
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        kernel, given = linear(weight.to(dtype), bias.to(dtype)), x.to(dtype)
        kernel(given)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            kernel(given)
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return seconds[torch.bfloat16] < seconds[torch.float32]


def linear(weight: Tensor, bias: Tensor, hidden_act: str | None = None) -> Kernel:
    """The fastest kernel for these weights, in their dtype, on their device."""
    if weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16) and fused_works(weight.dtype):
        return FusedLinear(weight, bias, hidden_act)
    return PlainLinear(weight, bias, hidden_act)


class FeedForward:
    """H -> F -> H, a kernel made of two."""

    def __init__(self, ffn: Kernel, ffn_output: Kernel) -> None:
        self.ffn, self.ffn_output = ffn, ffn_output

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.ffn_output(self.ffn(x), residual)
