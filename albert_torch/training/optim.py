"""The optimizers of both trainers, with the parameter groups of Google's code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer

from albert_torch.training.config import TrainingConfig
from albert_torch.training.lamb import Lamb


def build_adamw(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW for the trainable parameters of a model; biases and LayerNorms do not decay."""
    matrices, vectors = _trainable_parameters(model)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    return torch.optim.AdamW(groups, config.learning_rate, betas, config.adam_eps, fused=True)


def build_lamb(model: nn.Module, config: TrainingConfig) -> Lamb:
    """Return LAMB for the trainable parameters of a model.

    Biases and LayerNorms neither decay nor have their updates scaled, as in Google's code.
    """
    matrices, vectors = _trainable_parameters(model)
    groups = [
        {"params": matrices},
        {"params": vectors, "weight_decay": 0.0, "adapt": False},
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    return Lamb(groups, config.learning_rate, betas, config.adam_eps, config.weight_decay)


def _trainable_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable weight matrices, and the trainable vectors: biases and LayerNorm weights."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.dim() > 1]
    vectors = [parameter for parameter in trainable if parameter.dim() <= 1]
    return matrices, vectors


OPTIMIZERS: dict[str, Callable[[nn.Module, TrainingConfig], Optimizer]] = {
    "lamb": build_lamb,
    "adamw": build_adamw,
}
