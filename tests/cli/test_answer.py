"""`albert-torch answer`: questions and contexts from every place, output formats, and mistakes."""

import csv
import io
import json
from pathlib import Path

import pytest
from helpers.word_models import CommandLine

from albert_torch import Encoder

CONTEXT = "the captain stood on the deck of the ship . a ship on the sea ."


@pytest.fixture
def context_file(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(CONTEXT)
    return path


def test_the_answer_stands_where_it_says(cli: CommandLine, reader: str, context_file: Path) -> None:
    """Catches: offsets into another text, a score of another answer."""
    out = cli.output("answer", "the captain stood", context_file, "--model", reader)
    result = json.loads(out)
    assert list(result) == ["question", "answer", "score", "start", "end"]
    want = Encoder.from_pretrained(reader).answer("the captain stood", CONTEXT)
    assert result["answer"] == want.text == CONTEXT[result["start"] : result["end"]]
    assert result["score"] == pytest.approx(want.score, abs=1e-6)
    text = cli.output("answer", "the captain stood", CONTEXT, "--model", reader, "--format", "text")
    assert text == f"{want.text}\n{want.score:.2%}, characters {want.start} to {want.end}\n"


def test_context_from_standard_input(cli: CommandLine, reader: str, context_file: Path) -> None:
    """Catches: a context that is cut at its first line."""
    lines = CONTEXT.replace(" . ", " .\n")
    context_file.write_text(lines)
    want = cli.output("answer", "the captain stood", context_file, "--model", reader)
    assert cli.output("answer", "the captain stood", "-", "--model", reader, stdin=lines) == want


def test_many_questions_about_one_text(
    cli: CommandLine, reader: str, context_file: Path, tmp_path: Path
) -> None:
    """Catches: answers out of order, or the answers to the first question only."""
    questions = ["the captain", "a ship", "the sea"]
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(questions))
    out = cli.output("answer", path, context_file, "--model", reader)
    results = [json.loads(line) for line in out.splitlines()]
    assert [result["question"] for result in results] == questions
    encoder = Encoder.from_pretrained(reader)
    for result in results:
        assert result["answer"] == encoder.answer(result["question"], CONTEXT).text
    shown = cli.output("answer", path, context_file, "--model", reader, "--format", "text")
    assert [line for line in shown.splitlines() if line in questions] == questions
    piped = cli.output("answer", "-", context_file, "--model", reader, stdin=path.read_bytes())
    assert piped == out


def test_a_table_of_questions_and_contexts(cli: CommandLine, reader: str, tmp_path: Path) -> None:
    """Catches: a context of another row, a context in the output, a lost id."""
    rows = [
        {"id": 1, "ask": "the captain", "paragraph": "the captain stood ."},
        {"id": 2, "ask": "the sea", "paragraph": "a ship on the sea"},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = cli.output(
        "answer",
        path,
        "--column",
        "ask",
        "--context-column",
        "paragraph",
        "--id-column",
        "id",
        "--model",
        reader,
        "--format",
        "csv",
    )
    results = list(csv.DictReader(io.StringIO(out)))
    assert list(results[0]) == ["id", "ask", "answer", "score", "start", "end"]
    for row, result in zip(rows, results, strict=True):
        assert result["id"] == str(row["id"])
        start, end = int(result["start"]), int(result["end"])
        assert str(row["paragraph"])[start:end] == result["answer"]


def test_options_reach_the_encoder(cli: CommandLine, reader: str) -> None:
    """Catches: `--max-answer-length` or `--allow-no-answer` that changes nothing."""
    words = []
    for question in ("the captain", "a ship", "the sea", "on deck"):
        options = ["--model", reader, "--max-answer-length", "1"]
        answer = json.loads(cli.output("answer", question, CONTEXT, *options))["answer"]
        words.append(len(answer.split()))
    assert words == [1, 1, 1, 1]
    out = cli.output("answer", "sea", CONTEXT, "--model", reader, "--allow-no-answer")
    want = Encoder.from_pretrained(reader).answer("sea", CONTEXT, allow_no_answer=True)
    assert json.loads(out)["answer"] == want.text
    assert json.loads(out)["score"] == pytest.approx(want.score, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: QUESTION, --model"),
        (["who", "--model", "{reader}"], "give the text to read: CONTEXT, or --context-column"),
        (
            ["who", "book.txt", "--model", "{reader}"],
            "there is no file book.txt; if it is a text, give - as",
        ),
        (["-", "-", "--model", "{reader}"], "QUESTION and CONTEXT cannot both be standard input"),
        (
            ["who", "the sea", "--context-column", "c", "--model", "{reader}"],
            "--context-column does not apply to a question in quotes",
        ),
        (
            ["{table}", "the sea", "--context-column", "c", "--model", "{reader}"],
            "either CONTEXT (the sea) or --context-column, not both",
        ),
        (
            ["{table}", "--context-column", "c", "--model", "{reader}"],
            "has no column 'c'; the columns are question, context",
        ),
        (["who", "the sea", "--model", "{masked_lm}"], "AlbertForQuestionAnswering"),
    ],
)
def test_mistakes_exit_2_with_one_line(
    cli: CommandLine,
    reader: str,
    masked_lm: str,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    """Catches: a traceback, or an option that is silently ignored."""
    table = tmp_path / "questions.csv"
    table.write_text("question,context\nwho,the sea\n")
    filled = [
        argument.format(reader=reader, masked_lm=masked_lm, table=table) for argument in arguments
    ]
    assert message in cli.error("answer", *filled)
