"""Device backends: the kernels of a device, and how the fast path schedules work on it.

A new kernel for a device is a subclass of `CpuBackend` or `GpuBackend` that overrides one method,
given to `optimize(model, backend=...)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from albert_torch.inference import scheduling
from albert_torch.inference.kernels import int8
from albert_torch.inference.kernels import linear as linear_kernels
from albert_torch.inference.kernels.attention import CpuAttention, PackedAttention
from albert_torch.inference.kernels.linear import (
    FeedForward,
    Kernel,
    LinearWeights,
    MklLinear,
    PlainLinear,
)
from albert_torch.inference.parallel import available_worker_counts
from albert_torch.inference.scheduling import Schedule

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int8)

AttentionKernel = Callable[[Tensor], Tensor]
"""Queries, keys and values of packed tokens, side by side -> their context.  (S, 3H) -> (S, H)."""


@dataclass
class LayerWeights:
    """The parameters of one shared layer; queries, keys and values are one matrix product."""

    qkv: LinearWeights  # H -> 3H
    dense: LinearWeights  # H -> H
    ffn: LinearWeights  # H -> F
    ffn_output: LinearWeights  # F -> H


@dataclass
class LayerKernels:
    """The kernels that compute one shared layer."""

    qkv: Kernel  # H -> 3H
    dense: Kernel  # H -> H
    feed_forward: Kernel  # H -> F -> H


@dataclass
class LayerObservers:
    """Mean and range of what entered each matrix product of a layer during calibration."""

    qkv: int8.Observer
    dense: int8.Observer
    ffn: int8.Observer
    ffn_output: int8.Observer


class DeviceBackend(ABC):
    """The kernels of a device, and how the fast path schedules work on it.

    Attributes:
        device: Where the model runs.
        dtype: The dtype of the weights and of the values between the layers.
        needs_calibration: Whether the layers' final kernels come from `quantized_kernels`, after a
            run that records ranges.
    """

    needs_calibration = False

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype

    @abstractmethod
    def linear(self, weights: LinearWeights, hidden_act: str | None = None) -> Kernel:
        """Return the kernel of a linear layer with an optional activation.

        Args:
            weights: In this backend's dtype, on its device.
            hidden_act: Name of the activation, as in a config; None for no activation.
        """

    @abstractmethod
    def attention(self, row_lengths: Sequence[int], num_heads: int) -> AttentionKernel:
        """Return the attention of packed rows with these lengths.

        Every run of a layer on these rows calls it with the (S, 3H) output of its `qkv` kernel.
        """

    def feed_forward(self, up: LinearWeights, down: LinearWeights, hidden_act: str) -> Kernel:
        """Return the kernel of a feed-forward block.

        Args:
            up: H -> F, followed by the activation.
            down: F -> H.
            hidden_act: Name of the activation.
        """
        return FeedForward(self.linear(up, hidden_act), self.linear(down))

    def layer_kernels(self, weights: LayerWeights, hidden_act: str) -> LayerKernels:
        """Return the kernels of a shared layer."""
        return LayerKernels(
            qkv=self.linear(weights.qkv),
            dense=self.linear(weights.dense),
            feed_forward=self.feed_forward(weights.ffn, weights.ffn_output, hidden_act),
        )

    def quantized_kernels(
        self, weights: LayerWeights, hidden_act: str, observers: LayerObservers
    ) -> LayerKernels:
        """Return the final kernels of a shared layer, given what calibration observed.

        Only called if `needs_calibration`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not need calibration")

    def schedule(
        self, row_lengths: Sequence[int], hidden_size: int, max_workers: int | None = None
    ) -> Schedule:
        """Decide which rows are computed together, and in how many threads.

        By default all rows are computed at once, by one worker.

        Args:
            row_lengths: Number of tokens of each row, ascending.
            hidden_size: H.
            max_workers: Largest number of workers; None means no limit.
        """
        return Schedule(1, [list(range(len(row_lengths)))] if row_lengths else [])

    def padding_to_block(self, size: int) -> int:
        """Return how many rows to add to matrices of `size` rows; by default none.

        A device on which every new matrix size is expensive rounds sizes up here.
        """
        return 0


class CpuBackend(DeviceBackend):
    """A CPU in float32 or bfloat16.

    It uses the matrix products of oneDNN and MKL, on chunks that fit into the cache, which worker
    threads compute in parallel.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(torch.device("cpu"), dtype)

    def linear(self, weights: LinearWeights, hidden_act: str | None = None) -> Kernel:
        """Return the fastest linear kernel on this machine."""
        return linear_kernels.cpu_linear(weights, hidden_act)

    def feed_forward(self, up: LinearWeights, down: LinearWeights, hidden_act: str) -> Kernel:
        """Return the feed-forward block of two linear kernels, with MKL's product for few rows."""
        up_kernel, down_kernel = self.linear(up, hidden_act), self.linear(down)
        if isinstance(down_kernel, MklLinear):
            up_for_few_rows = MklLinear(up, hidden_act)
            return FeedForward(up_kernel, down_kernel, up_for_few_rows)
        return FeedForward(up_kernel, down_kernel)

    def attention(self, row_lengths: Sequence[int], num_heads: int) -> AttentionKernel:
        """Return attention by fused kernels in float32 and by plain products in bfloat16."""
        return CpuAttention(row_lengths, num_heads)

    def schedule(
        self, row_lengths: Sequence[int], hidden_size: int, max_workers: int | None = None
    ) -> Schedule:
        """Divide the rows into chunks that fit into the cache; see `scheduling.schedule`."""
        worker_counts = [
            count
            for count in available_worker_counts()
            if max_workers is None or count <= max_workers
        ]
        return scheduling.schedule(row_lengths, hidden_size, worker_counts)

    def padding_to_block(self, size: int) -> int:
        """Round the number of rows up by at most 1/32; see `scheduling.padding_to_block`."""
        return scheduling.padding_to_block(size)


class Int8CpuBackend(CpuBackend):
    """A CPU whose shared layers multiply bytes; everything between the products is float32."""

    needs_calibration = True

    def quantized_kernels(
        self, weights: LayerWeights, hidden_act: str, observers: LayerObservers
    ) -> LayerKernels:
        """Return int8 kernels; attention computes in bfloat16 where that is fast."""
        attention_dtype = torch.float32
        if linear_kernels.bfloat16_is_fast():
            attention_dtype = torch.bfloat16
        return LayerKernels(
            qkv=int8.Int8Linear(weights.qkv, observers.qkv, attention_dtype),
            dense=int8.Int8Linear(weights.dense, observers.dense),
            feed_forward=int8.Int8FeedForward(
                weights.ffn, weights.ffn_output, hidden_act, observers.ffn, observers.ffn_output
            ),
        )


class GpuBackend(DeviceBackend):
    """A GPU or another accelerator: torch's own products, and variable-length attention."""

    def linear(self, weights: LinearWeights, hidden_act: str | None = None) -> Kernel:
        """Return torch's own linear layer."""
        return PlainLinear(weights, hidden_act)

    def attention(self, row_lengths: Sequence[int], num_heads: int) -> AttentionKernel:
        """Return the variable-length attention kernel, or one for rows of equal length."""
        return PackedAttention(row_lengths, num_heads)


def resolve_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Return a dtype of the fast path, given as a `torch.dtype` or by a name such as "int8".

    Raises:
        ValueError: For any other dtype or name.
    """
    resolved = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if resolved not in DTYPES:
        names = ", ".join(str(known).removeprefix("torch.") for known in DTYPES)
        given = str(dtype).removeprefix("torch.")
        raise ValueError(f"dtype={given} is not one of {names}: pass one of these")
    return resolved


def select_backend(dtype: torch.dtype | str, device: torch.device | str) -> DeviceBackend:
    """Return the backend for a device and dtype.

    Args:
        dtype: float32 or bfloat16 for any device, float16 for GPUs, int8 for CPUs. On a CPU whose
            bfloat16 products are slower than its float32 ones, bfloat16 selects float32.
        device: Where the model is to run.

    Raises:
        ValueError: For a dtype that is unknown or not available on the device.
    """
    dtype, device = resolve_dtype(dtype), torch.device(device)
    if device.type != "cpu":
        if dtype == torch.int8:
            raise ValueError(
                f"int8 runs on CPUs only, not on {device.type}: use bfloat16 or float16"
            )
        return GpuBackend(device, dtype)
    if dtype == torch.float16:
        raise ValueError("float16 is for GPUs, not for cpu: use bfloat16, float32 or int8")
    if dtype == torch.int8:
        return Int8CpuBackend()
    if dtype == torch.bfloat16 and not linear_kernels.bfloat16_is_fast():
        return CpuBackend(torch.float32)
    return CpuBackend(dtype)
