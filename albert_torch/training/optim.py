"""AdamW and its learning rate, as the paper's code has them for fine-tuning."""

from __future__ import annotations

import torch
from torch import nn

from albert_torch.training.config import TrainingConfig


def adamw(model: nn.Module, recipe: TrainingConfig) -> torch.optim.AdamW:
    """AdamW on what is trained; biases and LayerNorms are not decayed, as in the paper's code."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.dim() > 1]
    spared = [p for name, p in trained if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    betas = (recipe.adam_beta1, recipe.adam_beta2)
    return torch.optim.AdamW(groups, recipe.learning_rate, betas, recipe.adam_eps, fused=True)
