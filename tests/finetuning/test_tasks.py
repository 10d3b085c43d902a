"""The tasks: what each file format becomes, run end to end on a tiny model, and what bad files say."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import SHAPE, WORDS, recipe, sentences, vocabulary, write_jsonl

import albert_torch
from albert_torch.finetuning import FinetuningConfig, finetune
from albert_torch.finetuning.finetune import load
from albert_torch.finetuning.tasks.question_answering import best_span
from albert_torch.finetuning.tasks.registry import make_task
from albert_torch.training.data import batches, collate
from albert_torch.training.model import load_tokenizer

pytest.importorskip("accelerate")


def task(folder: Path, name: str, **changes: Any) -> Any:
    """A task on files in `folder`."""
    values = {
        "task": name,
        "tokenizer": str(vocabulary(folder / "vocabulary")),
        "data": str(folder),
        "max_length": 40,
    }
    how = FinetuningConfig.from_dict({**values, **changes})
    return make_task(how, load_tokenizer(how))


def tsv(path: Path, *rows: str) -> None:
    path.write_text("\n".join(row.replace("|", "\t") for row in rows) + "\n", encoding="utf-8")


def pieces(made: Any, row: dict[str, Any]) -> str:
    return " ".join(made.tokenizer.convert_ids_to_tokens(row["input_ids"]))


# ---- batches ----


@pytest.mark.parametrize("order", ["length", "random", "file"])
def test_an_epoch_holds_each_row_once(order: str) -> None:
    """Kills: rows lost or doubled, an order that the seed does not decide, epochs that are the same."""
    lengths = [random.Random(i).randint(1, 50) for i in range(103)]
    feed, again = batches(lengths, 10, order, 3), batches(lengths, 10, order, 3)
    first, second = ([next(feed) for _ in range(10)] for _ in range(2))
    assert [next(again) for _ in range(10)] == first
    assert all(len(batch) == 10 for batch in first)
    assert len({row for batch in first for row in batch}) == 100
    assert (first == second) == (order == "file")
    assert (next(batches(lengths, 10, order, 4)) == first[0]) == (order == "file")
    spread = (
        sum(
            max(lengths[row] for row in batch) - min(lengths[row] for row in batch)
            for batch in first
        )
        / 10
    )
    assert (spread < 10) == (order == "length")
    sizes = [sum(lengths[row] for row in batch) for batch in first]
    assert sizes != sorted(sizes)  # batches of like length, but not the short ones first


def test_collate_pads_ids_labels_and_choices() -> None:
    """Kills: a mask of the padded length, labels padded with a class, choices of unlike length."""
    batch = collate(
        [{"input_ids": [5, 6], "labels": [1, 2]}, {"input_ids": [7], "labels": [3]}], pad_token_id=9
    )
    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [[1, 2], [3, -100]]
    choices = collate([{"input_ids": [[5], [6, 7]], "labels": 1}], pad_token_id=9)
    assert choices["input_ids"].tolist() == [[[5, 9], [6, 7]]]
    assert choices["attention_mask"].tolist() == [[[1, 0], [1, 1]]]
    assert choices["labels"].tolist() == [1]


# ---- classification ----

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
    """Kills: a column of another task, label numbers in another order than the Hub's, CoLA's first row as a header."""
    if name == "cola":
        rows, second, label = ["gj04|0|*|good w1"], None, 0
    else:
        header, row, second, label = GLUE_FILES[name]
        rows = [header, row]
    tsv(tmp_path / "train.tsv", *rows)
    made = task(tmp_path, name)
    split = made.load_split("train")
    assert pieces(made, split.examples[0]) == "[CLS] good w1 [SEP]" + (
        f" {second} [SEP]" if second else ""
    )
    assert split.examples[0]["labels"] == label
    assert made.score(split, [torch.zeros(1 if name == "stsb" else len(made.labels))]).keys() >= {
        made.metric
    }


def test_mnli_and_test_files_are_found(tmp_path: Path) -> None:
    """Kills: a dev set that is missed, a test file that must have labels."""
    tsv(tmp_path / "dev_matched.tsv", "sentence1|sentence2|gold_label", "w1|w2|neutral")
    tsv(tmp_path / "test_matched.tsv", "index|sentence1|sentence2", "0|w1|w2")
    made = task(tmp_path, "mnli")
    assert made.load_split("dev").examples[0]["labels"] == 1
    assert "labels" not in made.load_split("test").examples[0]
    assert made.load_split("train") is None


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl", "json", "parquet"])
def test_every_kind_of_table_is_the_same_table(tmp_path: Path, suffix: str) -> None:
    """Kills: quotation marks eaten in TSV or kept in CSV, a byte-order mark in the first column's name."""
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
    made = task(tmp_path, "classification", text="body", label="kind")
    split = made.load_split("train")
    assert made.labels == ["no", "yes"]
    assert [row["labels"] for row in split.examples] == [label for _, label in sentences(6)]
    want = made.encode([row["body"] for row in rows])
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
    """Kills: a KeyError, an empty split that trains on nothing, a label outside the map that becomes a class."""
    tsv(tmp_path / "train.tsv", *rows)
    with pytest.raises(ValueError, match=message):
        finetune(
            task(
                tmp_path, changes.pop("task", "classification"), model_config=SHAPE, **changes
            ).config,
            tmp_path / "run",
        )


def test_a_few_short_lines_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kills: a broken line of a large file that stops the run, or that goes unsaid."""
    tsv(tmp_path / "train.tsv", "text|label", *["w1|0", "w2|1"] * 1000, "w3")
    assert len(task(tmp_path, "classification").load_split("train").examples) == 2000
    assert "left out 1 lines with too few or too many cells; the first one:" in caplog.text


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """Kills: a misspelt path taken for the name of a data set, or for no dev set."""
    made = task(tmp_path, "classification", train="none.tsv")
    with pytest.raises(FileNotFoundError, match=r"train: there is no file none.tsv, nor .*none.tsv"):
        made.load_split("train")
    with pytest.raises(FileNotFoundError, match="no training file"):
        load(task(tmp_path, "sst2").config)
    with pytest.raises(ValueError, match="task='sst3' is not known; use one of cola, sst2"):
        task(tmp_path, "sst3")


def test_hub_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: "dev" asked for by that name, a missing split taken for an error, unpublished labels taken for a class."""
    datasets = pytest.importorskip("datasets")
    rows = [{"premise": "w1", "hypothesis": "w2", "label": 2}]
    splits = {
        "train": rows,
        "validation_matched": rows,
        "validation_mismatched": [],
        "test": [{**rows[0], "label": -1}],
    }
    asked: list[Any] = []

    def load_dataset(*names: Any) -> Any:
        asked.append(names)
        return splits

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    made = task(tmp_path, "mnli", data="nyu-mll/glue", data_config="mnli")
    assert made.load_split("train").examples[0]["labels"] == made.load_split("dev").examples[0]["labels"] == 2
    assert "labels" not in made.load_split("test").examples[0]
    assert asked == [("nyu-mll/glue", "mnli")] * 3
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: {"train": rows})
    assert made.load_split("dev") is None
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *names: (_ for _ in ()).throw(ConnectionError("offline"))
    )
    with pytest.raises(
        FileNotFoundError, match="is neither a directory nor a data set on the Hub: offline"
    ):
        made.load_split("train")


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
    assert finetune(recipe(tmp_path, task="regression", **common), tmp_path / "run-a")[0].best > 80
    rows = [
        {"text": text, "label": ["p"] * label + ["q"] * (1 - label) + ["r"]}
        for text, label in sentences(64)
    ]
    write_jsonl(tmp_path / "a" / "train.jsonl", rows)
    assert finetune(recipe(tmp_path, task="multi-label", **common), tmp_path / "run-b")[0].best > 90


def test_a_checkpoint_of_another_task(tmp_path: Path) -> None:
    """Kills: a head of three classes used for two, a vocabulary that is not the model's."""
    finetune(recipe(tmp_path, steps=2), tmp_path / "two")
    rows = [{"text": "w1", "label": name} for name in "abc"]
    write_jsonl(tmp_path / "three" / "train.jsonl", rows)
    how = {
        "model": str(tmp_path / "two"),
        "data": str(tmp_path / "three"),
        "dev": "none",
        "batch_size": 2,
        "steps": 2,
    }
    with pytest.raises(ValueError, match="wrong shape  classifier"):
        finetune(recipe(tmp_path, **how), tmp_path / "a")
    finetune(recipe(tmp_path, **how, new_head=True), tmp_path / "b")
    model = albert_torch.AlbertForSequenceClassification.from_pretrained(tmp_path / "b")
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    with pytest.raises(ValueError, match="they do not belong together"):
        finetune(recipe(tmp_path, model_config={**SHAPE, "vocab_size": 12}), tmp_path / "c")
    with pytest.raises(ValueError, match="max_length=400 is more than the model's 64 positions"):
        finetune(recipe(tmp_path, max_length=400), tmp_path / "d")


# ---- multiple choice ----


def test_copa_reads_both_formats(tmp_path: Path) -> None:
    """Kills: alternatives counted from 1, a cause asked for as an effect."""
    (tmp_path / "copa-train.xml").write_text(
        '<copa-corpus><item id="1" asks-for="effect" most-plausible-alternative="2">'
        "<p>w1.</p><a1>w2</a1><a2>w3 w4</a2></item></copa-corpus>"
    )
    row = {"premise": "w1.", "choice1": "w2", "choice2": "w3 w4", "question": "effect", "label": 1}
    write_jsonl(tmp_path / "val.jsonl", [row])
    made = task(tmp_path, "copa")
    xml, jsonl = made.load_split("train").examples[0], made.load_split("dev").examples[0]
    assert xml == jsonl
    assert xml["labels"] == 1
    texts = [" ".join(made.tokenizer.convert_ids_to_tokens(ids)) for ids in xml["input_ids"]]
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
        task(tmp_path, "copa").load_split("train")


def test_swag_and_race(tmp_path: Path) -> None:
    """Kills: endings without their beginning, a question cut with the article, a gap that is not filled."""
    header = ["sent1", "sent2", *(f"ending{i}" for i in range(4)), "label"]
    (tmp_path / "train.csv").write_text(
        "\n".join(map(",".join, [header, ["w1", "w2", "w3", "w4", "w5", "w6", "3"]]))
    )
    made = task(tmp_path, "swag")
    (row,) = made.load_split("train").examples
    assert row["labels"] == 3
    assert made.tokenizer.convert_ids_to_tokens(row["input_ids"][3]) == [
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
    made = task(tmp_path / "race", "race", max_length=20, max_qa_length=5)
    first, second = made.load_split("train").examples
    assert (first["labels"], second["labels"]) == (1, 3)
    rows = [made.tokenizer.convert_ids_to_tokens(row["input_ids"][1]) for row in (first, second)]
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
    how = recipe(
        tmp_path, task="copa", data=str(assets / "data" / "COPA"), train="copa-dev.xml", dev="copa-test.xml",
        tokenizer=str(assets / "assets" / "spiece.model"), max_length=48, steps=4, eval_steps=2,
    )  # fmt: skip
    (result,) = finetune(how, tmp_path / "run")
    assert 30 < result.scores["accuracy"] < 70
    albert_torch.AlbertForMultipleChoice.from_pretrained(tmp_path / "run")


# ---- token classification ----


def test_conll_labels_the_first_piece_of_a_word(tmp_path: Path) -> None:
    """Kills: labels on every piece, words cut off that are not counted, a document mark taken for a word."""
    (tmp_path / "train.txt").write_text(
        "-DOCSTART- -X- O O\n\nw1 NN I O\ngood.bad NN I B-X\nw2 NN I I-X\n\nw3 NN I O\n",
        encoding="utf-8",
    )
    (tmp_path / "dev.txt").write_text(
        (tmp_path / "train.txt").read_text() + "\n\u200b O\nw1 I O\n\n\u200b O\n"
    )
    made = task(tmp_path, "conll", max_length=5)
    rows = made.load_split("train").examples
    assert made.labels == ["O", "B-X", "I-X"]
    assert pieces(made, rows[0]) == "[CLS] w1 good . [SEP]"
    assert rows[0]["labels"] == [-100, 0, 1, -100, -100]
    assert made.loss_weight(rows[0]) == 2
    dev, kept = (
        made.load_split("dev"),
        [[0, 1], [0], [1], []],
    )  # the third word was cut off: "O", so the entity is too short
    scores = made.score(dev, kept)
    assert scores["f1"] == 0
    assert scores["accuracy"] == pytest.approx(
        100 * 5 / 7
    )  # of 7 words: the one cut off and the last w1 are wrong
    said = [line["prediction"] for line in made.predictions(dev, kept)]
    assert said == [
        ["O", "B-X", "O"],
        ["O"],
        ["O", "B-X"],
        ["O"],
    ]  # a word without a piece moves no tag
    (tmp_path / "dev.txt").write_text("w1 B-Y\n")
    with pytest.raises(
        ValueError, match="the dev split has the tag 'B-Y'; the tags are O, B-X, I-X"
    ):
        made.load_split("dev")
    (tmp_path / "dev.txt").write_text("w1\n")
    with pytest.raises(ValueError, match=r"dev.txt, line 1: 'w1' needs a word and a tag"):
        made.load_split("dev")


# ---- question answering ----


def squad_file(path: Path, count: int = 24, impossible: bool = False, shift: int = 0) -> Path:
    """Questions whose answer is "good" and two more words; texts of those without an answer do not have it."""
    draw, paragraphs = random.Random(0), []
    for i in range(count):
        words = [draw.choice(WORDS[:30]) for _ in range(draw.randint(6, 40))]
        at = draw.randrange(len(words) - 2)
        words[at] = "good"
        context = " ".join(words)
        answer = {
            "text": " ".join(words[at : at + 3]),
            "answer_start": context.index("good") + shift,
        }
        none = impossible and i % 3 == 0
        qa = {
            "id": str(i),
            "question": "what cause",
            "answers": [] if none else [answer],
            "is_impossible": none,
        }
        paragraphs.append(
            {"context": context.replace("good", "bad") if none else context, "qas": [qa]}
        )
    path.write_text(
        json.dumps({"version": "x", "data": [{"title": "t", "paragraphs": paragraphs}]})
    )
    return path


def perfect(split: Any, made: Any, own: bool = False) -> list[Any]:
    """Outputs that say what the labels say; in windows without the answer, [CLS]."""
    kept = []
    for row in split.examples:
        start, end = torch.zeros(len(row["input_ids"])), torch.zeros(len(row["input_ids"]))
        start[row["start_positions"]] += 9
        end[row["end_positions"]] += 9
        none = 9.0 * (2 * (row["start_positions"] == 0) - 1) if own else float(start[0] + end[0])
        kept.append((start, end, none))
    return kept


@pytest.mark.parametrize("v2", [False, True])
def test_squad_windows_hold_every_answer(tmp_path: Path, v2: bool) -> None:
    """Kills: offsets of the question, an answer lost between windows, a text rebuilt from pieces."""
    squad_file(tmp_path / ("train-v2.0.json" if v2 else "train-v1.1.json"), impossible=v2)
    made = task(tmp_path, "squad2" if v2 else "squad1", max_length=20, doc_stride=6)
    split = made.load_split("train")
    assert len(split.examples) > 24
    assert max(len(row["input_ids"]) for row in split.examples) == 20
    for row, window in zip(split.examples, split.references.windows, strict=True):
        if row["start_positions"]:  # the whole answer, or nothing
            question = split.references.questions[window.question]
            first, last = (window.offsets[row[f"{end}_positions"]] for end in ("start", "end"))
            assert question.context[first[0] : last[1]].strip() == question.answers[0][0]
    scores = made.score(split, perfect(split, made))
    assert scores["exact"] == scores["f1"] == 100
    if v2:
        assert scores["HasAns_exact"] == scores["NoAns_exact"] == scores["best_f1"] == 100
    blank = [
        (torch.zeros(len(row["input_ids"])), torch.zeros(len(row["input_ids"])), 0.0)
        for row in split.examples
    ]
    assert made.score(split, blank)["exact"] < 50


@pytest.mark.parametrize("tokens", [3, 18, 60])
def test_the_best_span_is_the_best_of_all(tokens: int) -> None:
    """Kills: an end before its start, an answer of more than 30 tokens, one in the question."""
    slope = torch.linspace(-2, 2, tokens)
    for seed in range(50):
        torch.manual_seed(seed)
        start, end = torch.randn(2, tokens) + torch.stack(
            [-slope, slope]
        )  # the best starts are far from the best ends
        pairs = [(i, j) for i in range(1, tokens) for j in range(i, min(tokens, i + 30))]
        spans = {float(start[i] + end[j]): (3 * i, 3 * j + 2) for i, j in pairs}
        score, place = best_span(
            start, end, [None, *[(3 * i, 3 * i + 2) for i in range(1, tokens)]]
        )
        if tokens <= 20:  # as many as there are candidates
            assert score == max(spans)
        assert place is None or spans[score] == place


def test_answers_that_are_not_where_the_file_says(tmp_path: Path) -> None:
    """Kills: training on other words than the answer."""
    squad_file(tmp_path / "train-v1.1.json", shift=1)
    with pytest.raises(
        ValueError,
        match="24 of 24 training questions have no answer where their file says, the first",
    ):
        task(tmp_path, "squad1").load_split("train")
    squad_file(tmp_path / "train-v1.1.json", impossible=True)
    with pytest.raises(ValueError, match="use the task squad2"):
        task(tmp_path, "squad1").load_split("train")
    (tmp_path / "train-v1.1.json").write_text('{"data": [{}]}')
    with pytest.raises(ValueError, match="is not a SQuAD file"):
        task(tmp_path, "squad1").load_split("train")


@pytest.mark.parametrize("own", [False, True])
def test_squad2_trains(tmp_path: Path, own: bool) -> None:
    """Kills: an answerability head that is not trained, not saved, or not asked."""
    squad_file(tmp_path / "train-v2.0.json", impossible=True)
    how = recipe(
        tmp_path, task="squad2", data=str(tmp_path), dev="train-v2.0.json", max_length=20, doc_stride=6, steps=120,
        learning_rate=5e-3, eval_steps=60, dropout=0.0, answerability_head=own,
    )  # fmt: skip
    (result,) = finetune(how, tmp_path / "run")
    assert result.scores["f1"] > 60
    assert result.scores["best_f1"] >= result.scores["f1"]
    names = set(torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"])
    assert ("impossible.weight" in names) == own
    made = task(tmp_path, "squad2", answerability_head=own, max_length=20, doc_stride=6)
    made.head_class.from_pretrained(tmp_path / "run")
    split = made.load_split("train")
    assert made.score(split, perfect(split, made, own))["exact"] == 100


@pytest.mark.assets
def test_xquad_answers_are_exact_characters(assets: Path, tmp_path: Path) -> None:
    """Kills: offsets that a normalizer moves.  Every answer of the real file comes back from its labels."""
    how = FinetuningConfig(
        task="squad1", tokenizer=str(assets / "assets" / "spiece.model"), max_length=384,
        train=str(assets / "data" / "XQuAD-en" / "xquad.en.json"),
    )  # fmt: skip
    made = make_task(how, load_tokenizer(how))
    split = made.load_split("train")
    assert len(split.references.questions) == 1190
    assert made.score(split, perfect(split, made))["exact"] > 98


# ---- masked words ----


def test_masks_are_drawn_as_the_recipe_says(tmp_path: Path) -> None:
    """Kills: a share of all tokens hidden, specials hidden, the same masks at every update, rows without any."""
    (tmp_path / "train.txt").write_text("\n".join(" ".join(WORDS[:30]) for _ in range(400)))
    made = task(tmp_path, "mlm", max_length=34)
    rows = made.load_split("train").examples
    assert all(len(row["input_ids"]) <= 34 for row in rows)
    drawn, again, other = (made.randomize(rows, seed) for seed in (1, 1, 2))
    assert drawn == again != other
    chosen = kept = hidden = total = 0
    for before, after in zip(rows, drawn, strict=True):
        assert after["labels"][0] == after["labels"][-1] == -100
        assert made.loss_weight(after) >= 1
        for old, new, label in zip(
            before["input_ids"], after["input_ids"], after["labels"], strict=True
        ):
            total += 1
            assert label in (-100, old)
            assert label != -100 or new == old
            chosen += label != -100
            kept += label != -100 and new == old
            hidden += label != -100 and new == made.tokenizer.mask_token_id
    assert chosen / total == pytest.approx(0.15 * 32 / 34, abs=0.02)
    assert hidden / chosen == pytest.approx(0.8, abs=0.04)
    assert kept / chosen == pytest.approx(0.1, abs=0.04)


def test_masked_words_are_learned(tmp_path: Path) -> None:
    """Kills: logits read at other places than the labels, a likelihood with the wrong sign."""
    (tmp_path / "train.txt").write_text("\n".join(" ".join(WORDS[:30]) for _ in range(60)))
    how = recipe(
        tmp_path, task="mlm", data=str(tmp_path), dev="train.txt", max_length=32, steps=150, learning_rate=5e-3,
        eval_steps=50, dropout=0.0,
    )  # fmt: skip
    (result,) = finetune(how, tmp_path / "run")
    assert result.scores["perplexity"] < 20
    assert result.scores["log_likelihood"] < 0
    albert_torch.AlbertForMaskedLM.from_pretrained(tmp_path / "run")
