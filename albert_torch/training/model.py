"""A training config -> model and tokenizer."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from albert_torch.config import AlbertConfig
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.config import TrainingConfig

Model = TypeVar("Model", bound=AlbertPreTrainedModel)


_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}


def load_tokenizer(recipe: TrainingConfig) -> AlbertTokenizer:
    """The recipe's tokenizer, or that of its model."""
    if not (name := recipe.tokenizer or recipe.model):
        raise ValueError(
            "the recipe names no model and no tokenizer: give one of them, a directory or a Hub name"
        )
    return AlbertTokenizer.from_pretrained(name)


def build(
    recipe: TrainingConfig,
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
    changes = {
        **recipe.model_config,
        **changes,
        **{name: value for name, value in dropouts.items() if value is not None},
    }
    if recipe.model:
        model: Model = head.from_pretrained(
            recipe.model, ignore_mismatched_sizes=ignore_mismatched_sizes, **changes
        )
    else:
        model = head(AlbertConfig.from_dict({"vocab_size": len(tokenizer), **_BASE}, **changes))
    if (vocab := model.config.vocab_size) < len(tokenizer):
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} pieces, the model {vocab}: they do not belong together"
        )
    longest, positions = (
        min(recipe.max_length, tokenizer.model_max_length),
        model.config.max_position_embeddings,
    )
    if positions < longest:
        raise ValueError(
            f"max_length={longest} is more than the model's {positions} positions: lower it"
        )
    model.base_model.unpad = recipe.unpad
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.to(torch.float64 if recipe.dtype == "float64" else torch.float32)
