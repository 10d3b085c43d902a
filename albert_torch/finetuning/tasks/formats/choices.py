"""The files of COPA, SWAG and RACE: questions with several options, one of which is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from albert_torch.files import read_json
from albert_torch.finetuning.splits import select_columns
from albert_torch.readers import Row

COPA_COLUMNS = ("premise", "choice1", "choice2", "question")
SWAG_COLUMNS = ("sent1", "sent2", "ending0", "ending1", "ending2", "ending3")
RACE_COLUMNS = ("article", "question", "options", "answer")
CONNECTIVES = {"cause": "because", "effect": "so"}  # what COPA asks for, as words between the texts


@dataclass
class ChoiceQuestion:
    """A text and the options to continue it.

    Attributes:
        context: The text.
        options: The options.
        answer: The index of the right option, or None where it is not published.
    """

    context: str
    options: list[str]
    answer: int | None


def read_copa_xml(path: Path) -> Iterator[ChoiceQuestion]:
    """Yield the questions of a COPA file (Roemmele et al. 2011).

    Raises:
        ValueError: The file is not XML, or an item lacks one of its parts.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not valid XML ({error})") from None
    for item in root.iter("item"):
        premise, first, second = ((item.findtext(tag) or "").strip() for tag in ("p", "a1", "a2"))
        asks_for = item.get("asks-for", "")
        answer = item.get("most-plausible-alternative")
        if asks_for not in CONNECTIVES or not (premise and first and second):
            raise ValueError(
                f"{path}, item {item.get('id')}: needs asks-for (cause or effect), p, a1 and a2"
            )
        context = f"{premise} {CONNECTIVES[asks_for]}"
        yield ChoiceQuestion(context, [first, second], int(answer) - 1 if answer else None)


def copa_questions(rows: Sequence[Row], where: str) -> list[ChoiceQuestion]:
    """Return the questions of rows with SuperGLUE's columns.

    Raises:
        ValueError: A column is missing.
    """
    columns = select_columns(rows, where, COPA_COLUMNS)
    return [
        ChoiceQuestion(
            f"{premise} {CONNECTIVES.get(asks_for, asks_for)}", [first, second], _answer(row)
        )
        for row, (premise, first, second, asks_for) in zip(rows, columns, strict=True)
    ]


def swag_questions(rows: Sequence[Row], where: str) -> list[ChoiceQuestion]:
    """Return the questions of rows with SWAG's columns (Zellers et al. 2018).

    Raises:
        ValueError: A column is missing.
    """
    columns = select_columns(rows, where, SWAG_COLUMNS)
    return [
        ChoiceQuestion(context, [f"{start} {ending}" for ending in endings], _answer(row))
        for row, (context, start, *endings) in zip(rows, columns, strict=True)
    ]


def read_race_directory(directory: Path) -> list[ChoiceQuestion]:
    """Return the questions of all files below a directory of RACE (Lai et al. 2017).

    A file holds a JSON object with an article and its questions, although its suffix is .txt.

    Raises:
        ValueError: A file is not JSON or has another structure.
    """
    questions: list[ChoiceQuestion] = []
    for path in sorted(directory.rglob("*.txt")):
        try:
            questions += _article_questions(read_json(path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} is not an article of RACE (article, questions, options, answers): "
                f"{error!r}"
            ) from None
    return questions


def race_questions(rows: Sequence[Row], where: str) -> list[ChoiceQuestion]:
    """Return the questions of rows with the columns of RACE on the Hub, one question per row.

    Raises:
        ValueError: A column is missing.
    """
    questions: list[ChoiceQuestion] = []
    for article, question, options, answer in select_columns(rows, where, RACE_COLUMNS):
        questions += _article_questions(
            {
                "article": article,
                "questions": [question],
                "options": [options],
                "answers": [answer],
            }
        )
    return questions


def _article_questions(article: dict[str, Any]) -> list[ChoiceQuestion]:
    """The questions of an article; each option fills the gap of its question, or follows it."""
    questions = []
    for question, options, answer in zip(
        article["questions"], article["options"], article["answers"], strict=True
    ):
        completed = [
            question.replace("_", option) if "_" in question else f"{question} {option}"
            for option in options
        ]
        index = "ABCD".index(answer) if answer else None
        questions.append(ChoiceQuestion(article["article"], completed, index))
    return questions


def _answer(row: Row) -> int | None:
    """The label of a row; -1 or none where it is not published."""
    label = row.get("label")
    return None if label is None or int(label) < 0 else int(label)
