"""oneDNN's fused linear operators, called with named arguments.

PyTorch registers these operators for its own compiler, with long positional signatures and no
Python interface. Each function here wraps one of them, so that the rest of the package can say
which argument is which. They exist on CPU builds of torch that contain oneDNN; the callers check
that they run and return correct values before they use them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PostOp(NamedTuple):
    """What oneDNN applies to the result of a matrix product before it writes the result to memory.

    Attributes:
        name: oneDNN's name of the operation, "none" for no operation.
        scalars: Parameters of the operation; the ones used here have none.
        algorithm: The variant of the operation, such as "tanh" for GELU's tanh approximation.
    """

    name: str
    scalars: list[float]
    algorithm: str


NO_POST_OP = PostOp("none", [], "")
GELU_ERF = PostOp("gelu", [], "none")
GELU_TANH = PostOp("gelu", [], "tanh")
SWISH = PostOp("swish", [], "")

POST_OPS: dict[str | None, PostOp] = {
    None: NO_POST_OP,
    "gelu": GELU_ERF,
    "gelu_python": GELU_ERF,
    "gelu_new": GELU_TANH,
    "gelu_fast": GELU_TANH,
    "gelu_pytorch_tanh": GELU_TANH,
    "gelu_python_tanh": GELU_TANH,
    "silu": SWISH,
    "swish": SWISH,
    "relu": PostOp("relu", [], ""),
    "tanh": PostOp("tanh", [], ""),
}
"""The post-operation for each value of `hidden_act`; None stands for no activation."""


class QuantParams(NamedTuple):
    """How floats are stored as unsigned bytes: value = scale * (byte - zero_point)."""

    scale: float
    zero_point: int


def prepack_linear_weight(weight: Tensor) -> Tensor:
    """Return a float weight (out, in) in oneDNN's layout, for `fused_linear`."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return packed


def fused_linear(x: Tensor, weight: Tensor, bias: Tensor, post_op: PostOp) -> Tensor:
    """Compute post_op(x W^T + b) in float32 or bfloat16.  x (S, in) -> (S, out)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(
        x, weight, bias, post_op.name, post_op.scalars, post_op.algorithm
    )
    return y


def fused_linear_add(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """Compute x W^T + b + residual.  x (S, in), residual (S, out) -> (S, out)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, "add")
    return y


class QuantizedWeight(NamedTuple):
    """An int8 weight as the operators below take it.

    Attributes:
        packed: The weight in oneDNN's layout, from `prepack_quantized_weight`.
        scales: (out,) float32, one scale for each output channel.
        zero_points: (out,) int32; all zero, because weights are quantized symmetrically.
    """

    packed: Tensor
    scales: Tensor
    zero_points: Tensor


def prepack_quantized_weight(weight: Tensor) -> Tensor:
    """Return an int8 weight (out, in) in oneDNN's layout."""
    packed: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return packed


def fused_quantized_linear(
    q: Tensor,
    input_params: QuantParams,
    weight: QuantizedWeight,
    bias: Tensor | None,
    post_op: PostOp,
    output: QuantParams | torch.dtype,
) -> Tensor:
    """Compute post_op(dequantize(q) W^T + b).

    Args:
        q: (S, in) uint8.
        input_params: How `q` encodes its values.
        weight: The int8 weight.
        bias: (out,) float32, or None.
        post_op: Applied to the float result.
        output: A dtype returns floats of it; `QuantParams` return uint8 encoded in that way.

    Returns:
        (S, out)
    """
    if isinstance(output, QuantParams):
        output_scale, output_zero_point, output_dtype = *output, torch.uint8
    else:
        output_scale, output_zero_point, output_dtype = 1.0, 0, output
    y: Tensor = torch.ops.onednn.qlinear_pointwise(
        q,
        input_params.scale,
        input_params.zero_point,
        weight.packed,
        weight.scales,
        weight.zero_points,
        bias,
        output_scale,
        output_zero_point,
        output_dtype,
        post_op.name,
        post_op.scalars,
        post_op.algorithm,
    )
    return y


def fused_quantized_linear_add(
    q: Tensor,
    input_params: QuantParams,
    weight: QuantizedWeight,
    bias: Tensor | None,
    residual: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Compute dequantize(q) W^T + b + residual as floats of `dtype`.

    Args:
        q: (S, in) uint8.
        input_params: How `q` encodes its values.
        weight: The int8 weight.
        bias: (out,) float32, or None.
        residual: (S, out), floats.
        dtype: Of the result.

    Returns:
        (S, out)
    """
    output_scale, output_zero_point = 1.0, 0  # the result is not quantized
    residual_scale, residual_zero_point = 1.0, 0  # neither is the residual
    alpha = 1.0  # the residual is added once
    y: Tensor = torch.ops.onednn.qlinear_pointwise.binary(
        q,
        input_params.scale,
        input_params.zero_point,
        weight.packed,
        weight.scales,
        weight.zero_points,
        residual,
        bias,
        output_scale,
        output_zero_point,
        dtype,
        residual_scale,
        residual_zero_point,
        "add",
        alpha,
        NO_POST_OP.name,
        NO_POST_OP.scalars,
        NO_POST_OP.algorithm,
    )
    return y
