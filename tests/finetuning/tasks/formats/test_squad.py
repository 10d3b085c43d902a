"""SQuAD files, and rows with the columns of SQuAD on the Hub."""

import json
from pathlib import Path
from typing import Any

import pytest

from albert_torch.finetuning.tasks.formats.squad import (
    SquadQuestion,
    read_squad,
    squad_questions,
)

WANT = [SquadQuestion("1", "who?", "it was Ann", [("Ann", 7)]), SquadQuestion("2", "?", "x", [])]


def test_files_and_rows_hold_the_same_questions(tmp_path: Path) -> None:
    """Kills: an answer at the place of another, a question without an answer that is lost, a
    byte-order mark that is refused.
    """
    paragraphs = [
        {
            "context": question.context,
            "qas": [
                {
                    "id": question.key,
                    "question": question.question,
                    "answers": [{"text": t, "answer_start": at} for t, at in question.answers],
                }
            ],
        }
        for question in WANT
    ]
    path = tmp_path / "squad.json"
    path.write_text("\ufeff" + json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    assert read_squad(path) == WANT
    rows = [
        {
            "id": question.key,
            "question": question.question,
            "context": question.context,
            "answers": {
                "text": [text for text, _ in question.answers],
                "answer_start": [at for _, at in question.answers],
            },
        }
        for question in WANT
    ]
    assert squad_questions(rows, "these") == WANT


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"data": [{}]}', '{"data": [{"paragraphs": [{"qas": [{}]}]}]}']
)
def test_files_of_another_form(tmp_path: Path, text: str) -> None:
    """Kills: a KeyError for a file that is not SQuAD's."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json is not a SQuAD file"):
        read_squad(tmp_path / "a.json")


@pytest.mark.parametrize("answers", ["Ann", {"text": ["Ann"]}, {"text": ["a"], "answer_start": []}])
def test_rows_of_another_form(answers: Any) -> None:
    """Kills: the characters of a text taken for answers."""
    row = {"id": "1", "question": "who?", "context": "it was Ann", "answers": answers}
    with pytest.raises(ValueError, match="these, row 1: answers must be an object with the lists"):
        squad_questions([row], "these")
