"""Readers for .txt, .tsv, .csv, .jsonl, .json and .parquet files, the only ones of the package.

Files are UTF-8, with or without a byte-order mark. Every error names the file and the line (or the
row, where a format has no lines). All formats except .json are read as a stream, so a file may be
larger than memory.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Source = str | os.PathLike[str]

STDIN = "-"
FORMATS = ("txt", "tsv", "csv", "jsonl", "json", "parquet")
TEXT_COLUMN = "text"  # the only column of a .txt file
MAX_CELL_CHARACTERS = 2**31 - 1  # instead of the 131,072 characters that the csv module allows
MAX_MALFORMED_SHARE = 0.001  # of the lines of a table that `skip_malformed` may leave out


def read_table(
    source: Source,
    columns: Sequence[str] | None = None,
    *,
    format: str | None = None,
    header: Sequence[str] | None = None,
    skip_malformed: bool = False,
) -> Iterator[Row]:
    """Yield the rows of a table, each a dict from column name to value.

    - ``txt``: every line, also an empty one, is a row with the single column ``text``.
    - ``csv``: as the csv module and pandas read it. Blank lines are skipped.
    - ``tsv``: as the GLUE files: cells are separated by tabs, and a quotation mark is an ordinary
      character. Blank lines are skipped.
    - ``jsonl``: one JSON object per line. Blank lines are skipped.
    - ``json``: a list of objects, or JSON lines.
    - ``parquet``: read with pyarrow, in batches.

    Args:
        source: The path of the file, or "-" for the standard input.
        columns: The columns to return; None returns all of them.
        format: One of `FORMATS`. None takes it from the file's suffix, and `txt` for the standard
            input.
        header: The column names of a .tsv or .csv file whose first line does not hold them.
        skip_malformed: Leave out lines of a .tsv or .csv file that have too few or too many cells,
            with one warning, as long as they are at most 0.1 % of the lines (the GLUE files have a
            few). More of them are an error, which is raised at the end of the file.

    Yields:
        One dict per row. The values of .txt, .tsv and .csv files are strings; those of the other
        formats have the types of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The format is unknown, the file cannot be read as that format, or a column is
            missing.
        ImportError: The file is Parquet and pyarrow is not installed.
    """
    table = _open_table(source, format, columns, header, skip_malformed)
    for number, row in table.rows:
        if columns is None:
            yield row
        else:
            yield {name: _value(row, name, table, number) for name in columns}


def read_texts(
    source: Source, column: str = TEXT_COLUMN, *, format: str | None = None
) -> Iterator[str]:
    """Yield the texts of a file: those of one column of a table, or the lines of any other file.

    Args:
        source: The path of the file, or "-" for the standard input. A file whose suffix is not one
            of the table formats is read as plain text, one text per line.
        column: The column that holds the texts; unused for plain text.
        format: One of `FORMATS`. None takes it from the file's suffix.

    Yields:
        One string per row, in order. A null in a table is an empty text.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As `read_table`, or a value of the column is not text.
    """
    if format is None and _suffix(source) not in FORMATS:
        format = "txt"
    table = _open_table(source, format, None if format == "txt" else [column])
    name = TEXT_COLUMN if table.format == "txt" else column
    for number, row in table.rows:
        value = _value(row, name, table, number)
        text = "" if value is None else value
        if not isinstance(text, str):
            raise ValueError(
                f"{table.where(number)}: the column {column!r} holds a value of type "
                f"{type(text).__name__}, not text; name the column that holds the texts"
            )
        if not text.isascii() and _has_lone_surrogate(text):
            raise ValueError(
                f"{table.where(number)} holds a lone surrogate (\\ud800 to \\udfff), which "
                "is not a character; remove it"
            )
        yield text


def read_document(source: Source) -> str:
    """Return the whole text of a UTF-8 file, without a byte-order mark.

    Every line end becomes a line feed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not UTF-8.
    """
    text = "".join(_lines(source))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def table_format(source: Source, format: str | None = None) -> str:
    """Return the format of a table: `format` if it is given, otherwise that of the file's suffix.

    Raises:
        ValueError: The format is not one of `FORMATS`.
    """
    if format is None and os.fspath(source) == STDIN:
        return "txt"
    chosen = _suffix(source) if format is None else format
    if chosen not in FORMATS:
        given = f"format={format!r}" if format is not None else f"the suffix of {_name(source)}"
        raise ValueError(f"{given} is not a table format; use one of {', '.join(FORMATS)}")
    return chosen


@dataclass
class _Table:
    """An open table: its rows, each with the number of its line or row in the file."""

    name: str
    format: str
    rows: Iterator[tuple[int, Row]]
    unit: str = "line"  # what the numbers count

    def where(self, number: int) -> str:
        """The place of a row, for an error message."""
        return f"{self.name}, {self.unit} {number}"


def _open_table(
    source: Source,
    format: str | None,
    columns: Sequence[str] | None,
    header: Sequence[str] | None = None,
    skip_malformed: bool = False,
) -> _Table:
    name, chosen = _name(source), table_format(source, format)
    if chosen == "parquet":
        return _Table(name, chosen, _parquet_rows(source, columns), "row")
    if chosen == "json":
        return _json_table(name, "".join(_lines(source)))
    lines = _lines(source)
    if chosen == "jsonl":
        return _Table(name, chosen, _json_lines(name, lines))
    if chosen == "txt":
        texts = (line.removesuffix("\n").removesuffix("\r") for line in lines)
        return _Table(name, chosen, enumerate(({TEXT_COLUMN: text} for text in texts), 1))
    records = _csv_records(name, lines) if chosen == "csv" else _tsv_records(lines)
    return _Table(name, chosen, _rows_of_cells(name, records, columns, header, skip_malformed))


def _name(source: Source) -> str:
    return "standard input" if os.fspath(source) == STDIN else os.fspath(source)


def _suffix(source: Source) -> str:
    return Path(source).suffix.lower().removeprefix(".")


def _open_binary(source: Source) -> contextlib.AbstractContextManager[BinaryIO]:
    if os.fspath(source) == STDIN:
        return contextlib.nullcontext(sys.stdin.buffer)
    return open(source, "rb")


def _lines(source: Source) -> Iterator[str]:
    """The lines of a file with their line ends; only a line feed ends a line.

    Bytes are decoded line by line, so that an error can name the line.
    """
    with _open_binary(source) as file:
        for number, encoded in enumerate(file, 1):
            try:
                line = encoded.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{_name(source)}, line {number} is not UTF-8 "
                    f"(byte {encoded[error.start]:#04x}: {error.reason}); convert the file to UTF-8"
                ) from None
            yield line.removeprefix("\ufeff") if number == 1 else line


def _universal_lines(lines: Iterable[str]) -> Iterator[str]:
    """Split lines also at a lone carriage return, as pandas does; line ends are kept."""
    for line in lines:
        if "\r" in line:
            yield from io.StringIO(line, newline="")
        else:
            yield line


# ---- .tsv and .csv: records are (line number, cells) ----


def _tsv_records(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_universal_lines(lines), 1):
        text = line.rstrip("\r\n")
        yield number, text.split("\t") if text else []


def _csv_records(name: str, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    at_end = False

    def lines_and_a_blank_one() -> Iterator[str]:
        nonlocal at_end
        yield from _universal_lines(lines)
        at_end = True
        yield "\n"  # an empty record, unless a quotation mark is open

    reader = csv.reader(lines_and_a_blank_one())
    while True:
        first_line = reader.line_num + 1
        previous_limit = csv.field_size_limit(MAX_CELL_CHARACTERS)
        try:
            cells = next(reader)
        except csv.Error as error:
            raise ValueError(f"{name}, line {first_line} is not valid CSV ({error})") from None
        finally:
            csv.field_size_limit(previous_limit)
        if at_end and cells:
            raise ValueError(
                f"{name}, line {first_line} is not valid CSV (a quotation mark is not closed); "
                'close it, and write a quotation mark inside a cell as ""'
            )
        if at_end:
            return
        yield first_line, cells


def _rows_of_cells(
    name: str,
    records: Iterable[tuple[int, list[str]]],
    columns: Sequence[str] | None,
    header: Sequence[str] | None,
    skip_malformed: bool,
) -> Iterator[tuple[int, Row]]:
    """Name the cells of each record; the first record is the header unless that is given."""
    records = ((number, cells) for number, cells in records if not _is_blank(cells))
    names = list(header) if header else next(records, (1, []))[1]
    _check_header(name, names, columns)
    first_malformed = ""
    malformed = count = 0
    for number, cells in records:
        count += 1
        if len(cells) == len(names):
            yield number, dict(zip(names, cells, strict=True))
            continue
        malformed += 1
        first_malformed = first_malformed or (
            f"{name}, line {number} has {len(cells)} cells, not {len(names)} ({', '.join(names)})"
        )
        if not skip_malformed:
            raise ValueError(first_malformed)
    if malformed > MAX_MALFORMED_SHARE * count:
        raise ValueError(first_malformed)
    if malformed:
        logger.warning(
            "left out %d lines with too few or too many cells; the first one: %s",
            malformed,
            first_malformed,
        )


def _is_blank(cells: Sequence[str]) -> bool:
    """Whether a line is empty or holds only spaces; pandas skips such lines, too."""
    return not cells or (len(cells) == 1 and cells[0] != "" and not cells[0].strip(" \t"))


def _check_header(name: str, names: Sequence[str], columns: Sequence[str] | None) -> None:
    for column in names:
        if column and names.count(column) > 1:
            raise ValueError(f"the header of {name} has the column {column!r} twice; rename one")
    for column in columns or ():
        if names and column not in names:  # an empty file has no rows and no columns
            raise ValueError(_missing_column(name, column, names))


# ---- .json and .jsonl ----


def _json_table(name: str, text: str) -> _Table:
    """The rows of a JSON file: a list of objects, or one object per line."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 1 and _is_object(lines[0]):
            return _Table(name, "json", _json_lines(name, text.split("\n")))
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
    return _Table(name, "json", enumerate(rows, 1), "row")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _json_lines(name: str, lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
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


# ---- .parquet ----


def _parquet_rows(source: Source, columns: Sequence[str] | None) -> Iterator[tuple[int, Row]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ImportError(
            "reading Parquet needs pyarrow: pip install 'albert-torch[inference]'"
        ) from None
    name = _name(source)
    with _open_binary(source) as file:
        seekable = file if file.seekable() else io.BytesIO(file.read())
        try:
            table = parquet.ParquetFile(seekable)
            present = table.schema_arrow.names
            for column in columns or ():
                if column not in present:
                    raise ValueError(_missing_column(name, column, present))
            number = 0
            for batch in table.iter_batches(columns=None if columns is None else list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except pyarrow.ArrowException as error:
            raise ValueError(f"{name} is not a readable Parquet file ({error})") from None


# ---- columns ----


def _value(row: Row, column: str, table: _Table, number: int) -> Any:
    if column not in row:
        raise ValueError(_missing_column(table.where(number), column, row))
    return row[column]


def _missing_column(where: str, column: str, present: Iterable[str]) -> str:
    return f"{where} has no column {column!r}; the columns are {', '.join(map(str, present))}"


def _has_lone_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which a JSON string can."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
