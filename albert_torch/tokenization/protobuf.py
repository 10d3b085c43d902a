"""Reading of protobuf messages without the protobuf package, as far as a spiece.model needs it.

A message is a sequence of fields. Each field starts with a key, a number whose lowest three bits
are the wire type (how the value is stored) and whose other bits are the field's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Wire types.
_VARINT, _FIXED_64_BIT, _LENGTH_DELIMITED, _FIXED_32_BIT = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED_64_BIT: 8, _FIXED_32_BIT: 4}  # in bytes
_MAX_VARINT_BYTES = 10


def read_fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each field of a message.

    Args:
        data: The message.

    Yields:
        The field's number, and its value: an int if it is stored as a variable-length number;
        otherwise its bytes, which may be a text, a nested message or a number of fixed size.

    Raises:
        ValueError: `data` is not a protobuf message, or it is incomplete.
    """
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        number, wire_type = key >> 3, key & 0b111
        if wire_type == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, position = _read_varint(data, position)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ValueError(f"no protobuf field starts before byte {position}")
        if size > len(data) - position:
            raise ValueError("it ends in the middle of a field")
        yield number, data[position : position + size]
        position += size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the variable-length number at `position`, and the position after it.

    Each byte holds seven bits of the number, the lowest ones first. Its highest bit says whether
    another byte follows.
    """
    value = 0
    encoded = data[position : position + _MAX_VARINT_BYTES]
    for index, byte in enumerate(encoded):
        value |= (byte & 0b0111_1111) << 7 * index
        if byte < 0b1000_0000:
            return value, position + index + 1
    if len(encoded) < _MAX_VARINT_BYTES:
        raise ValueError("it ends in the middle of a number")
    raise ValueError(f"no protobuf number starts at byte {position}")
