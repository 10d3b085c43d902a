"""An output is an object, a dictionary and a tuple, and survives what clients do to it."""

import pickle
from dataclasses import fields

import pytest
import torch
from torch.utils import _pytree as pytree

from albert_torch import outputs
from albert_torch.outputs import MaskedLMOutput, ModelOutput, QuestionAnsweringModelOutput

X, Y = torch.ones(2), torch.zeros(3)


def test_by_attribute_name_and_position_skipping_none() -> None:
    """Catches: None counted as a position, an attribute and its key that differ."""
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
    """Catches: positions in the order in which fields were set."""
    output = MaskedLMOutput(logits=X)
    output.loss = Y
    assert output[0] is Y
    output["loss"] = None
    assert output[0] is X
    assert isinstance(output, dict)


@pytest.mark.parametrize("given", [{"logits": X, "loss": Y}, iter([("logits", X), ("loss", Y)])])
def test_put_together_from_pairs(given: object) -> None:
    """Catches: a mapping taken for the loss (accelerate rebuilds outputs from a mapping)."""
    output = MaskedLMOutput(given)  # type: ignore[arg-type]
    assert output.loss is Y
    assert output[1] is X


def test_pytree_and_pickle() -> None:
    """Catches: an output that DDP, export or another process cannot take apart and rebuild."""
    output = QuestionAnsweringModelOutput(start_logits=X, end_logits=X + 1)
    twice = pytree.tree_map(lambda tensor: tensor * 2, output)
    assert type(twice) is QuestionAnsweringModelOutput
    assert torch.equal(twice.end_logits, X * 4)
    again = pickle.loads(pickle.dumps(output))
    assert list(again) == ["start_logits", "end_logits"]
    assert torch.equal(again.end_logits, X + 1)


@pytest.mark.parametrize(
    "output_class",
    [c for c in vars(outputs).values() if isinstance(c, type) and issubclass(c, ModelOutput)],
)
def test_every_output_is_a_dataclass_of_its_own(output_class: type[ModelOutput]) -> None:
    """Catches: a class without the decorator, which torch's compiler cannot trace."""
    if output_class is not ModelOutput:
        assert "__dataclass_fields__" in vars(output_class)
        assert all(field.default is None for field in fields(output_class))  # type: ignore[arg-type]
