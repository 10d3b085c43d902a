"""Dataclasses whose fields are keys of a recipe and options of the command line."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

OptionsT = TypeVar("OptionsT", bound="Options")

TYPE_NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list of texts",
    dict: "a table of keys",
    type(None): "'none'",
}


def option(
    default: Any,
    help_text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Iterable[str] = (),
) -> Any:
    """Declare a field of an `Options` dataclass.

    Args:
        default: The value of the field when nothing is given. A list or dict is copied.
        help_text: What `--help` shows.
        minimum: The lowest value that is allowed.
        maximum: The highest value that is allowed.
        choices: The values that are allowed; empty allows all.

    Returns:
        A dataclass field with the keys `help`, `minimum`, `maximum` and `choices` in its metadata.
    """
    metadata = {
        "help": help_text,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices),
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Options:
    """Base of dataclasses whose fields are read from recipes and the command line.

    A field may be of type int, float, str, bool, list[str] or dict[str, Any], or a union of one of
    them with None. Values are checked at construction.

    Raises:
        ValueError: A value has another type than its field, lies outside the field's range, or is
            not one of its choices.
    """

    def __post_init__(self) -> None:
        field_types = self.field_types()
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            annotation = field_types[spec.name]
            if type(value) is int and _allows(annotation, float) and not _allows(annotation, int):
                value = float(value)
                setattr(self, spec.name, value)
            if not _has_type(value, annotation):
                raise ValueError(f"{spec.name}={value!r} must be {_describe_type(annotation)}")
            _check_metadata(spec, value)

    @classmethod
    def field_types(cls) -> dict[str, Any]:
        """Return the type of each field, by name, in the order of declaration."""
        hints = typing.get_type_hints(cls)
        return {spec.name: hints[spec.name] for spec in dataclasses.fields(cls)}

    @classmethod
    def from_dict(cls: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
        """Create the dataclass from values by name, as a recipe or the command line provides them.

        Args:
            values: A value for each field that differs from its default. A string for a field of
                another type is read as that type: "none" as None, "a,b" as a list of texts, and
                anything else as JSON.

        Raises:
            ValueError: A name is not a field (the error suggests a similar one), or a value does
                not fit its field.
        """
        field_types = cls.field_types()
        for name in values:
            if name not in field_types:
                raise ValueError(unknown_option(name, field_types))
        return cls(
            **{name: _read_value(name, value, field_types[name]) for name, value in values.items()}
        )


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Return the error message for a name that is none of the `known` ones."""
    names = list(known)
    similar = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {similar[0]}? " if similar else ""
    return f"unknown key {name!r}; {hint}The keys are {', '.join(names)}"


def _check_metadata(spec: dataclasses.Field[Any], value: Any) -> None:
    """Raise `ValueError` for a value outside the range or the choices of its field."""
    if value is None:
        return
    minimum, maximum = spec.metadata.get("minimum"), spec.metadata.get("maximum")
    too_low = minimum is not None and not value >= minimum  # also when the value is NaN
    too_high = maximum is not None and not value <= maximum
    if too_low or too_high:
        raise ValueError(f"{spec.name}={value!r} must be {_describe_range(minimum, maximum)}")
    choices = spec.metadata.get("choices")
    if choices and value not in choices:
        raise ValueError(f"{spec.name}={value!r} is not known; use one of {', '.join(choices)}")


def _describe_range(minimum: float | None, maximum: float | None) -> str:
    if minimum is None:
        return f"at most {maximum}"
    return f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """The types that a union allows, or the one type; generic types without their arguments."""
    parts = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    return tuple(typing.get_origin(part) or part for part in parts)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (types.UnionType, typing.Union)


def _allows(annotation: Any, wanted: type) -> bool:
    return wanted in _alternatives(annotation)


def _has_type(value: Any, annotation: Any) -> bool:
    if type(value) is list:
        return _allows(annotation, list) and all(isinstance(item, str) for item in value)
    return _allows(annotation, type(value))


def _describe_type(annotation: Any) -> str:
    return " or ".join(TYPE_NAMES[part] for part in _alternatives(annotation))


def _read_value(name: str, value: Any, annotation: Any) -> Any:
    """Read a string as the type of its field; other values stay as they are."""
    if not isinstance(value, str) or _allows(annotation, str):
        return value
    if value.lower() == "none" and _allows(annotation, type(None)):
        return None
    if _allows(annotation, list):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(f"{name}={value!r} must be {_describe_type(annotation)}") from None
