"""The model of a fine-tuning run: how it is built, and how the best one is saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.lora import load_adapter, save_adapter
from albert_torch.finetuning.lora_layers import add_lora, has_lora_layers
from albert_torch.finetuning.tasks.base import Task
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.model import build_model


def build_task_model(config: FinetuningConfig, task: Task) -> AlbertPreTrainedModel:
    """Return the model that a run starts from, with LoRA layers if the config asks for them."""
    model = _build_without_lora(config, task)
    if config.lora_rank:
        add_lora(model, config.lora_rank, config.lora_alpha, per_depth=config.lora_per_depth)
    return model


def _build_without_lora(config: FinetuningConfig, task: Task) -> AlbertPreTrainedModel:
    model_config = task.model_config_overrides()
    if config.classifier_dropout is not None:
        model_config = {**model_config, "classifier_dropout_prob": config.classifier_dropout}
    return build_model(
        config,
        task.head_class,
        task.tokenizer,
        ignore_mismatched_sizes=config.new_head,
        **model_config,
    )


def save_task_model(
    model: AlbertPreTrainedModel,
    weights: Mapping[str, Tensor],
    tokenizer: AlbertTokenizer,
    directory: Path,
) -> None:
    """Write a model, or only its adapter if it has LoRA layers, and its tokenizer.

    Args:
        model: The model, without the wrapper of distributed training.
        weights: Its state dict; a sharded model has only a part of it.
        tokenizer: The tokenizer of the model.
        directory: Where to write.
    """
    if has_lora_layers(model):
        save_adapter(model, directory, weights)
    else:
        model.save_pretrained(directory, state_dict=weights)
    if not (directory / "tokenizer.json").exists():
        tokenizer.save_pretrained(directory)


def load_task_model(config: FinetuningConfig, task: Task, directory: Path) -> AlbertPreTrainedModel:
    """Load what `save_task_model` wrote."""
    if config.lora_rank:
        model = _build_without_lora(config, task)
        load_adapter(model, directory)
    else:
        model = task.head_class.from_pretrained(directory)
    model.base_model.unpad = config.unpad
    return model
