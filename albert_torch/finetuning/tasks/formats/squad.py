"""SQuAD files (Rajpurkar et al. 2016, 2018): questions about a text and where their answers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albert_torch.files import read_json
from albert_torch.finetuning.splits import select_columns
from albert_torch.readers import Row

SQUAD_COLUMNS = ("id", "question", "context", "answers")


@dataclass
class SquadQuestion:
    """A question about a text.

    Attributes:
        key: The identifier of the question.
        question: The question.
        context: The text that holds the answer.
        answers: The right answers: the text and the position of its first character in `context`.
            A question without an answer has none.
    """

    key: str
    question: str
    context: str
    answers: list[tuple[str, int]]


def read_squad(path: Path) -> list[SquadQuestion]:
    """Return the questions of a SQuAD file, version 1.1 or 2.0.

    Raises:
        ValueError: The file is not JSON, or has another structure.
    """
    try:
        return [
            SquadQuestion(
                entry["id"],
                entry["question"],
                paragraph["context"],
                [(answer["text"], answer["answer_start"]) for answer in entry["answers"]],
            )
            for article in read_json(path)["data"]
            for paragraph in article["paragraphs"]
            for entry in paragraph["qas"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a SQuAD file (data, paragraphs, qas, answers): {error!r}"
        ) from None


def squad_questions(rows: Sequence[Row], where: str) -> list[SquadQuestion]:
    """Return the questions of rows with the columns of the Hub's data sets.

    `answers` is a dict with the lists `text` and `answer_start`.

    Raises:
        ValueError: A column is missing, or the answers have another form.
    """
    questions = []
    columns = select_columns(rows, where, SQUAD_COLUMNS)
    for number, (key, question, context, answers) in enumerate(columns, 1):
        places = _answer_places(answers, f"{where}, row {number}")
        questions.append(SquadQuestion(key, question, context, places))
    return questions


def _answer_places(answers: Any, where: str) -> list[tuple[str, int]]:
    try:
        return list(zip(answers["text"], answers["answer_start"], strict=True))
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{where}: answers must be an object with the lists text and answer_start, "
            f"not {answers!r}"
        ) from None
