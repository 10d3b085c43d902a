"""Dataclasses whose fields come from recipes and the command line: types, ranges, suggestions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest

from albert_torch.training.options import Options, option


@dataclass
class Example(Options):
    """One field of each type."""

    count: int = option(3, "a number of things", minimum=1)
    share: float = option(0.5, "a share of them", minimum=0, maximum=1)
    rate: float | None = option(None, "a rate, or none", maximum=2)
    name: str = option("a", "one of two", choices=("a", "b"))
    flag: bool = option(False, "whether")
    names: list[str] = option([], "several names")
    table: dict[str, Any] = option({}, "anything by name")


@pytest.mark.parametrize(
    ("values", "field", "want"),
    [
        ({"count": "7"}, "count", 7),
        ({"share": 1}, "share", 1.0),
        ({"share": "1e-3"}, "share", 0.001),
        ({"rate": "None"}, "rate", None),
        ({"rate": 2}, "rate", 2.0),
        ({"name": "b"}, "name", "b"),
        ({"flag": "true"}, "flag", True),
        ({"names": "x, y,"}, "names", ["x", "y"]),
        ({"table": '{"x": 1}'}, "table", {"x": 1}),
    ],
)
def test_values_are_read_as_the_type_of_their_field(
    values: dict[str, Any], field: str, want: Any
) -> None:
    """Kills: text of the command line kept as text, a whole number that stays one for a float."""
    found = getattr(Example.from_dict(values), field)
    assert found == want
    assert type(found) is type(want)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cuont": 1}, "unknown key 'cuont'; did you mean count[?] The keys are count, share"),
        ({"count": 0}, "count=0 must be at least 1"),
        ({"count": True}, "count=True must be a whole number"),
        ({"count": "many"}, "count='many' must be a whole number"),
        ({"share": 1.5}, "share=1.5 must be from 0 to 1"),
        ({"share": float("nan")}, "share=nan must be from 0 to 1"),
        ({"rate": 3.0}, "rate=3.0 must be at most 2"),
        ({"rate": "x"}, "rate='x' must be a number or 'none'"),
        ({"name": "c"}, "name='c' is not known; use one of a, b"),
        ({"flag": 1}, "flag=1 must be true or false"),
        ({"names": [1]}, r"names=\[1\] must be a list of texts"),
        ({"table": "[]"}, r"table=\[\] must be a table of keys"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], message: str) -> None:
    """Kills: a misspelt key that is ignored, a value outside its range that trains on."""
    with pytest.raises(ValueError, match=message):
        Example.from_dict(values)


def test_lists_and_tables_are_not_shared() -> None:
    """Kills: a default that one object changes for all."""
    Example().names.append("x")
    assert Example().names == []


def test_the_help_is_in_the_metadata() -> None:
    """Kills: an option that the command line shows without a description."""
    assert [spec.metadata["help"] for spec in fields(Example)][:2] == [
        "a number of things",
        "a share of them",
    ]
