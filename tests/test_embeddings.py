"""What the embeddings look up, and what they refuse."""

from typing import Any

import pytest
import torch
from helpers.constants import TINY
from helpers.reference import batch, pair, run, worst

from albert_torch import AlbertConfig, AlbertModel


def test_positions_segments_and_embeddings_can_be_given() -> None:
    """Catches: position_ids or token_type_ids that are ignored, embeddings without LayerNorm."""
    theirs, ours = pair("AlbertModel", TINY)
    inputs = batch(TINY, (6, 4))
    inputs["position_ids"] = torch.randint(0, TINY["max_position_embeddings"], (2, 6))
    assert worst(run(ours, inputs).last_hidden_state, run(theirs, inputs).last_hidden_state) < 1e-10
    by_ids = run(ours, inputs).last_hidden_state
    ids = inputs.pop("input_ids")
    inputs["inputs_embeds"] = ours.get_input_embeddings()(ids)
    assert worst(run(ours, inputs).last_hidden_state, by_ids) == 0
    inputs["position_ids"] = inputs["position_ids"][:1]
    assert worst(run(ours, inputs).last_hidden_state, run(theirs, inputs).last_hidden_state) < 1e-10


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "exactly one of input_ids and inputs_embeds"),
        (
            {"input_ids": [[1]], "inputs_embeds": [[[1.0] * 10]]},
            "exactly one of input_ids and inputs_embeds",
        ),
        (
            {"input_ids": [1, 2, 3]},
            r"input_ids has shape \(3,\), must be \(B, T\).*input_ids\[None\]",
        ),
        ({"input_ids": [[[1, 2]]]}, r"input_ids has shape \(1, 1, 2\), must be \(B, T\)"),
        ({"input_ids": [[1.0, 2.0]]}, r"input_ids has dtype torch.float32, must be torch.long"),
        ({"input_ids": [[True, False]]}, r"input_ids has dtype torch.bool, must be torch.long"),
        ({"input_ids": [[3, 61]]}, r"input_ids range from 3 to 61, must be 0 to 60"),
        ({"input_ids": [[3, -1]]}, r"input_ids range from -1 to 3, must be 0 to 60"),
        (
            {"input_ids": [[3] * 21]},
            r"rows have 21 tokens, but the model has 20 positions: truncate to max_length=20",
        ),
        (
            {"input_ids": [[3, 4]], "position_ids": [[0, 20]]},
            r"position_ids range from 0 to 20, must be 0 to 19",
        ),
        (
            {"input_ids": [[3, 4]], "position_ids": [[0, 1, 2]]},
            r"position_ids has shape \(1, 3\), must be \(1, 2\)",
        ),
        (
            {"input_ids": [[3, 4]], "token_type_ids": [[0, 3]]},
            r"token_type_ids range from 0 to 3, must be 0 to 2",
        ),
        (
            {"input_ids": [[3, 4]], "token_type_ids": [0, 1]},
            r"token_type_ids has shape \(2,\), must be \(1, 2\)",
        ),
        (
            {"input_ids": [[3, 4]], "attention_mask": [[1, 1, 1]]},
            r"attention_mask has shape \(1, 3\), must be \(1, 2\)",
        ),
        (
            {"input_ids": [[3, 4]], "attention_mask": [[[1, 1]]]},
            r"attention_mask has shape \(1, 1, 2\), must be \(1, 2\)",
        ),
        (
            {"inputs_embeds": [[[0.0] * 24]]},
            r"inputs_embeds has 24 features per token, must have embedding_size=10",
        ),
        (
            {"inputs_embeds": [[0.0] * 10]},
            r"inputs_embeds has shape \(1, 10\), must be \(B, T, E\)",
        ),
    ],
)
def test_bad_inputs_say_what_to_do(inputs: dict[str, Any], message: str) -> None:
    """Catches: an error from deep inside torch that names neither the argument nor the rule."""
    model = AlbertModel(AlbertConfig(**TINY)).eval()
    with pytest.raises(ValueError, match=message):
        run(model, {name: torch.tensor(value) for name, value in inputs.items()})


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
def test_an_empty_batch_or_row_is_refused(shape: tuple[int, int]) -> None:
    """Catches: an error from deep inside torch for a batch without tokens."""
    model = AlbertModel(AlbertConfig(**TINY)).eval()
    with pytest.raises(
        ValueError,
        match=r"input_ids has shape \(\d, \d\): a batch needs at least one row and one token",
    ):
        run(model, {"input_ids": torch.zeros(shape, dtype=torch.long)})
