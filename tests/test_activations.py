"""Activation functions by the names of transformers."""

import pytest
from helpers.constants import SHARED
from helpers.reference import batch, pair, run, worst

from albert_torch import AlbertConfig, AlbertModel
from albert_torch.activations import ACTIVATIONS


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_those_of_transformers(name: str) -> None:
    """Catches: the erf form under a name of the tanh form, or the other way round."""
    config = {**SHARED, "hidden_act": name}
    theirs, ours = pair("AlbertModel", config)
    inputs = batch(config)
    assert worst(run(ours, inputs).last_hidden_state, run(theirs, inputs).last_hidden_state) < 1e-10


def test_an_unknown_activation_is_named() -> None:
    """Catches: a KeyError that does not say which activations there are."""
    with pytest.raises(ValueError, match=r"hidden_act='gelu_old' is not known; use one of gelu,"):
        AlbertModel(AlbertConfig(**{**SHARED, "hidden_act": "gelu_old"}))
