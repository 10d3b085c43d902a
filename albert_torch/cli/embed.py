"""`albert-torch embed`: a vector for each text."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from albert_torch.cli.inputs import (
    COLUMN,
    INPUT_HELP,
    PIPE_IT,
    add_table_arguments,
    is_file_argument,
    refuse_columns,
    refuse_table_options,
)
from albert_torch.cli.options import (
    NANO,
    add_hub_arguments,
    add_model_arguments,
    check_writable,
    load_encoder,
)
from albert_torch.cli.parser import UsageError
from albert_torch.readers import FORMATS, STDIN

POOLINGS = ("mean", "cls", "pooler", "max")
SUMMARY = "Write a vector for each text of a file."
EXAMPLES = """\
examples:
  albert-torch embed sentences.txt vectors.npy
  albert-torch embed papers.jsonl vectors.parquet --column abstract --dtype int8
  zcat texts.txt.gz | albert-torch embed - vectors.npy --model albert/albert-base-v2

The vectors are float32, in the order of the input; in Python, numpy.load("vectors.npy") reads them.
A run that was interrupted continues where it stopped when the same command is given again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch embed`."""
    parser.add_argument("input", metavar="INPUT", help=INPUT_HELP)
    parser.add_argument("output", metavar="OUTPUT", help="the file to write: .npy or .parquet")
    parser.add_argument(
        "--pooling",
        default="mean",
        choices=POOLINGS,
        help="what of the last hidden states stands for a text",
    )
    parser.add_argument("--normalize", action="store_true", help="scale vectors to length 1")
    add_table_arguments(parser.add_argument_group("input options"), (COLUMN,))
    add_model_arguments(parser, default=NANO)
    add_hub_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write the vectors, and say how many there are."""
    check_writable(args.output, "OUTPUT")
    with _as_file(args) as source:
        from albert_torch.inference.encode_file import encode_file

        encoder = load_encoder(args, pooling=args.pooling)
        count = encode_file(
            encoder,
            source,
            Path(args.output),
            column=args.column or str(COLUMN.default),
            normalize_embeddings=args.normalize,
            show_progress_bar=not args.quiet,
        )
    print(f"{count} vectors of {encoder.config.hidden_size} numbers in {args.output}")
    return 0


@contextmanager
def _as_file(args: argparse.Namespace) -> Iterator[Path]:
    """Yield the input as a file, because `embed` reads it twice: once to see if it has changed."""
    source = str(args.input)
    if source != STDIN and is_file_argument(source, PIPE_IT):
        if args.input_format is not None:
            raise UsageError("--input-format applies to standard input only; rename the file")
        if Path(source).suffix.lower().removeprefix(".") not in set(FORMATS) - {"txt"}:
            refuse_columns(args, "plain text, which has no columns")
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as directory:
        if source == STDIN:
            if args.input_format in (None, "txt"):
                refuse_columns(args, "plain text, which has no columns")
            path = Path(directory) / f"standard-input.{args.input_format or 'txt'}"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        else:
            refuse_table_options(args, "a text")
            path = Path(directory) / "text.jsonl"
            path.write_text(json.dumps({COLUMN.default: source}) + "\n", encoding="utf-8")
        yield path
