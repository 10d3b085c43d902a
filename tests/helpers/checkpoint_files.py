"""A small checkpoint for the tests of loading, and ways to rewrite its files."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.constants import SHARED

CONFIG = {**SHARED, "num_hidden_layers": 2}


def weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's safetensors file."""
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, state: dict[str, Tensor]) -> None:
    """Replace the tensors of a folder."""
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "model.safetensors")


def as_pickle(folder: Path, **options: Any) -> None:
    """Replace the safetensors file of a folder by a pickle of the same tensors."""
    torch.save(weights(folder), folder / "pytorch_model.bin", **options)
    (folder / "model.safetensors").unlink()


def randomised(model: Any) -> Any:
    """Give every parameter of a model random values, biases and LayerNorms too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model
