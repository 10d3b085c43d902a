"""A model output is an object, a dict and a tuple at once, and survives what clients do to it."""

import pickle

import pytest
import torch
from torch.utils import _pytree as pytree

from albert_torch.outputs import MaskedLMOutput, QuestionAnsweringModelOutput

X, Y = torch.ones(2), torch.zeros(3)


def test_by_attribute_name_and_position_skipping_none() -> None:
    """Kills: None counted as a position, an attribute and its key that differ."""
    output = MaskedLMOutput(logits=X, attentions=(Y,))
    assert output.loss is None
    assert output.logits is output["logits"] is output[0]
    assert output[1] == (Y,)
    assert output[:1] == (X,)
    assert output.to_tuple() == (X, (Y,))
    assert list(output) == ["logits", "attentions"]
    assert "loss" not in output
    with pytest.raises(KeyError):
        output["loss"]
    with pytest.raises(TypeError, match="set it to None"):
        del output["logits"]


def test_a_field_set_later_takes_the_place_of_its_class() -> None:
    """Kills: positions in the order of setting: `loss` must come first whenever it was set."""
    output = MaskedLMOutput(logits=X)
    output.loss = Y
    assert output[0] is Y
    output["loss"] = None
    assert output[0] is X
    assert isinstance(output, dict)


@pytest.mark.parametrize("given", [{"logits": X, "loss": Y}, iter([("logits", X), ("loss", Y)])])
def test_put_together_from_pairs(given: object) -> None:
    """Kills: a mapping kept as the loss (accelerate and nn.DataParallel build `type(output)(mapping)`)."""
    output = MaskedLMOutput(given)  # type: ignore[arg-type]
    assert output.loss is Y
    assert output[1] is X


def test_pytree_and_pickle() -> None:
    """Kills: an output that DDP, export or a data loader's process cannot take apart and build again."""
    output = QuestionAnsweringModelOutput(start_logits=X, end_logits=X + 1)
    twice = pytree.tree_map(lambda tensor: tensor * 2, output)
    assert type(twice) is QuestionAnsweringModelOutput
    assert torch.equal(twice.end_logits, X * 4)
    again = pickle.loads(pickle.dumps(output))
    assert list(again) == ["start_logits", "end_logits"]
    assert torch.equal(again.end_logits, X + 1)
