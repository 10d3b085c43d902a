"""`albert-torch fill-mask`: the most probable tokens for each [MASK] of a text."""

from __future__ import annotations

import argparse

from albert_torch.cli.inputs import Record, add_input_arguments, read_records
from albert_torch.cli.options import NANO, add_hub_arguments, add_model_arguments, load_encoder
from albert_torch.cli.results import (
    Result,
    add_output_arguments,
    check_output_options,
    open_results,
    rounded,
)

SUMMARY = "Show the most probable words for each [MASK] of a text."
EXAMPLES = """\
examples:
  albert-torch fill-mask "the captain stood on the [MASK] of the ship"
  albert-torch fill-mask "the [MASK] of [MASK]" --top-k 3 --model albert/albert-base-v2
  albert-torch fill-mask sentences.txt --format csv --output words.csv
  echo "it was a dark and stormy [MASK]" | albert-torch fill-mask - --format jsonl

output formats (in the order of the input):
  text            mask 1   42.10%  deck
  jsonl           {"text": "...", "masks": [[{"token": "deck", "score": 0.421}, ...]]}
  csv             text,mask,rank,token,score: a row for each token

The default model comes with the package and is small; it needs no network.
"""

Candidates = list[tuple[str, float]]  # tokens and their probabilities


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch fill-mask`."""
    add_input_arguments(parser)
    add_output_arguments(parser)
    add_model_arguments(parser, default=NANO)
    add_hub_arguments(parser)
    parser.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="how many words to show for each mask"
    )


def run(args: argparse.Namespace) -> int:
    """Write the most probable tokens for each mask of each text."""
    if args.top_k < 1:
        raise ValueError(f"--top-k {args.top_k}: give a number above 0")
    check_output_options(args, ("masks", "mask", "rank", "token", "score"))
    records = read_records(args)
    encoder = load_encoder(args)
    with open_results(args) as write:
        for record in records:
            masks = [
                [(token.lstrip("▁"), rounded(score)) for token, score in candidates]
                for candidates in encoder.fill_mask(record.text, args.top_k)
            ]
            write(_result(record, masks))
    return 0


def _result(record: Record, masks: list[Candidates]) -> Result:
    lines = [
        f"mask {number}  {score:7.2%}  {token}"
        for number, candidates in enumerate(masks, 1)
        for token, score in candidates
    ]
    rows = [
        {**record.columns, "mask": number, "rank": rank, "token": token, "score": score}
        for number, candidates in enumerate(masks, 1)
        for rank, (token, score) in enumerate(candidates, 1)
    ]
    objects = [
        [{"token": token, "score": score} for token, score in candidates] for candidates in masks
    ]
    return Result("\n".join(lines), {**record.columns, "masks": objects}, rows)
