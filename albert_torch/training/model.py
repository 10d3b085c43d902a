"""The tokenizer and the model that a run starts from."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from albert_torch.config import AlbertConfig
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.config import TrainingConfig

ModelT = TypeVar("ModelT", bound=AlbertPreTrainedModel)

# ALBERT-base, the shape of a model with random weights where `model_config` does not name another.
BASE_CONFIG = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}


def load_tokenizer(config: TrainingConfig) -> AlbertTokenizer:
    """Return the tokenizer that a config names, or that of its model.

    Raises:
        ValueError: The config names neither.
        FileNotFoundError: There is no such tokenizer.
    """
    name = config.tokenizer or config.model
    if not name:
        raise ValueError(
            "the recipe names neither a model nor a tokenizer: set one of them to a directory or a "
            "Hub name"
        )
    return AlbertTokenizer.from_pretrained(name)


def build_model(
    config: TrainingConfig,
    model_class: type[ModelT],
    tokenizer: AlbertTokenizer,
    *,
    ignore_mismatched_sizes: bool = False,
    **model_config: Any,
) -> ModelT:
    """Return the model that a run starts from: a checkpoint's weights, or random ones.

    Args:
        config: The options of the run; its seed determines all random weights.
        model_class: The class of the model.
        tokenizer: The tokenizer of the run, which the vocabulary must fit.
        ignore_mismatched_sizes: Initialise weights anew that have another shape in the checkpoint.
        **model_config: Fields of `AlbertConfig` that the run requires, such as `num_labels`.

    Raises:
        ValueError: Model, tokenizer and `max_length` do not fit each other.
        CheckpointError: The weights do not fit the model.
    """
    torch.manual_seed(config.seed)
    dropouts = {
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "ffn_dropout_prob": config.ffn_dropout_prob,
    }
    set_dropouts = {name: value for name, value in dropouts.items() if value is not None}
    overrides = {**config.model_config, **model_config, **set_dropouts}
    if config.model:
        model: ModelT = model_class.from_pretrained(
            config.model, ignore_mismatched_sizes=ignore_mismatched_sizes, **overrides
        )
    else:
        defaults = {"vocab_size": len(tokenizer), **BASE_CONFIG}
        model = model_class(AlbertConfig.from_dict(defaults, **overrides))
    _check_fit(config, model.config, tokenizer)
    model.base_model.unpad = config.unpad
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.to(torch.float64 if config.dtype == "float64" else torch.float32)


def _check_fit(
    config: TrainingConfig, model_config: AlbertConfig, tokenizer: AlbertTokenizer
) -> None:
    """Raise `ValueError` if the vocabulary or the positions of the model are too few."""
    if model_config.vocab_size < len(tokenizer):
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} pieces but the model has embeddings for "
            f"{model_config.vocab_size} only: they do not belong together"
        )
    longest = min(config.max_length, tokenizer.model_max_length)
    if model_config.max_position_embeddings < longest:
        raise ValueError(
            f"max_length={longest} is more than the model's "
            f"{model_config.max_position_embeddings} positions: lower it"
        )
