"""Multiple choice: what COPA's, SWAG's and RACE's files become, and what bad ones say."""

import json
from pathlib import Path

import pytest
from helpers.small_runs import small_config, write_jsonl
from helpers.tasks import make_small_task

import albert_torch
from albert_torch.finetuning import finetune


def test_copa_reads_both_formats(tmp_path: Path) -> None:
    """Kills: alternatives counted from 1, a cause asked for as an effect."""
    (tmp_path / "copa-train.xml").write_text(
        '<copa-corpus><item id="1" asks-for="effect" most-plausible-alternative="2">'
        "<p>w1.</p><a1>w2</a1><a2>w3 w4</a2></item></copa-corpus>"
    )
    row = {"premise": "w1.", "choice1": "w2", "choice2": "w3 w4", "question": "effect", "label": 1}
    write_jsonl(tmp_path / "val.jsonl", [row])
    task = make_small_task(tmp_path, "copa")
    xml, jsonl = task.load_split("train").examples[0], task.load_split("dev").examples[0]
    assert xml == jsonl
    assert xml["labels"] == 1
    texts = [" ".join(task.tokenizer.convert_ids_to_tokens(ids)) for ids in xml["input_ids"]]
    assert texts == ["[CLS] w1 . so [SEP] w2 [SEP]", "[CLS] w1 . so [SEP] w3 w4 [SEP]"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("copa-train.xml", "<copa", "copa-train.xml is not valid XML"),
        (
            "copa-train.xml",
            '<c><item id="7" asks-for="why"><p>x</p></item></c>',
            "item 7: needs asks-for",
        ),
        ("copa-train.xml", "<c></c>", "has no questions"),
        (
            "train.jsonl",
            '{"premise": "w1"}',
            "has the columns premise, but needs premise, choice1, choice2, question",
        ),
        ("train.jsonl", "{", "train.jsonl, line 1 is not valid JSON"),
    ],
)
def test_bad_choices_say_what_is_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Kills: a traceback of a parser for a broken file."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        make_small_task(tmp_path, "copa").load_split("train")


def test_swag_and_race(tmp_path: Path) -> None:
    """Kills: endings without their beginning, a question cut with the article, a gap that is not
    filled.
    """
    header = ["sent1", "sent2", *(f"ending{i}" for i in range(4)), "label"]
    (tmp_path / "train.csv").write_text(
        "\n".join(map(",".join, [header, ["w1", "w2", "w3", "w4", "w5", "w6", "3"]]))
    )
    task = make_small_task(tmp_path, "swag")
    (row,) = task.load_split("train").examples
    assert row["labels"] == 3
    assert task.tokenizer.convert_ids_to_tokens(row["input_ids"][3]) == [
        "[CLS]",
        "w1",
        "[SEP]",
        "w2",
        "w6",
        "[SEP]",
    ]
    article = {
        "article": " ".join(f"w{i % 30}" for i in range(50)),
        "questions": ["what _ .", "what w9 w9 w9 w9 w9 w9"],
        "options": [["w1", "w2", "w3", "w4"]] * 2,
        "answers": ["B", "D"],
    }
    (tmp_path / "race" / "train" / "high").mkdir(parents=True)
    (tmp_path / "race" / "train" / "high" / "1.txt").write_text(json.dumps(article))
    task = make_small_task(tmp_path / "race", "race", max_length=20, max_qa_length=5)
    first, second = task.load_split("train").examples
    assert (first["labels"], second["labels"]) == (1, 3)
    rows = [task.tokenizer.convert_ids_to_tokens(row["input_ids"][1]) for row in (first, second)]
    assert rows[0] == ["[CLS]", *(f"w{i}" for i in range(14)), "[SEP]", "what", "w2", ".", "[SEP]"]
    assert rows[1] == [
        "[CLS]",
        *(f"w{i}" for i in range(12)),
        "[SEP]",
        "what",
        *["w9"] * 4,
        "[SEP]",
    ]


@pytest.mark.assets
def test_copa_trains(assets: Path, tmp_path: Path) -> None:
    """Kills: a head that the loop cannot feed.  The real files, a tiny model."""
    config = small_config(
        tmp_path,
        task="copa",
        data=str(assets / "data" / "COPA"),
        train="copa-dev.xml",
        dev="copa-test.xml",
        tokenizer=str(assets / "assets" / "spiece.model"),
        max_length=48,
        steps=4,
        eval_steps=2,
    )
    (result,) = finetune(config, tmp_path / "run")
    assert 30 < result.scores["accuracy"] < 70
    albert_torch.AlbertForMultipleChoice.from_pretrained(tmp_path / "run")
