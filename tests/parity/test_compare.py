"""Planted differences of every kind are found, and named where they begin."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from albert_torch import AlbertModel
from albert_torch.activations import ACTIVATIONS
from albert_torch.parity.compare import (
    TOLERANCES,
    Measurement,
    Observed,
    Quantity,
    at_real_tokens,
    compare,
    compare_weights,
    difference,
    observe,
)
from albert_torch.parity.inputs import make_batches, random_inputs


def load(checkpoint: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    model = AlbertModel.from_pretrained(checkpoint).double()
    return model, make_batches(model, random_inputs(model.config, 0), 0)[0]


def first_wrong(ours: Observed, theirs: Observed) -> Measurement:
    return next(one for one in compare(ours, theirs, tolerance=1e-10) if not one.ok)


@torch.no_grad()
def plant(model: nn.Module, fault: str) -> None:
    """Change a model in a way in which a real implementation was wrong."""
    encoder: Any = model.encoder
    last = encoder.albert_layer_groups[-1].albert_layers[-1]
    if fault == "weight":
        last.ffn_output.weight[3, 5] += 1e-6
    elif fault == "embedding":
        # A single element: LayerNorm would remove a change of the whole row.
        model.embeddings.position_embeddings.weight[0, 0] += 1e-6
    elif fault == "pooler":
        model.pooler.bias[0] += 1e-6
    elif fault == "eps":
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-5
    elif fault == "activation":
        last.activation = ACTIVATIONS["gelu"]
    elif fault == "group":
        encoder.albert_layer_groups = encoder.albert_layer_groups[:2]
    elif fault == "scale":
        last.attention.query.register_forward_hook(lambda module, args, output: output * (1 + 1e-7))


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        ("weight", "hidden 5/6"),
        ("embedding", "hidden 0/6"),
        ("eps", "hidden 0/6"),
        ("activation", "hidden 5/6"),
        ("group", "hidden 3/6"),
        ("scale", "hidden 5/6"),
        ("pooler", "pooler_output"),
    ],
)
def test_a_planted_fault_is_found_where_it_begins(
    checkpoints: dict[str, Path], fault: str, first: str
) -> None:
    """Catches: a comparison of means, a layer that is named one off, a fault hidden by rounding."""
    model, batch = load(checkpoints["Model"])
    theirs = observe(copy.deepcopy(model), batch)
    plant(model, fault)
    assert first_wrong(observe(model, batch), theirs).quantity.name == first


def test_a_wrong_backward_pass_is_found(checkpoints: dict[str, Path]) -> None:
    """Catches: gradients that are not compared; the forward pass is right here."""
    model, batch = load(checkpoints["Model"])
    theirs = observe(copy.deepcopy(model), batch)
    model.encoder.embedding_hidden_mapping_in.weight.register_hook(lambda grad: grad * (1 + 1e-7))
    measurements = compare(observe(model, batch), theirs, tolerance=1e-10)
    wrong = [one.quantity for one in measurements if not one.ok]
    assert wrong == [Quantity("grad", "encoder.embedding_hidden_mapping_in.weight")]


def test_narrow_dtypes_are_measured_against_the_error_of_the_reference() -> None:
    """Catches: a bound that accepts a far worse model, or rejects one as good as the reference."""
    quantity = Quantity("hidden", "hidden 1/1", 1)
    truth = {quantity: torch.tensor([1.0, 2.0], dtype=torch.float64)}
    theirs = {quantity: torch.tensor([1.0, 2.1], dtype=torch.bfloat16)}
    as_good = {quantity: torch.tensor([1.0, 1.9], dtype=torch.bfloat16)}
    worse = {quantity: torch.tensor([1.0, 1.7], dtype=torch.bfloat16)}
    tolerance = TOLERANCES[torch.bfloat16]
    (good,) = compare(as_good, theirs, tolerance=tolerance, truth=truth)
    (bad,) = compare(worse, theirs, tolerance=tolerance, truth=truth)
    assert good.ok
    assert not bad.ok
    assert good.theirs_to_float64 == pytest.approx(0.1, abs=0.01)
    assert not compare(as_good, theirs, tolerance=tolerance)[0].ok


@pytest.mark.parametrize("fault", ["nan", "inf", "shape", "absent", "extra"])
def test_what_cannot_be_subtracted_differs(fault: str) -> None:
    """Catches: a NaN that counts as small, infinities that cancel, a tensor of one model only."""
    quantity = Quantity("hidden", "hidden 0/1", 0)
    ours, theirs = {quantity: torch.ones(2, 3)}, {quantity: torch.ones(2, 3)}
    if fault in ("nan", "inf"):
        ours[quantity][1, 1] = theirs[quantity][1, 1] = float(fault)
    elif fault == "shape":
        ours[quantity] = ours[quantity][:1]
    elif fault == "absent":
        ours = {}
    else:
        ours[Quantity("attn", "attn 1/1", 1)] = torch.ones(1)
    measurements = compare(ours, theirs, tolerance=1.0)
    assert [one.ok for one in measurements].count(False) == 1
    assert math.isinf(max(one.excess for one in measurements))
    assert difference(torch.ones(1), torch.ones(1)) == 0


def test_weights_are_compared_by_key_order_and_value(checkpoints: dict[str, Path]) -> None:
    """Catches: keys that are compared as sets, and values that may differ by a tolerance."""
    model, _ = load(checkpoints["Model"])
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.pooler.bias[0] += 1e-12
    wrong = [one.quantity.name for one in compare_weights(model, other) if not one.ok]
    assert wrong == ["pooler.bias"]
    pooler = other.pooler
    del other.pooler
    wrong = [one.quantity.name for one in compare_weights(model, other) if not one.ok]
    assert wrong == [
        "pooler.weight where transformers has nothing",
        "pooler.bias where transformers has nothing",
    ]
    other.embeddings.pooler = pooler
    assert not all(one.ok for one in compare_weights(model, other))


def test_question_answering_without_padding_leaves_out_its_loss() -> None:
    """Catches: a comparison at padding, where packed and padded rows differ; too much left out."""
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    observed = {
        Quantity("hidden", "hidden 0/1", 0): torch.ones(2, 3, 4),
        Quantity("loss", "loss"): torch.ones(()),
        Quantity("grad", "w"): torch.ones(2, 3),
        Quantity("logits", "logits"): torch.ones(2, 2),
    }
    reduced = at_real_tokens(observed, {"attention_mask": mask})
    assert [tuple(x.shape) for x in reduced.values()] == [(4, 4), (), (2, 3), (2, 2)]
    spans = at_real_tokens(observed, {"attention_mask": mask, "start_positions": mask})
    assert [quantity.category for quantity in spans] == ["hidden", "logits"]
