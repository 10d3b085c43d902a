"""The choice of a device backend."""

import pytest
import torch

from albert_torch.inference import backend as backends
from albert_torch.inference.kernels import linear as linear_kernels


def test_bfloat16_is_float32_where_it_is_slower(monkeypatch):
    """Catches: running the slower and less exact of two ways."""
    monkeypatch.setattr(linear_kernels, "bfloat16_is_fast", lambda: False)
    assert backends.select_backend(torch.bfloat16, "cpu").dtype == torch.float32
    monkeypatch.setattr(linear_kernels, "bfloat16_is_fast", lambda: True)
    assert backends.select_backend("bfloat16", "cpu").dtype == torch.bfloat16


def test_a_backend_fits_its_device():
    """Catches: kernels of another device; a dtype that the device does not have."""
    assert type(backends.select_backend("float32", "cpu")) is backends.CpuBackend
    assert type(backends.select_backend("int8", "cpu")) is backends.Int8CpuBackend
    gpu = backends.select_backend("float16", "cuda")
    assert type(gpu) is backends.GpuBackend
    assert (gpu.device.type, gpu.dtype) == ("cuda", torch.float16)
    assert gpu.schedule([1, 2, 2], 768) == (1, [[0, 1, 2]])
    assert gpu.schedule([], 768) == (1, [])
    assert gpu.padding_to_block(1001) == 0
    with pytest.raises(ValueError, match="int8 runs on CPUs only, not on cuda"):
        backends.select_backend("int8", "cuda")
    with pytest.raises(ValueError, match="float16 is for GPUs"):
        backends.select_backend("float16", "cpu")
