"""Padding of rows to a common length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from albert_torch.tokenization.batch_encoding import BatchEncoding, to_list, to_tensors
from albert_torch.tokenization.settings import resolve_choice

SIDES = {"left": "left", "right": "right"}
PADDING_STRATEGIES: dict[str | bool, str] = {
    "longest": "longest",
    "max_length": "max_length",
    "do_not_pad": "do_not_pad",
    True: "longest",
    False: "do_not_pad",
}
# What each column is padded with. For input_ids it is the id of the padding token.
PADDING_VALUES: dict[str, Any] = {
    "token_type_ids": 0,
    "attention_mask": 0,
    "special_tokens_mask": 1,
    "offset_mapping": (0, 0),
}


class PaddingOptions(NamedTuple):
    """How rows are padded.

    Attributes:
        strategy: A key of `PADDING_STRATEGIES`.
        max_length: The length to pad to if the strategy is "max_length".
        pad_to_multiple_of: Round the length up to a multiple of this number.
        side: "right" or "left".
        pad_token_id: What `input_ids` is padded with.
    """

    strategy: bool | str
    max_length: int
    pad_to_multiple_of: int | None
    side: str
    pad_token_id: int


def pad_columns(data: dict[str, Any], options: PaddingOptions) -> int:
    """Pad the rows of all columns, in place. Longer rows stay as they are.

    Args:
        data: Columns by name; `input_ids` must be among them.
        options: How to pad.

    Returns:
        The length that rows were padded to, or 0 if they were not padded.

    Raises:
        ValueError: The strategy or the side is unknown.
    """
    strategy = resolve_choice("padding", options.strategy, PADDING_STRATEGIES)
    side = resolve_choice("padding_side", options.side, SIDES)
    if strategy == "do_not_pad":
        return 0
    length = options.max_length
    if strategy == "longest":
        length = max(map(len, data["input_ids"]), default=0)
    if options.pad_to_multiple_of:
        length = _round_up(length, options.pad_to_multiple_of)
    for name, value in {**PADDING_VALUES, "input_ids": options.pad_token_id}.items():
        if name not in data:
            continue
        if side == "right":
            data[name] = [row + [value] * (length - len(row)) for row in data[name]]
        else:
            data[name] = [[value] * (length - len(row)) + row for row in data[name]]
    return length


def _round_up(number: int, factor: int) -> int:
    """Return the smallest multiple of `factor` that is not below `number`."""
    return (number + factor - 1) // factor * factor


def pad_encoded_inputs(
    encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    options: PaddingOptions,
    return_attention_mask: bool,
    return_tensors: str | None,
) -> BatchEncoding:
    """Collect encoded texts in a batch, and pad them; see `AlbertTokenizer.pad`."""
    data = _collect_columns(encoded_inputs)
    if "input_ids" not in data:
        raise ValueError(f"pad needs input_ids, but got {', '.join(data) or 'nothing'}")
    is_single_row = bool(data["input_ids"]) and not isinstance(data["input_ids"][0], list)
    if is_single_row:
        data = {name: [value] for name, value in data.items()}
    if return_attention_mask and "attention_mask" not in data:
        data["attention_mask"] = [[1] * len(row) for row in data["input_ids"]]
    pad_columns(data, options)
    if is_single_row:
        data = {name: value[0] for name, value in data.items()}
    return BatchEncoding(to_tensors(data, return_tensors))


def _collect_columns(
    encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return one list per column, without tensors."""
    if isinstance(encoded_inputs, Mapping):
        columns = dict(encoded_inputs)
    else:
        names: Mapping[str, Any] = encoded_inputs[0] if encoded_inputs else {}
        columns = {name: [row[name] for row in encoded_inputs] for name in names}
    return {name: to_list(value) for name, value in columns.items()}
