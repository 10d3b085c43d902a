"""The objects of .jsonl and .json files as rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from albert_torch.readers.lines import NumberedRows


def json_lines(name: str, lines: Iterable[str]) -> NumberedRows:
    """Yield the objects of JSON lines; blank lines are skipped.

    Raises:
        ValueError: A line is not a JSON object.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{name}, line {number} is not valid JSON ({error}); every line must be an object"
            ) from None
        if not isinstance(row, dict):
            raise ValueError(
                f"{name}, line {number} holds one {_json_type(row)}; every line must be an object"
            )
        yield number, row


def json_list(name: str, text: str) -> NumberedRows | None:
    """Return the objects of a JSON list, or None if the text consists of JSON lines.

    Raises:
        ValueError: The text is neither, or an item of the list is not an object.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        if _looks_like_json_lines(text):
            return None
        raise ValueError(f"{name} is not valid JSON ({error})") from None
    if not isinstance(rows, list):
        raise ValueError(
            f"{name} must hold a list of objects, one per row, but it holds one {_json_type(rows)}"
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(
                f"{name}, row {number} holds one {_json_type(row)}; every row must be a JSON object"
            )
    return enumerate(rows, 1)


def _looks_like_json_lines(text: str) -> bool:
    """Whether there is more than one line, and the first one is an object."""
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        return len(lines) > 1 and isinstance(json.loads(lines[0]), dict)
    except (ValueError, RecursionError):
        return False


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
