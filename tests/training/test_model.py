"""The model and the tokenizer that a run starts from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import SHAPE, vocabulary

from albert_torch import AlbertForPreTraining, AlbertForSequenceClassification
from albert_torch.training.config import TrainingConfig
from albert_torch.training.model import build_model, load_tokenizer


def config(folder: Path, **changes: Any) -> TrainingConfig:
    values = {"tokenizer": str(vocabulary(folder / "vocabulary")), "model_config": SHAPE}
    return TrainingConfig.from_dict({**values, "max_length": 64, **changes})


def build(settings: TrainingConfig, **model_config: Any) -> AlbertForSequenceClassification:
    tokenizer = load_tokenizer(settings)
    return build_model(settings, AlbertForSequenceClassification, tokenizer, **model_config)


def test_dropouts_are_those_of_the_config_or_the_checkpoint(tmp_path: Path) -> None:
    """Kills: a dropout in the wrong place, one that a config without it replaces by a default."""
    first = build(config(tmp_path, dropout=0.1, ffn_dropout_prob=0.3), classifier_dropout_prob=0.2)
    first.save_pretrained(tmp_path / "first")
    second = build(config(tmp_path, model=str(tmp_path / "first"), model_config={}))
    third = build(config(tmp_path, model=str(tmp_path / "first"), model_config={}, dropout=0.4))
    for model, dropout in ((first, 0.1), (second, 0.1), (third, 0.4)):
        assert model.config.hidden_dropout_prob == dropout
        assert model.config.attention_probs_dropout_prob == dropout
        assert model.config.classifier_dropout_prob == 0.2
        assert model.config.ffn_dropout_prob == 0.3


def test_the_seed_determines_random_weights(tmp_path: Path) -> None:
    """Kills: weights that depend on what was drawn before, or that are the same for every seed."""
    first = build(config(tmp_path)).classifier.weight
    torch.randn(3)
    assert torch.equal(build(config(tmp_path)).classifier.weight, first)
    assert not torch.equal(build(config(tmp_path, seed=2)).classifier.weight, first)


def test_options_reach_the_model(tmp_path: Path) -> None:
    """Kills: an option that does nothing, weights in bfloat16."""
    plain = build(config(tmp_path, dtype="bfloat16"), num_labels=3)
    assert plain.base_model.unpad
    assert (plain.dtype, plain.config.num_labels) == (torch.float32, 3)
    other = build(config(tmp_path, dtype="float64", unpad=False, gradient_checkpointing=True))
    assert not other.base_model.unpad
    assert other.dtype == torch.float64
    assert other.is_gradient_checkpointing


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Kills: an index error in the embeddings, after the data were prepared."""
    with pytest.raises(ValueError, match="names neither a model nor a tokenizer"):
        load_tokenizer(TrainingConfig())
    with pytest.raises(ValueError, match="max_length=65 is more than the model's 64 positions"):
        build(config(tmp_path, max_length=65))
    with pytest.raises(ValueError, match="42 pieces but the model has embeddings for 9 only"):
        build(config(tmp_path, model_config={**SHAPE, "vocab_size": 9}))


def test_a_head_of_another_size_can_be_initialised_anew(tmp_path: Path) -> None:
    """Kills: an encoder that is initialised anew together with the head."""
    first = build(config(tmp_path))
    first.save_pretrained(tmp_path / "first")
    settings = config(tmp_path, model=str(tmp_path / "first"), model_config={})
    tokenizer = load_tokenizer(settings)
    other = build_model(
        settings,
        AlbertForSequenceClassification,
        tokenizer,
        ignore_mismatched_sizes=True,
        num_labels=5,
    )
    assert other.classifier.weight.shape[0] == 5
    assert torch.equal(
        other.albert.encoder.embedding_hidden_mapping_in.weight,
        first.albert.encoder.embedding_hidden_mapping_in.weight,
    )
    assert isinstance(
        build_model(config(tmp_path), AlbertForPreTraining, tokenizer), torch.nn.Module
    )
