"""Output of the commands that run a model on text: for people, as JSON lines, or as CSV."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from albert_torch.cli.options import check_writable
from albert_torch.cli.parser import UsageError
from albert_torch.files import atomic_write

OUTPUT_FORMATS = ("text", "jsonl", "csv")
FORMAT_OF_SUFFIX = {".txt": "text", ".jsonl": "jsonl", ".csv": "csv"}


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--output` and `--format`."""
    group = parser.add_argument_group("output options")
    group.add_argument(
        "--output",
        metavar="FILE",
        help="write to this file instead of standard output; it appears when it is complete",
    )
    group.add_argument(
        "--format",
        choices=OUTPUT_FORMATS,
        help="text (for people), jsonl (one JSON object per line) or csv (default: the suffix of "
        "--output; otherwise text on a terminal and jsonl in a pipe)",
    )


def output_format(args: argparse.Namespace) -> str:
    """Return the format to write.

    Raises:
        UsageError: The suffix of `--output` names no format, and `--format` was not given.
    """
    if args.format is not None:
        return str(args.format)
    if args.output is not None:
        suffix = Path(args.output).suffix.lower()
        if suffix not in FORMAT_OF_SUFFIX:
            raise UsageError(
                f"--output {args.output}: the suffix must be {', '.join(FORMAT_OF_SUFFIX)}, "
                "or give --format"
            )
        return FORMAT_OF_SUFFIX[suffix]
    return "text" if sys.stdout.isatty() else "jsonl"


def check_output_options(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Check what is wrong with the output before the model is loaded.

    Args:
        args: The parsed options of `add_output_arguments` and `add_table_arguments`.
        names: The columns that the command adds to those of the input.

    Raises:
        UsageError: The format is unknown, or a column of the input has the name of a result.
        FileNotFoundError: The directory of the output does not exist.
    """
    output_format(args)
    check_writable(args.output, "--output")
    for option, value in vars(args).items():
        if option.endswith("column") and value in names:
            raise UsageError(
                f"--{option.replace('_', '-')} {value}: the results have a column of that name; "
                "rename the column of the input"
            )


@dataclass(frozen=True)
class Result:
    """One result in each of the formats; all rows of all results have the same columns."""

    text: str
    json_object: dict[str, Any]
    csv_rows: list[dict[str, Any]]


@contextlib.contextmanager
def open_results(args: argparse.Namespace) -> Iterator[Callable[[Result], None]]:
    """Yield the function that writes a result as `--output` and `--format` say.

    A file is replaced when all results are written, so that an interrupted run leaves no half of
    one.
    """
    format = output_format(args)
    if args.output is None:
        yield _writer(sys.stdout, format)
    elif os.path.exists(args.output) and not os.path.isfile(args.output):  # a device or a pipe
        with open(args.output, "w", encoding="utf-8", newline="") as file:
            yield _writer(file, format)
    else:
        with (
            atomic_write(args.output) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as file,
        ):
            yield _writer(file, format)


def _writer(file: TextIO, format: str) -> Callable[[Result], None]:
    def write_text(result: Result) -> None:
        file.write(f"{result.text}\n")

    def write_json(result: Result) -> None:
        file.write(json.dumps(result.json_object, ensure_ascii=False) + "\n")

    return {"text": write_text, "jsonl": write_json, "csv": _csv_writer(file)}[format]


def _csv_writer(file: TextIO) -> Callable[[Result], None]:
    table: csv.DictWriter[str] | None = None

    def write_rows(result: Result) -> None:
        nonlocal table
        for row in result.csv_rows:
            if table is None:  # the columns are those of the first row
                table = csv.DictWriter(file, list(row), lineterminator="\n")
                table.writeheader()
            table.writerow(row)

    return write_rows


def rounded(score: float) -> float:
    """Return a probability as it is written: with six decimals."""
    return round(score, 6)
