"""The files of COPA, SWAG and RACE as questions with options."""

import json
from pathlib import Path

import pytest

from albert_torch.finetuning.tasks.formats.choices import (
    ChoiceQuestion,
    copa_questions,
    race_questions,
    read_copa_xml,
    read_race_directory,
    swag_questions,
)


def test_copa(tmp_path: Path) -> None:
    """Kills: alternatives counted from 1, a cause asked for as an effect, a label -1 as an
    answer.
    """
    (tmp_path / "a.xml").write_text(
        '<copa-corpus><item id="1" asks-for="effect" most-plausible-alternative="2">'
        '<p>It rained.</p><a1>x</a1><a2>y</a2></item><item id="2" asks-for="cause">'
        "<p>It rained.</p><a1>x</a1><a2>y</a2></item></copa-corpus>"
    )
    want = [
        ChoiceQuestion("It rained. so", ["x", "y"], 1),
        ChoiceQuestion("It rained. because", ["x", "y"], None),
    ]
    assert list(read_copa_xml(tmp_path / "a.xml")) == want
    common = {"premise": "It rained.", "choice1": "x", "choice2": "y"}
    rows = [
        {**common, "question": "effect", "label": 1},
        {**common, "question": "cause", "label": -1},
    ]
    assert copa_questions(rows, "these") == want


def test_swag() -> None:
    """Kills: endings without their beginning, a label that is text."""
    endings = {f"ending{i}": name for i, name in enumerate("abcd")}
    row = {"sent1": "One.", "sent2": "She", **endings, "label": "3"}
    want = ChoiceQuestion("One.", ["She a", "She b", "She c", "She d"], 3)
    assert swag_questions([row], "these") == [want]


def test_race(tmp_path: Path) -> None:
    """Kills: a gap that is not filled, a question that is not repeated for its options, files in
    any order.
    """
    for name, question, answer in (("b", "what", "D"), ("a", "it is _ .", "A")):
        article = {
            "article": name,
            "questions": [question],
            "options": [list("wxyz")],
            "answers": [answer],
        }
        (tmp_path / "high").mkdir(exist_ok=True)
        (tmp_path / "high" / f"{name}.txt").write_text(json.dumps(article))
    want = [
        ChoiceQuestion("a", ["it is w .", "it is x .", "it is y .", "it is z ."], 0),
        ChoiceQuestion("b", ["what w", "what x", "what y", "what z"], 3),
    ]
    assert read_race_directory(tmp_path) == want
    row = {"article": "b", "question": "what", "options": list("wxyz"), "answer": "D"}
    assert race_questions([row], "these") == want[1:]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"questions": 1, "options": 2, "answers": 3}'])
def test_files_that_are_not_races(tmp_path: Path, text: str) -> None:
    """Kills: a KeyError for a file that is not RACE's."""
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=r"a\.txt is not an article of RACE"):
        read_race_directory(tmp_path)
