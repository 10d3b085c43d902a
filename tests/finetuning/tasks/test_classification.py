"""Classification and regression: the GLUE files, tables of all formats, and what bad ones say."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import SHAPE, sentences, small_config, write_jsonl
from helpers.tasks import make_small_task, pieces, write_tsv

import albert_torch
from albert_torch.finetuning import SingleLabelClassification, finetune
from albert_torch.readers import Row

pytest.importorskip("accelerate")


GLUE_FILES = {  # header and a row as in the GLUE files, the second text, the label's number
    "sst2": ("sentence|label", "good w1 |1", None, 1),
    "mrpc": ("Quality|#1 ID|#2 ID|#1 String|#2 String", "1|7|8|good w1|bad", "bad", 1),
    "stsb": ("index|genre|score|sentence1|sentence2", "0|x|3.8|good w1|bad", "bad", 3.8),
    "qqp": ("id|qid1|qid2|question1|question2|is_duplicate", "0|1|2|good w1|bad|0", "bad", 0),
    "mnli": (
        "index|sentence1|sentence2|label1|gold_label",
        "0|good w1|bad|neutral|contradiction",
        "bad",
        2,
    ),
    "qnli": ("index|question|sentence|label", "0|good w1|bad|not_entailment", "bad", 1),
    "rte": ("index|sentence1|sentence2|label", "0|good w1|bad|not_entailment", "bad", 1),
    "wnli": ("index|sentence1|sentence2|label", "0|good w1|bad|1", "bad", 1),
}


@pytest.mark.parametrize("name", [*GLUE_FILES, "cola"])
def test_the_nine_glue_tasks_read_their_files(tmp_path: Path, name: str) -> None:
    """Kills: a column of another task, label numbers in another order than the Hub's, CoLA's first
    row as a header.
    """
    if name == "cola":
        rows, second, label = ["gj04|0|*|good w1"], None, 0
    else:
        header, row, second, label = GLUE_FILES[name]
        rows = [header, row]
    write_tsv(tmp_path / "train.tsv", *rows)
    task = make_small_task(tmp_path, name)
    split = task.load_split("train")
    assert pieces(task, split.examples[0]["input_ids"]) == "[CLS] good w1 [SEP]" + (
        f" {second} [SEP]" if second else ""
    )
    assert split.examples[0]["labels"] == label
    assert task.score(split, [torch.zeros(1 if name == "stsb" else len(task.labels))]).keys() >= {
        task.metric
    }


def test_mnli_and_test_files_are_found(tmp_path: Path) -> None:
    """Kills: a dev set that is missed, a test file that must have labels."""
    write_tsv(tmp_path / "dev_matched.tsv", "sentence1|sentence2|gold_label", "w1|w2|neutral")
    write_tsv(tmp_path / "test_matched.tsv", "index|sentence1|sentence2", "0|w1|w2")
    task = make_small_task(tmp_path, "mnli")
    assert task.load_split("dev").examples[0]["labels"] == 1
    assert "labels" not in task.load_split("test").examples[0]
    assert task.load_split("train") is None


def test_the_files_of_mnli_are_those_of_no_other_task(tmp_path: Path) -> None:
    """Kills: a task that is evaluated on the dev set of MNLI, which lies in the same directory."""
    write_tsv(tmp_path / "dev_matched.tsv", "sentence|label", "w1|0")
    assert make_small_task(tmp_path, "sst2").load_split("dev") is None
    assert make_small_task(tmp_path, "classification").load_split("dev") is None


class Spam(SingleLabelClassification):
    """A task with columns, labels, texts and a metric of its own."""

    metric = "recall"
    text_columns = (("subject", "body"),)
    label_columns = ("is_spam",)
    labels = ("no", "yes")

    def texts(self, rows: list[Row], where: str) -> tuple[list[str], list[str] | None]:
        """Lower the subjects."""
        subjects, bodies = super().texts(rows, where)
        return [subject.lower() for subject in subjects], bodies

    def score_labels(self, predicted: list[int], labels: list[int]) -> dict[str, float]:
        """The share of spam that is found."""
        found = sum(p == label == 1 for p, label in zip(predicted, labels, strict=True))
        return {"recall": 100 * found / labels.count(1)}


def test_a_subclass_sets_columns_labels_texts_and_metric(tmp_path: Path) -> None:
    """Kills: a class attribute that is replaced by a default, a hook that is not called."""
    rows = [
        {"subject": "GOOD", "body": "w1", "is_spam": "yes"},
        {"subject": "Bad", "body": "w2", "is_spam": "yes"},
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    task = make_small_task(tmp_path, f"{__name__}:Spam")
    split = task.load_split("train")
    assert [pieces(task, example["input_ids"]) for example in split.examples] == [
        "[CLS] good [SEP] w1 [SEP]",
        "[CLS] bad [SEP] w2 [SEP]",
    ]
    assert [example["labels"] for example in split.examples] == [1, 1]
    assert task.model_config_overrides()["id2label"] == {0: "no", 1: "yes"}
    assert task.score(split, list(torch.eye(2))) == {"recall": 50.0}


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl", "json", "parquet"])
def test_every_kind_of_table_is_the_same_table(tmp_path: Path, suffix: str) -> None:
    """Kills: quotation marks eaten in TSV or kept in CSV, a byte-order mark in the first column's
    name.
    """
    rows = [{"body": f'{text} "w1"', "kind": ("no", "yes")[label]} for text, label in sentences(6)]
    path = tmp_path / f"train.{suffix}"
    if suffix == "tsv":
        path.write_text(
            "\ufeffbody\tkind\n" + "".join(f"{r['body']}\t{r['kind']}\n" for r in rows),
            encoding="utf-8",
        )
    elif suffix == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["body", "kind"])
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    elif suffix == "json":
        path.write_text(json.dumps(rows))
    else:
        write_jsonl(path, rows)
    task = make_small_task(tmp_path, "classification", text="body", label="kind")
    split = task.load_split("train")
    assert task.labels == ["no", "yes"]
    assert [row["labels"] for row in split.examples] == [label for _, label in sentences(6)]
    want = task.encode([row["body"] for row in rows])
    assert [row["input_ids"] for row in split.examples] == [row["input_ids"] for row in want]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (
            ["a|label", "w1|1"],
            {},
            "has the columns a, label, but needs text or sentence; name them with the options text",
        ),
        (["text|b", "w1|1"], {}, "has the columns text, b, but needs label"),
        (["text|label"], {}, "has no rows: train needs at least one"),
        (["text|label", "w1"], {}, "line 2 has 1 cells, not 2"),
        (
            ["text|label", "w1|maybe"],
            {"labels": ["no", "yes"]},
            "row 1 has the label 'maybe'; the labels are no, yes",
        ),
        (
            ["text|label", "w1|x"],
            {"task": "regression"},
            "row 1 has the label 'x', but regression needs numbers",
        ),
        (["text|label", "w1|x"], {"labels": ["x"]}, "classification needs two or more"),
    ],
)
def test_bad_tables_say_what_is_wrong(
    tmp_path: Path, rows: list[str], changes: dict[str, Any], message: str
) -> None:
    """Kills: a KeyError, an empty split that trains on nothing, a label outside the map that
    becomes a class.
    """
    write_tsv(tmp_path / "train.tsv", *rows)
    with pytest.raises(ValueError, match=message):
        finetune(
            make_small_task(
                tmp_path, changes.pop("task", "classification"), model_config=SHAPE, **changes
            ).config,
            tmp_path / "run",
        )


@pytest.mark.parametrize(
    ("labels", "values", "names", "indices"),
    [
        ([], ["10", "9", "1", "10"], ["1", "9", "10"], [2, 1, 0, 2]),
        ([], ["yes", "no"], ["no", "yes"], [1, 0]),
        (["yes", "no"], ["0", "no", "1", "yes"], ["yes", "no"], [0, 1, 1, 0]),
        (["2", "1"], ["1", "2"], ["2", "1"], [1, 0]),
    ],
)
def test_labels_are_names_or_indices(
    tmp_path: Path, labels: list[str], values: list[str], names: list[str], indices: list[int]
) -> None:
    """Kills: names that are numbers taken for indices, numbers sorted as text, indices refused."""
    write_tsv(tmp_path / "train.tsv", "text|label", *(f"w1|{value}" for value in values))
    task = make_small_task(tmp_path, "classification", labels=labels)
    split = task.load_split("train")
    assert task.model_config_overrides()["id2label"] == dict(enumerate(names))
    assert [example["labels"] for example in split.examples] == indices


@pytest.mark.parametrize(
    ("value", "want"),
    [("a,b", [1, 1, 0]), ('["b", "c"]', [0, 1, 1]), (["c"], [0, 0, 1]), (" a , ", [1, 0, 0])],
)
def test_several_labels_in_a_cell(tmp_path: Path, value: Any, want: list[int]) -> None:
    """Kills: a list taken for its text, spaces that are part of a name."""
    write_jsonl(tmp_path / "train.jsonl", [{"text": "w1", "label": value}])
    task = make_small_task(tmp_path, "multi-label", labels=["a", "b", "c"])
    assert task.load_split("train").examples[0]["labels"] == want
    write_jsonl(tmp_path / "train.jsonl", [{"text": "w1", "label": "[a"}])
    with pytest.raises(ValueError, match="the train split, row 1 has the labels '\\[a', which is"):
        task.load_split("train")


def test_pairs_need_both_columns(tmp_path: Path) -> None:
    """Kills: a second column that is ignored because the first one has no name."""
    write_tsv(tmp_path / "train.tsv", "a|b|label", "w1|w2|0", "w3|w4|1")
    task = make_small_task(tmp_path, "classification", text="a", text_pair="b")
    first = task.load_split("train").examples[0]
    assert pieces(task, first["input_ids"]) == "[CLS] w1 [SEP] w2 [SEP]"
    with pytest.raises(ValueError, match="text_pair='b' names the second column: name the first"):
        make_small_task(tmp_path, "classification", text_pair="b")


def test_regression_and_several_labels_learn(tmp_path: Path) -> None:
    """Kills: integer labels for numbers, one loss for another."""
    rows = [{"text": text, "label": 2.5 * label - 1} for text, label in sentences(64)]
    write_jsonl(tmp_path / "a" / "train.jsonl", rows)
    common = {
        "data": str(tmp_path / "a"),
        "dev": "train.jsonl",
        "steps": 120,
        "learning_rate": 5e-3,
        "dropout": 0.0,
    }
    assert (
        finetune(small_config(tmp_path, task="regression", **common), tmp_path / "run-a")[0].best
        > 80
    )
    rows = [
        {"text": text, "label": ["p"] * label + ["q"] * (1 - label) + ["r"]}
        for text, label in sentences(64)
    ]
    write_jsonl(tmp_path / "a" / "train.jsonl", rows)
    assert (
        finetune(small_config(tmp_path, task="multi-label", **common), tmp_path / "run-b")[0].best
        > 90
    )


def test_a_checkpoint_of_another_task(tmp_path: Path) -> None:
    """Kills: a head of three classes used for two, a vocabulary that is not the model's."""
    finetune(small_config(tmp_path, steps=2), tmp_path / "two")
    rows = [{"text": "w1", "label": name} for name in "abc"]
    write_jsonl(tmp_path / "three" / "train.jsonl", rows)
    config = {
        "model": str(tmp_path / "two"),
        "data": str(tmp_path / "three"),
        "dev": "none",
        "batch_size": 2,
        "steps": 2,
    }
    with pytest.raises(ValueError, match="wrong shape  classifier"):
        finetune(small_config(tmp_path, **config), tmp_path / "a")
    finetune(small_config(tmp_path, **config, new_head=True), tmp_path / "b")
    model = albert_torch.AlbertForSequenceClassification.from_pretrained(tmp_path / "b")
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    with pytest.raises(ValueError, match="they do not belong together"):
        finetune(small_config(tmp_path, model_config={**SHAPE, "vocab_size": 12}), tmp_path / "c")
    with pytest.raises(ValueError, match="max_length=400 is more than the model's 64 positions"):
        finetune(small_config(tmp_path, max_length=400), tmp_path / "d")
