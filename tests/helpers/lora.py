"""Random models with LoRA layers."""

from typing import Any

import torch

from albert_torch import AlbertConfig, AlbertForSequenceClassification
from albert_torch.finetuning import add_lora
from albert_torch.finetuning.lora_layers import LoRALinear
from helpers.reference import batch


def random_model(
    config: dict[str, Any], model_class: type[Any] = AlbertForSequenceClassification
) -> Any:
    """A model in float64 with all parameters random."""
    model = model_class(AlbertConfig(**config)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def add_random_lora(model: Any, per_depth: bool) -> Any:
    """Add deltas that are not zero; returns the model."""
    add_lora(model, rank=3, alpha=6.0, per_depth=per_depth)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoRALinear):
                module.lora_up.normal_(std=0.1)
    return model


def logits(model: Any, config: dict[str, Any]) -> Any:
    """The logits for a fixed batch."""
    torch.manual_seed(4)
    return model(**batch(config)).logits
