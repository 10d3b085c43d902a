"""Reading rows, texts and whole documents from files of any supported format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albert_torch.readers.cells import csv_records, rows_of_cells, tsv_records
from albert_torch.readers.json_rows import json_lines, json_list
from albert_torch.readers.lines import (
    STDIN,
    NumberedRows,
    Row,
    TableSource,
    missing_column,
    read_lines,
    source_name,
)
from albert_torch.readers.parquet import parquet_rows

FORMATS = ("txt", "tsv", "csv", "jsonl", "json", "parquet")
TEXT_COLUMN = "text"  # the only column of a .txt file


def read_table(
    source: TableSource,
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
    source: TableSource, column: str = TEXT_COLUMN, *, format: str | None = None
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


def read_document(source: TableSource) -> str:
    """Return the whole text of a UTF-8 file, without a byte-order mark.

    Every line end becomes a line feed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not UTF-8.
    """
    text = "".join(read_lines(source))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def table_format(source: TableSource, format: str | None = None) -> str:
    """Return the format of a table: `format` if it is given, otherwise that of the file's suffix.

    Raises:
        ValueError: The format is not one of `FORMATS`.
    """
    if format is None and os.fspath(source) == STDIN:
        return "txt"
    chosen = _suffix(source) if format is None else format
    if chosen not in FORMATS:
        given = (
            f"format={format!r}" if format is not None else f"the suffix of {source_name(source)}"
        )
        raise ValueError(f"{given} is not a table format; use one of {', '.join(FORMATS)}")
    return chosen


@dataclass
class _Table:
    """An open table: its rows, each with the number of its line or row in the file."""

    name: str
    format: str
    rows: NumberedRows
    unit: str = "line"  # what the numbers count

    def where(self, number: int) -> str:
        """The place of a row, for an error message."""
        return f"{self.name}, {self.unit} {number}"


def _open_table(
    source: TableSource,
    format: str | None,
    columns: Sequence[str] | None,
    header: Sequence[str] | None = None,
    skip_malformed: bool = False,
) -> _Table:
    name, chosen = source_name(source), table_format(source, format)
    if chosen == "parquet":
        return _Table(name, chosen, parquet_rows(source, columns), "row")
    if chosen == "json":
        text = "".join(read_lines(source))
        rows = json_list(name, text)
        if rows is not None:
            return _Table(name, chosen, rows, "row")
        return _Table(name, chosen, json_lines(name, text.split("\n")))
    lines = read_lines(source)
    if chosen == "jsonl":
        return _Table(name, chosen, json_lines(name, lines))
    if chosen == "txt":
        return _Table(name, chosen, _text_rows(lines))
    records = csv_records(name, lines) if chosen == "csv" else tsv_records(lines)
    return _Table(name, chosen, rows_of_cells(name, records, columns, header, skip_malformed))


def _text_rows(lines: Iterator[str]) -> NumberedRows:
    for number, line in enumerate(lines, 1):
        yield number, {TEXT_COLUMN: line.removesuffix("\n").removesuffix("\r")}


def _suffix(source: TableSource) -> str:
    return Path(source).suffix.lower().removeprefix(".")


def _value(row: Row, column: str, table: _Table, number: int) -> Any:
    if column not in row:
        raise ValueError(missing_column(table.where(number), column, row))
    return row[column]


def _has_lone_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which a JSON string can."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
