"""The lines of .tsv and .csv files as rows of named cells, as pandas reads them."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Iterator, Sequence

from albert_torch.readers.lines import NumberedRows, missing_column

logger = logging.getLogger(__name__)

NumberedRecords = Iterator[tuple[int, list[str]]]
"""The cells of lines, with the number of the line."""

MAX_CELL_CHARACTERS = 2**31 - 1  # instead of the 131,072 characters that the csv module allows
MAX_MALFORMED_SHARE = 0.001  # of the lines of a table that `skip_malformed` may leave out


def _universal_lines(lines: Iterable[str]) -> Iterator[str]:
    """Split lines also at a lone carriage return, as pandas does; line ends are kept."""
    for line in lines:
        if "\r" in line:
            yield from io.StringIO(line, newline="")
        else:
            yield line


def tsv_records(lines: Iterable[str]) -> NumberedRecords:
    """Yield the cells of the lines of a .tsv file; a quotation mark is an ordinary character."""
    for number, line in enumerate(_universal_lines(lines), 1):
        text = line.rstrip("\r\n")
        yield number, text.split("\t") if text else []


def csv_records(name: str, lines: Iterable[str]) -> NumberedRecords:
    """Yield the cells of the records of a .csv file, each with the number of its first line.

    Raises:
        ValueError: A record is not valid CSV, for example because a quotation mark is not closed.
    """
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


def rows_of_cells(
    name: str,
    records: NumberedRecords,
    columns: Sequence[str] | None,
    header: Sequence[str] | None,
    skip_malformed: bool,
) -> NumberedRows:
    """Yield the rows of records, whose cells are named after the header.

    Args:
        name: The name of the file, for error messages.
        records: The records; the first one is the header unless that is given.
        columns: Columns that must exist; None: none in particular.
        header: The column names of a file without a header.
        skip_malformed: Whether a few lines with too few or too many cells are left out.

    Raises:
        ValueError: A column is missing or named twice, or a line has too few or too many cells.
    """
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
            raise ValueError(missing_column(name, column, names))
