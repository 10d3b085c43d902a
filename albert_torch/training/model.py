"""Recipe -> model and tokenizer, and a trained model -> files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from albert_torch.config import AlbertConfig
from albert_torch.model import AlbertLayerGroup
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenizer import AlbertTokenizer
from albert_torch.training.adapters import add_lora, load_adapter, save_adapter
from albert_torch.training.recipe import Recipe
from albert_torch.training.settings import Settings
from albert_torch.training.task import Task

Model = TypeVar("Model", bound=AlbertPreTrainedModel)
# An ALBERT-base, where the recipe's `shape` says nothing else.
_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}


def load_tokenizer(recipe: Settings) -> AlbertTokenizer:
    """The recipe's tokenizer, or that of its model."""
    if not (name := recipe.tokenizer or recipe.model):
        raise ValueError("the recipe names no model and no tokenizer: give one of them, a directory or a Hub name")
    return AlbertTokenizer.from_pretrained(name)


def build(
    recipe: Settings,
    head: type[Model],
    tokenizer: AlbertTokenizer,
    *,
    ignore_mismatched_sizes: bool = False,
    **changes: Any,
) -> Model:
    """A model with the recipe's weights, or drawn ones, `changes` in its config; the seed decides what is drawn."""
    torch.manual_seed(recipe.seed)
    dropouts = {
        "hidden_dropout_prob": recipe.dropout,
        "attention_probs_dropout_prob": recipe.dropout,
        "ffn_dropout_prob": recipe.ffn_dropout_prob,
    }
    changes = {**recipe.shape, **changes, **{name: value for name, value in dropouts.items() if value is not None}}
    if recipe.model:
        model = head.from_pretrained(recipe.model, ignore_mismatched_sizes=ignore_mismatched_sizes, **changes)
    else:
        model = head(AlbertConfig.from_dict({"vocab_size": len(tokenizer), **_BASE}, **changes))
    if (vocab := model.config.vocab_size) < len(tokenizer):
        raise ValueError(f"the tokenizer has {len(tokenizer)} pieces, the model {vocab}: they do not belong together")
    longest, positions = min(recipe.max_length, tokenizer.model_max_length), model.config.max_position_embeddings
    if positions < longest:
        raise ValueError(f"max_length={longest} is more than the model's {positions} positions: lower it")
    model.base_model.unpad = recipe.unpad
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.to(torch.float64 if recipe.dtype == "float64" else torch.float32)


def build_for(task: Task, lora: bool = True) -> AlbertPreTrainedModel:
    """The task's model, with low-rank deltas where its recipe asks for them."""
    recipe, changes = task.recipe, task.model_options()
    if recipe.classifier_dropout is not None:
        changes = {**changes, "classifier_dropout_prob": recipe.classifier_dropout}
    model = build(recipe, task.head, task.tokenizer, ignore_mismatched_sizes=recipe.new_head, **changes)
    if lora and recipe.lora_rank:
        add_lora(model, recipe.lora_rank, recipe.lora_alpha, per_depth=recipe.lora_per_depth)
    return model


def load_model(recipe: Recipe, task: Task, folder: Path) -> AlbertPreTrainedModel:
    """What `save_model` wrote."""
    if recipe.lora_rank:
        model = build_for(task, lora=False)
        load_adapter(model, folder)
    else:
        model = task.head.from_pretrained(folder)
    model.base_model.unpad = recipe.unpad
    return model


def save_model(model: AlbertPreTrainedModel, weights: Mapping[str, Tensor], task: Task, folder: Path) -> None:
    """Write the model, or only its adapter, and the tokenizer."""
    if task.recipe.lora_rank:
        save_adapter(model, folder, weights)
    else:
        model.save_pretrained(folder, state_dict=weights)
    if not (folder / "tokenizer.json").exists():
        task.tokenizer.save_pretrained(folder)


def shard(model: nn.Module) -> nn.Module:
    """FSDP2: each stored group its own shards, gathered once for all of its runs; the rest together."""
    from torch.distributed.fsdp import fully_shard

    for module in list(model.modules()):
        if isinstance(module, AlbertLayerGroup):
            fully_shard(module, reshard_after_forward=False)
    return fully_shard(model)  # type: ignore[return-value]  # the same module, its class extended
