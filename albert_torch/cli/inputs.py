"""Input of the commands that run a model on text: an argument, a file, or standard input."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albert_torch.cli.parser import UsageError
from albert_torch.readers import FORMATS, STDIN, TEXT_COLUMN, read_table, table_format

PIPE_IT = "give - as the argument and the text as standard input"
INPUT_HELP = (
    "a text in quotes; or a file: .txt (one text per line), .csv, .tsv, .jsonl, .json or .parquet; "
    "or - for standard input"
)


@dataclass(frozen=True)
class Record:
    """A text or a pair of texts, and the columns of its row that are copied to the output."""

    text: str | tuple[str, str]
    columns: dict[str, Any]

    @property
    def line(self) -> str:
        """The text as it is shown to people; a tab separates the two of a pair."""
        return self.text if isinstance(self.text, str) else "\t".join(self.text)


@dataclass(frozen=True)
class InputOption:
    """An option that names a column: its destination, default and help."""

    name: str
    default: str | None
    help: str

    @property
    def destination(self) -> str:
        """The attribute of the parsed arguments."""
        return self.name.removeprefix("--").replace("-", "_")


COLUMN = InputOption("--column", TEXT_COLUMN, "the column of a table that holds the texts")
PAIR_COLUMN = InputOption(
    "--pair-column", None, "the column that holds the second texts, for a model of text pairs"
)
ID_COLUMN = InputOption("--id-column", None, "a column to copy to the output, such as an id")


def add_input_arguments(
    parser: argparse.ArgumentParser, columns: tuple[InputOption, ...] = (COLUMN, ID_COLUMN)
) -> None:
    """Add the positional argument INPUT, `--text`, and the options that say how to read a table."""
    parser.add_argument("input", nargs="?", metavar="INPUT", help=INPUT_HELP)
    group = parser.add_argument_group("input options")
    group.add_argument(
        "--text",
        action="append",
        metavar="TEXT",
        help="a text in place of INPUT, never taken for the name of a file; may be repeated",
    )
    add_table_arguments(group, columns)


def add_table_arguments(
    group: argparse._ArgumentGroup, columns: tuple[InputOption, ...] = (COLUMN, ID_COLUMN)
) -> None:
    """Add the options that say how to read a table."""
    for option in columns:
        default = f" (default: {option.default})" if option.default else ""
        group.add_argument(option.name, metavar="NAME", help=option.help + default)
    group.add_argument(
        "--input-format",
        choices=FORMATS,
        help="format of the input (default: the file's suffix; txt for standard input)",
    )


def is_file_argument(value: str, remedy: str = "give it with --text") -> bool:
    """Return whether an argument is a file or standard input rather than a text.

    Args:
        value: The argument.
        remedy: What the error advises for a text that looks like the name of a file.

    Raises:
        FileNotFoundError: The argument is written like the name of a file that does not exist.
    """
    if value == STDIN or os.path.isfile(value):
        return True
    if os.path.isdir(value):
        raise FileNotFoundError(f"{value} is a directory, not a file; if it is a text, {remedy}")
    suffix = Path(value).suffix.lower().removeprefix(".")
    if len(value.split()) == 1 and (suffix in FORMATS or "/" in value or os.sep in value):
        raise FileNotFoundError(f"there is no file {value}; if it is a text, {remedy}")
    return False


def read_records(args: argparse.Namespace) -> Iterator[Record]:
    """Yield the texts that the options of `add_input_arguments` name, in order.

    Raises:
        UsageError: Nothing was given, or an option that does not apply to what was given.
        FileNotFoundError: The file does not exist.
        ValueError: The file cannot be read, or lacks a column.
    """
    if args.text is not None and args.input is not None:
        raise UsageError(f"give either INPUT ({args.input}) or --text, not both")
    if args.text is not None:
        refuse_table_options(args, "a text given with --text")
        return (Record(text, {"text": text}) for text in args.text)
    if args.input is None:
        raise UsageError("give a text, a file, or - for standard input")
    if not is_file_argument(args.input):
        refuse_table_options(args, "a text")
        return iter([Record(args.input, {"text": args.input})])
    return read_table_records(args.input, args)


def read_table_records(
    source: str,
    args: argparse.Namespace,
    first: InputOption = COLUMN,
    second: InputOption = PAIR_COLUMN,
) -> Iterator[Record]:
    """Yield the records of a file or of standard input.

    Args:
        source: The path, or "-".
        args: The parsed options of `add_table_arguments`.
        first: The option that names the column of the texts.
        second: The option that names the column of the second texts, if there are any.

    Raises:
        UsageError: A column is named, and the input is plain text.
        ValueError: The file cannot be read, or lacks a column.
    """
    suffix = Path(source).suffix.lower().removeprefix(".")
    is_plain = args.input_format is None and source != STDIN and suffix not in FORMATS
    chosen = "txt" if is_plain else table_format(source, args.input_format)
    if chosen == "txt":
        refuse_columns(args, "plain text, which has no columns")
        texts = (str(row[TEXT_COLUMN]) for row in read_table(source, format="txt"))
        name = first.default or TEXT_COLUMN
        return (Record(text, {name: text}) for text in texts)
    names = {option: getattr(args, option.destination, None) for option in (first, second)}
    names[first] = names[first] or first.default
    text_columns = {option: name for option, name in names.items() if name is not None}
    kept = [*([args.id_column] if args.id_column else []), *text_columns.values()]
    rows = read_table(source, kept, format=chosen)
    return _records(rows, source, text_columns)


def _records(
    rows: Iterator[dict[str, Any]], source: str, text_columns: dict[InputOption, str]
) -> Iterator[Record]:
    for number, row in enumerate(rows, 1):
        for option, name in text_columns.items():
            if not isinstance(row[name], str):
                raise ValueError(
                    f"{source}, row {number}: the column {name!r} holds "
                    f"{type(row[name]).__name__}, not text; name another column with {option.name}"
                )
        texts = [row[name] for name in text_columns.values()]
        yield Record(texts[0] if len(texts) == 1 else (texts[0], texts[1]), row)


def refuse_table_options(args: argparse.Namespace, what: str) -> None:
    """Raise `UsageError` for an option that only applies to a table."""
    if args.input_format is not None:
        raise UsageError(f"--input-format does not apply to {what}")
    refuse_columns(args, what)


def refuse_columns(args: argparse.Namespace, what: str) -> None:
    """Raise `UsageError` for an option that names a column."""
    for name, value in vars(args).items():
        names_column = name == "column" or name.endswith("_column")
        if names_column and value is not None:
            raise UsageError(f"--{name.replace('_', '-')} does not apply to {what}")
