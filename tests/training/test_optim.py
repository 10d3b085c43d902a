"""The parameter groups of both optimizers."""

import torch
from helpers.constants import SHARED

from albert_torch import AlbertConfig, AlbertForPreTraining
from albert_torch.training.config import TrainingConfig
from albert_torch.training.lamb import Lamb
from albert_torch.training.optim import OPTIMIZERS, build_adamw, build_lamb

CONFIG = TrainingConfig(
    learning_rate=0.5, weight_decay=0.02, adam_beta1=0.7, adam_beta2=0.6, adam_eps=1e-3
)


def model() -> AlbertForPreTraining:
    """A model whose pooler is not trained."""
    made = AlbertForPreTraining(AlbertConfig(**SHARED))
    made.albert.pooler.requires_grad_(False)
    return made


def parameter_names(
    trained: AlbertForPreTraining, optimizer: torch.optim.Optimizer
) -> tuple[list[str], list[str]]:
    """The names of the parameters in the two groups of an optimizer."""
    name_of = {parameter: name for name, parameter in trained.named_parameters()}
    matrices, vectors = ([name_of[p] for p in group["params"]] for group in optimizer.param_groups)
    return matrices, vectors


def test_biases_and_layer_norms_are_in_a_group_of_their_own() -> None:
    """Kills: a LayerNorm that decays, a shared or tied weight in the list twice, a frozen
    weight.
    """
    trained = model()
    trainable = sorted(name for name, p in trained.named_parameters() if p.requires_grad)
    for build in (build_lamb, build_adamw):
        matrices, vectors = parameter_names(trained, build(trained, CONFIG))
        assert all(name.endswith("weight") and "norm" not in name.lower() for name in matrices)
        assert all(name.endswith("bias") or "norm" in name.lower() for name in vectors)
        assert sorted([*matrices, *vectors]) == trainable


def test_lamb_has_the_values_of_the_config() -> None:
    """Kills: beta1 and beta2 swapped, a decay or a scale of biases and LayerNorms."""
    optimizer = OPTIMIZERS["lamb"](model(), CONFIG)
    assert isinstance(optimizer, Lamb)
    options = ("lr", "betas", "eps", "weight_decay", "adapt")
    assert [[group[name] for name in options] for group in optimizer.param_groups] == [
        [0.5, (0.7, 0.6), 1e-3, 0.02, True],
        [0.5, (0.7, 0.6), 1e-3, 0.0, False],
    ]


def test_adamw_has_the_values_of_the_config() -> None:
    """Kills: torch's default decay of 0.01 for biases and LayerNorms, its eps of 1e-8."""
    optimizer = OPTIMIZERS["adamw"](model(), CONFIG)
    assert isinstance(optimizer, torch.optim.AdamW)
    options = ("lr", "betas", "eps", "weight_decay")
    assert [[group[name] for name in options] for group in optimizer.param_groups] == [
        [0.5, (0.7, 0.6), 1e-3, 0.02],
        [0.5, (0.7, 0.6), 1e-3, 0.0],
    ]
