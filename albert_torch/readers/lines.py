"""Opening a file or the standard input, and reading its lines as UTF-8."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

Row = dict[str, Any]
"""One row of a table, by the names of its columns."""

NumberedRows = Iterator[tuple[int, Row]]
"""Rows with the number of their line, or of the row where a format has no lines."""

TableSource = str | os.PathLike[str]
"""The path of a file, or "-" for the standard input."""

STDIN = "-"


def source_name(source: TableSource) -> str:
    """Return what error messages call a file."""
    return "standard input" if os.fspath(source) == STDIN else os.fspath(source)


def open_binary(source: TableSource) -> contextlib.AbstractContextManager[BinaryIO]:
    """Open a file for reading bytes; the standard input is not closed afterwards."""
    if os.fspath(source) == STDIN:
        return contextlib.nullcontext(sys.stdin.buffer)
    return open(source, "rb")


def read_lines(source: TableSource) -> Iterator[str]:
    """Yield the lines of a file with their line ends, without a byte-order mark.

    Only a line feed ends a line. Bytes are decoded line by line, so that an error can name the
    line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not UTF-8.
    """
    with open_binary(source) as file:
        for number, encoded in enumerate(file, 1):
            try:
                line = encoded.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{source_name(source)}, line {number} is not UTF-8 "
                    f"(byte {encoded[error.start]:#04x}: {error.reason}); convert the file to UTF-8"
                ) from None
            yield line.removeprefix("\ufeff") if number == 1 else line


def missing_column(where: str, column: str, present: Iterable[str]) -> str:
    """Return the error message for a column that a row or table does not have."""
    return f"{where} has no column {column!r}; the columns are {', '.join(map(str, present))}"
