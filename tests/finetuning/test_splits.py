"""Splits: which file or data set is read, and the columns that a task needs."""

from pathlib import Path
from typing import Any

import pytest
from helpers.tasks import make_small_task, write_tsv

from albert_torch.finetuning import FinetuningConfig, finetune
from albert_torch.finetuning.splits import find_split_file, read_split, select_columns


def test_the_file_of_a_split(tmp_path: Path) -> None:
    """Kills: a named file that is ignored, another order of names, a directory that is not looked
    in.
    """
    data, elsewhere = tmp_path / "data", tmp_path / "other.tsv"
    data.mkdir()
    elsewhere.touch()
    config = FinetuningConfig(data=str(data))
    assert find_split_file(config, "dev") is None
    assert find_split_file(FinetuningConfig(), "dev") is None
    for name in ("dev.txt", "dev.csv", "dev_matched.tsv"):  # each is preferred to those before
        (data / name).touch()
        assert find_split_file(config, "dev", "dev_matched.tsv") == data / name
    named = FinetuningConfig(data=str(data), dev="dev.txt", train=str(elsewhere))
    assert find_split_file(named, "dev", "dev_matched.tsv") == data / "dev.txt"
    assert find_split_file(named, "train") == elsewhere


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """Kills: a misspelt path taken for the name of a data set, or for no dev set."""
    task = make_small_task(tmp_path, "classification", train="none.tsv")
    with pytest.raises(
        FileNotFoundError, match=r"train: there is no file none\.tsv, nor .*none\.tsv"
    ):
        task.load_split("train")
    with pytest.raises(FileNotFoundError, match=r"train: there is no file none\.tsv$"):
        find_split_file(FinetuningConfig(train="none.tsv"), "train")
    with pytest.raises(FileNotFoundError, match="no training"):
        finetune(make_small_task(tmp_path, "sst2").config, tmp_path / "run")


def test_a_split_needs_rows(tmp_path: Path) -> None:
    """Kills: an empty split that trains on nothing."""
    write_tsv(tmp_path / "dev.tsv", "text|label")
    config = FinetuningConfig(data=str(tmp_path))
    with pytest.raises(ValueError, match=r"dev\.tsv has no rows: dev needs at least one"):
        read_split(config, "dev")
    assert read_split(config, "train") is None
    assert read_split(config, "dev", header=("a", "b")) == [{"a": "text", "b": "label"}]


def test_a_few_malformed_lines_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kills: a broken line of a large file that stops the run, or that goes unsaid."""
    write_tsv(tmp_path / "train.tsv", "text|label", *["w1|0", "w2|1"] * 1000, "w3")
    assert len(make_small_task(tmp_path, "classification").load_split("train").examples) == 2000
    assert "left out 1 lines with too few or too many cells; the first one:" in caplog.text


def test_hub_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: "dev" asked for by that name, a missing split taken for an error, unpublished labels
    taken for a class.
    """
    datasets = pytest.importorskip("datasets")
    rows = [{"premise": "w1", "hypothesis": "w2", "label": 2}]
    splits = {
        "train": rows,
        "validation_matched": [*rows, rows[0]],
        "validation_mismatched": rows[:1],
        "test": [{**rows[0], "label": -1}],
    }
    asked: list[Any] = []

    def load_dataset(*names: Any) -> Any:
        asked.append(names)
        return splits

    def load_no_dataset(*names: Any) -> Any:
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = {"data": "nyu-mll/glue", "data_config": "mnli"}
    task = make_small_task(tmp_path, "mnli", **source)
    train, dev, test = (task.load_split(name) for name in ("train", "dev", "test"))
    assert train.examples[0]["labels"] == dev.examples[0]["labels"] == 2
    assert "labels" not in test.examples[0]
    assert asked == [("nyu-mll/glue", "mnli")] * 3
    mismatched = make_small_task(tmp_path, "mnli", **source, dev="validation_mismatched")
    assert mismatched.load_split("dev").examples == dev.examples[:1]
    other = make_small_task(tmp_path, "mnli", **source, dev="validation")
    with pytest.raises(
        ValueError, match="dev='validation': nyu-mll/glue has the splits train, val"
    ):
        other.load_split("dev")
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: {"train": rows})
    assert task.load_split("dev") is None
    monkeypatch.setattr(datasets, "load_dataset", load_no_dataset)
    with pytest.raises(
        FileNotFoundError, match="is neither a directory nor a data set on the Hub: offline"
    ):
        task.load_split("train")


def test_columns_are_selected() -> None:
    """Kills: columns of two alternatives mixed, a missing value passed on as None."""
    rows = [{"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": None}]
    assert select_columns(rows, "these", ("a", "x"), ("b", "a")) == [(2, 1), (5, 4)]
    with pytest.raises(ValueError, match="these, row 2 has no c"):
        select_columns(rows, "these", ("a", "c"))
    with pytest.raises(ValueError, match=r"these has the columns a, b, c, but needs x, y or z$"):
        select_columns(rows, "these", ("x", "y"), ("z",))
    with pytest.raises(ValueError, match="but needs x; name them with the options text"):
        select_columns(rows, "these", ("x",), options="text")
