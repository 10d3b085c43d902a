"""Inputs for the tests of the fast path."""

from typing import Any

from torch import Tensor

from helpers.reference import inputs_for

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")


def model_inputs(name: str, config: dict[str, Any], **how: Any) -> dict[str, Tensor]:
    """A padded batch for the class, without labels; see `inputs_for`."""
    inputs = inputs_for(name, config, **how)
    return {key: value for key, value in inputs.items() if key in INPUT_NAMES}


def rows_of(inputs: dict[str, Tensor]) -> tuple[list[list[int]], list[list[int]]]:
    """The real tokens of a padded batch as lists of `input_ids` and `token_type_ids`."""
    is_token = inputs["attention_mask"].bool()
    input_ids, token_type_ids = (
        [row[mask].tolist() for row, mask in zip(inputs[key], is_token, strict=True)]
        for key in ("input_ids", "token_type_ids")
    )
    return input_ids, token_type_ids
