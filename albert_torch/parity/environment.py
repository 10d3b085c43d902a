"""The versions and the machine that a parity report is valid for."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import torch


def environment() -> dict[str, str | int]:
    """Return the versions and the machine that a report is valid for."""
    packages = ("albert-torch", "torch", "transformers", "tokenizers", "safetensors")
    return {
        **{package: metadata.version(package) for package in packages},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""
