"""Token classification: labels of words, and words without a label."""

from pathlib import Path

import pytest
from helpers.tasks import make_small_task, pieces


def test_conll_labels_the_first_piece_of_a_word(tmp_path: Path) -> None:
    """Kills: labels on every piece, words cut off that are not counted, a document mark taken for a
    word.
    """
    (tmp_path / "train.txt").write_text(
        "-DOCSTART- -X- O O\n\nw1 NN I O\ngood.bad NN I B-X\nw2 NN I I-X\n\nw3 NN I O\n",
        encoding="utf-8",
    )
    (tmp_path / "dev.txt").write_text(
        (tmp_path / "train.txt").read_text() + "\n\u200b O\nw1 I O\n\n\u200b O\n"
    )
    task = make_small_task(tmp_path, "conll", max_length=5)
    rows = task.load_split("train").examples
    assert task.labels == ["O", "B-X", "I-X"]
    assert pieces(task, rows[0]["input_ids"]) == "[CLS] w1 good . [SEP]"
    assert rows[0]["labels"] == [-100, 0, 1, -100, -100]
    assert task.num_targets(rows[0]) == 2
    dev, kept = (
        task.load_split("dev"),
        [[0, 1], [0], [1], []],
    )  # the third word was cut off: "O", so the entity is too short
    scores = task.score(dev, kept)
    assert scores["f1"] == 0
    assert scores["accuracy"] == pytest.approx(
        100 * 5 / 7
    )  # of 7 words: the one cut off and the last w1 are wrong
    said = [line["prediction"] for line in task.predictions(dev, kept)]
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
        task.load_split("dev")
    (tmp_path / "dev.txt").write_text("w1\n")
    with pytest.raises(ValueError, match=r"dev.txt, line 1: 'w1' needs a word and a tag"):
        task.load_split("dev")
