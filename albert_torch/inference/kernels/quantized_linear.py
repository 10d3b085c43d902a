"""Linear layers on unsigned bytes: the definition, and oneDNN's operators.

Weights are stored as signed bytes with one scale for each output channel, activations as unsigned
bytes with one scale and one zero point for the whole tensor.
"""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.activations import activation
from albert_torch.inference.kernels import onednn
from albert_torch.inference.kernels.linear import OPERATOR_ERRORS
from albert_torch.inference.kernels.onednn import QuantParams

logger = logging.getLogger(__name__)

BYTE_MAX = 255
SIGN_OFFSET = 128  # the difference between an unsigned and a signed byte
WEIGHT_MAX = 127  # weights are quantized symmetrically to -127 ... 127
RANGE_MARGIN = 1.1  # quantized ranges are wider than the observed ones by this factor


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
            return onednn.fused_quantized_linear(
                q, self.input_params, weight, bias, self.post_op, output
            )
        assert isinstance(output, torch.dtype)
        return onednn.fused_quantized_linear_add(
            q, self.input_params, weight, bias, residual, output
        )


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


def cpu_quantized_linear(
    weight: Tensor, bias: Tensor | None, input_params: QuantParams, hidden_act: str | None = None
) -> QuantizedLinear:
    """Return the fastest int8 linear layer on this machine; see `QuantizedLinear`."""
    layer_class = OneDnnQuantizedLinear if onednn_int8_works() else QuantizedLinear
    return layer_class(weight, bias, input_params, hidden_act)
