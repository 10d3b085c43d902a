"""`albert-torch answer`: answers to questions, found in a text."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from albert_torch.cli.inputs import (
    ID_COLUMN,
    PIPE_IT,
    InputOption,
    Record,
    add_table_arguments,
    is_file_argument,
    read_table_records,
    refuse_table_options,
)
from albert_torch.cli.options import add_hub_arguments, add_model_arguments, load_encoder
from albert_torch.cli.parser import UsageError
from albert_torch.cli.results import (
    Result,
    add_output_arguments,
    check_output_options,
    open_results,
    rounded,
)
from albert_torch.readers import STDIN, read_document

if TYPE_CHECKING:
    from albert_torch.inference import Answer

SUMMARY = "Answer questions from a text of any length."
EXAMPLES = """\
examples:
  albert-torch answer "Who stood on the deck?" book.txt --model runs/squad1
  albert-torch answer "Who stood on the deck?" book.txt --model runs/squad2 \\
      --allow-no-answer
  albert-torch answer questions.txt book.txt --model runs/squad1 --format csv
  albert-torch answer questions.jsonl --context-column paragraph --model runs/squad1
  pdftotext x.pdf - | albert-torch answer "What was measured?" - --model runs/squad1

output formats (in the order of the questions):
  text            the captain
                  98.12%, characters 17 to 28
  jsonl           {"question": "Who ...?", "answer": "the captain", "score": 0.981204,
                   "start": 17, "end": 28}
  csv             question,answer,score,start,end

`start` and `end` count the characters of the context. An empty answer means that the text holds
none, which only happens with --allow-no-answer.
"""

QUESTION_COLUMN = InputOption("--column", "question", "the column that holds the questions")
CONTEXT_COLUMN = InputOption(
    "--context-column",
    None,
    "the column that holds a context for each question, in place of CONTEXT",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch answer`."""
    parser.add_argument(
        "question",
        metavar="QUESTION",
        help="a question in quotes; or a file: .txt (one question per line), .csv, .tsv, .jsonl, "
        ".json or .parquet; or - for standard input",
    )
    parser.add_argument(
        "context",
        nargs="?",
        metavar="CONTEXT",
        help="the text to read: a file, a text in quotes, or - for standard input",
    )
    parser.add_argument(
        "--allow-no-answer",
        action="store_true",
        help="also allow the answer that the text does not say (SQuAD 2.0)",
    )
    parser.add_argument(
        "--max-answer-length",
        type=int,
        default=30,
        metavar="TOKENS",
        help="the longest answer to consider",
    )
    group = parser.add_argument_group("input options")
    add_table_arguments(group, (QUESTION_COLUMN, CONTEXT_COLUMN, ID_COLUMN))
    add_output_arguments(parser)
    add_model_arguments(parser)
    add_hub_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer each question and write the answers."""
    check_output_options(args, ("answer", "score", "start", "end"))
    pairs = _questions_and_contexts(args)
    encoder = load_encoder(args)
    several = is_file_argument(args.question, PIPE_IT)
    with open_results(args) as write:
        for record, context in pairs:
            answer = encoder.answer(
                str(record.text),
                context,
                max_answer_length=args.max_answer_length,
                allow_no_answer=args.allow_no_answer,
            )
            write(_result(record, answer, several))
    return 0


def _questions_and_contexts(args: argparse.Namespace) -> Iterator[tuple[Record, str]]:
    """Yield each question with the text to read."""
    if not is_file_argument(args.question, PIPE_IT):
        refuse_table_options(args, "a question in quotes")
        return iter([(Record(args.question, {"question": args.question}), _context(args))])
    if args.context_column is not None and args.context is not None:
        raise UsageError(f"give either CONTEXT ({args.context}) or --context-column, not both")
    if args.context_column is not None:
        records = read_table_records(args.question, args, QUESTION_COLUMN, CONTEXT_COLUMN)
        return ((_without(record, args.context_column), record.text[1]) for record in records)
    if args.question == STDIN and args.context == STDIN:
        raise UsageError("QUESTION and CONTEXT cannot both be standard input")
    context = _context(args)
    records = read_table_records(args.question, args, QUESTION_COLUMN)
    return ((record, context) for record in records)


def _without(record: Record, column: str) -> Record:
    """Leave the context out of the result: it may be long."""
    columns = {name: value for name, value in record.columns.items() if name != column}
    return Record(record.text[0], columns)


def _context(args: argparse.Namespace) -> str:
    if args.context is None:
        raise UsageError("give the text to read: CONTEXT, or --context-column for a table")
    return (
        read_document(args.context)
        if is_file_argument(args.context, PIPE_IT)
        else str(args.context)
    )


def _result(record: Record, answer: Answer, several: bool) -> Result:
    score = rounded(answer.score)
    columns = {
        **record.columns,
        "answer": answer.text,
        "score": score,
        "start": answer.start,
        "end": answer.end,
    }
    where = f"characters {answer.start} to {answer.end}" if answer.text else "no answer in the text"
    lines = [answer.text] if answer.text else []
    lines = [*([record.line] if several else []), *lines, f"{score:.2%}, {where}"]
    return Result("\n".join(lines), columns, [columns])
