"""FinetuningConfig -> model and tokenizer, and a trained model -> files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.lora import load_adapter, save_adapter
from albert_torch.finetuning.lora_layers import add_lora
from albert_torch.finetuning.tasks.base import Task
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.training.model import build

# An ALBERT-base, where the recipe's `shape` says nothing else.


def build_for(task: Task, lora: bool = True) -> AlbertPreTrainedModel:
    """The task's model, with low-rank deltas where its recipe asks for them."""
    recipe, changes = task.config, task.config_overrides()
    if recipe.classifier_dropout is not None:
        changes = {**changes, "classifier_dropout_prob": recipe.classifier_dropout}
    model = build(
        recipe, task.head_class, task.tokenizer, ignore_mismatched_sizes=recipe.new_head, **changes
    )
    if lora and recipe.lora_rank:
        add_lora(model, recipe.lora_rank, recipe.lora_alpha, per_depth=recipe.lora_per_depth)
    return model


def load_model(recipe: FinetuningConfig, task: Task, folder: Path) -> AlbertPreTrainedModel:
    """What `save_model` wrote."""
    if recipe.lora_rank:
        model = build_for(task, lora=False)
        load_adapter(model, folder)
    else:
        model = task.head_class.from_pretrained(folder)
    model.base_model.unpad = recipe.unpad
    return model


def save_model(
    model: AlbertPreTrainedModel, weights: Mapping[str, Tensor], task: Task, folder: Path
) -> None:
    """Write the model, or only its adapter, and the tokenizer."""
    if task.config.lora_rank:
        save_adapter(model, folder, weights)
    else:
        model.save_pretrained(folder, state_dict=weights)
    if not (folder / "tokenizer.json").exists():
        task.tokenizer.save_pretrained(folder)
