"""`albert-torch classify`: labels and probabilities of texts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from albert_torch.cli.inputs import (
    COLUMN,
    ID_COLUMN,
    PAIR_COLUMN,
    Record,
    add_input_arguments,
    read_records,
)
from albert_torch.cli.options import (
    add_hub_arguments,
    add_model_arguments,
    batch_options,
    load_encoder,
)
from albert_torch.cli.results import (
    Result,
    add_output_arguments,
    check_output_options,
    open_results,
    rounded,
)

if TYPE_CHECKING:
    from albert_torch.inference import Encoder

SUMMARY = "Classify texts or pairs of texts: every label and its probability."
EXAMPLES = """\
examples:
  albert-torch classify "a warm and funny film" --model runs/sst2
  albert-torch classify reviews.csv --column review --id-column id --model runs/sst2 \\
      --output labels.csv
  albert-torch classify pairs.tsv --column premise --pair-column hypothesis \\
      --model runs/mnli
  zcat reviews.txt.gz | albert-torch classify - --model runs/sst2 --dtype int8 | head

input formats:
  .txt            one text per line
  .csv, .tsv      the first line names the columns, and --column the one to classify
  .jsonl, .json   objects: {"id": 7, "review": "a warm and funny film"}
  .parquet        needs pyarrow

output formats (in the order of the input):
  text            positive   98.12%  a warm and funny film
  jsonl           {"text": "a warm and funny film", "label": "positive",
                   "score": 0.981204, "scores": {"negative": 0.018796, ...}}
  csv             text,label,score,score_negative,score_positive
                  a warm and funny film,positive,0.981204,0.018796,0.981204

For a regression model the score is the predicted number, and there is no label.
"""
RECORDS_AT_A_TIME = 2048  # a few of the encoder's windows: bounded memory, and output early


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch classify`."""
    add_input_arguments(parser, (COLUMN, PAIR_COLUMN, ID_COLUMN))
    add_output_arguments(parser)
    add_model_arguments(parser)
    add_hub_arguments(parser)
    parser.add_argument(
        "--batch-tokens",
        type=int,
        metavar="N",
        help="tokens to compute at a time (default: what is fastest on a CPU)",
    )


def run(args: argparse.Namespace) -> int:
    """Classify the texts and write a result for each."""
    check_output_options(args, ("label", "score", "scores"))
    records = read_records(args)
    options = batch_options(args)
    encoder = load_encoder(args)
    with open_results(args) as write:
        for record, scores in _classified(encoder, records, options):
            write(_result(record, scores, encoder))
    return 0


def _classified(
    encoder: Encoder, records: Iterator[Record], options: dict[str, int]
) -> Iterator[tuple[Record, dict[str, float]]]:
    """Classify a few windows of texts at a time."""
    while batch := list(islice(records, RECORDS_AT_A_TIME)):
        scores = encoder.classify([record.text for record in batch], **options)
        yield from zip(batch, scores, strict=True)


def _result(record: Record, scores: dict[str, float], encoder: Encoder) -> Result:
    values = {label: rounded(score) for label, score in scores.items()}
    best = max(values, key=lambda label: values[label])
    if encoder.config.problem_type == "regression" or len(values) == 1:
        columns = {**record.columns, "score": values[best]}
        return Result(f"{values[best]:10.4f}  {record.line}", columns, [columns])
    by_number = sorted((encoder.config.id2label or {}).items())
    names = [name for _, name in by_number if name in values] or sorted(values)
    width = max(map(len, names))
    columns = {**record.columns, "label": best, "score": values[best]}
    return Result(
        f"{best:{width}}  {values[best]:7.2%}  {record.line}",
        {**columns, "scores": {name: values[name] for name in names}},
        [{**columns, **{f"score_{name}": values[name] for name in names}}],
    )
