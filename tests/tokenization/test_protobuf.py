"""The reader of protobuf messages, on messages written by hand."""

import pytest

from albert_torch.tokenization.protobuf import read_fields


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"", []),
        (b"\x08\x05", [(1, 5)]),
        (b"\x08\xac\x02", [(1, 300)]),  # 300 = 0b10_0101100 takes two bytes
        (b"\x12\x02hi\x1d\x00\x00\x80\x3f", [(2, b"hi"), (3, b"\x00\x00\x80\x3f")]),
        (b"\x11" + bytes(8), [(2, bytes(8))]),
        (b"\x98\x02\x01", [(35, 1)]),  # the key takes two bytes
    ],
)
def test_fields_of_each_wire_type(data: bytes, fields: list[tuple[int, object]]) -> None:
    """Catches: bits of a number in another order, a size that is wrong by one."""
    assert list(read_fields(data)) == fields


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08", "it ends in the middle of a number"),
        (b"\x08\xff\xff", "it ends in the middle of a number"),
        (b"\xff" * 40, "no protobuf number starts at byte 0"),
        (b"\x12\x05hi", "it ends in the middle of a field"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "it ends in the middle of a field"),
        (b"\x1d\x00\x00", "it ends in the middle of a field"),
        (b"\x0f", "no protobuf field starts before byte 1"),
    ],
)
def test_damaged_messages_are_refused(data: bytes, message: str) -> None:
    """Catches: an IndexError, an endless loop, gigabytes reserved because a size says so."""
    with pytest.raises(ValueError, match=message):
        list(read_fields(data))
