"""Question answering: windows over long texts, answers from scores, and training with "no
answer".
"""

from pathlib import Path

import pytest
import torch
from helpers.constants import ROOT
from helpers.small_runs import small_config
from helpers.tasks import make_small_task, outputs_equal_to_labels, write_squad

from albert_torch import AlbertForAnswerableQuestions
from albert_torch.finetuning import FinetuningConfig, finetune
from albert_torch.finetuning.tasks.registry import make_task
from albert_torch.training.data import collate
from albert_torch.training.model import load_tokenizer


@pytest.mark.parametrize("v2", [False, True])
def test_squad_windows_hold_every_answer(tmp_path: Path, v2: bool) -> None:
    """Kills: offsets of the question, an answer lost between windows, a text rebuilt from
    pieces.
    """
    write_squad(tmp_path / ("train-v2.0.json" if v2 else "train-v1.1.json"), impossible=v2)
    task = make_small_task(tmp_path, "squad2" if v2 else "squad1", max_length=20, doc_stride=6)
    split = task.load_split("train")
    assert len(split.examples) > 24
    assert max(len(row["input_ids"]) for row in split.examples) == 20
    for row, window in zip(split.examples, split.references.windows, strict=True):
        if row["start_positions"]:  # the whole answer, or nothing
            question = split.references.questions[window.question]
            first, last = (window.offsets[row[f"{end}_positions"]] for end in ("start", "end"))
            assert question.context[first[0] : last[1]].strip() == question.answers[0][0]
    scores = task.score(split, outputs_equal_to_labels(split))
    assert scores["exact"] == scores["f1"] == 100
    if v2:
        assert scores["HasAns_exact"] == scores["NoAns_exact"] == scores["best_f1"] == 100
    blank = [
        (torch.zeros(len(row["input_ids"])), torch.zeros(len(row["input_ids"])), 0.0)
        for row in split.examples
    ]
    assert task.score(split, blank)["exact"] < 50


def test_answers_that_are_not_where_the_file_says(tmp_path: Path) -> None:
    """Kills: training on other words than the answer."""
    write_squad(tmp_path / "train-v1.1.json", shift=1)
    with pytest.raises(
        ValueError,
        match="24 of 24 training questions have no answer where their file says, the first",
    ):
        make_small_task(tmp_path, "squad1", doc_stride=6).load_split("train")
    write_squad(tmp_path / "train-v1.1.json", impossible=True)
    with pytest.raises(ValueError, match="use the task squad2"):
        make_small_task(tmp_path, "squad1", doc_stride=6).load_split("train")
    (tmp_path / "train-v1.1.json").write_text('{"data": [{}]}')
    with pytest.raises(ValueError, match="is not a SQuAD file"):
        make_small_task(tmp_path, "squad1", doc_stride=6).load_split("train")


def test_windows_must_be_longer_than_what_they_have_in_common(tmp_path: Path) -> None:
    """Kills: an error of the tokenizer that does not name the options."""
    with pytest.raises(ValueError, match="doc_stride=37 must be below 37, which is max_length=40"):
        make_small_task(tmp_path, "squad1", doc_stride=37)


def test_the_output_for_no_answer_stands_for_itself(tmp_path: Path) -> None:
    """Kills: log-odds that are compared with the score of a span; a threshold other than 0."""
    write_squad(tmp_path / "train-v2.0.json", count=1)
    task = make_small_task(tmp_path, "squad2", answerability_head=True, doc_stride=6)
    split = task.load_split("train")
    ((start, end, _),) = outputs_equal_to_labels(split)
    right = split.references.questions[0].answers[0][0]
    for log_odds, prediction in ((0.5, ""), (-0.5, right)):
        (line,) = task.predictions(split, [(start, end, log_odds)])
        assert line == {"id": "0", "prediction": prediction, "no_answer": log_odds}
    plain = make_small_task(tmp_path, "squad2", doc_stride=6)
    for score, prediction in ((18.5, ""), (17.5, right)):  # the span scores 18
        (line,) = plain.predictions(split, [(start, end, score)])
        assert line == {"id": "0", "prediction": prediction, "no_answer": score - 18}


@pytest.mark.parametrize("with_head", [False, True])
def test_squad2_trains(tmp_path: Path, with_head: bool) -> None:
    """Kills: an answerability head that is not trained, not saved, or not asked."""
    write_squad(tmp_path / "train-v2.0.json", impossible=True)
    config = small_config(
        tmp_path,
        task="squad2",
        data=str(tmp_path),
        dev="train-v2.0.json",
        max_length=20,
        doc_stride=6,
        steps=120,
        learning_rate=5e-3,
        eval_steps=60,
        dropout=0.0,
        answerability_head=with_head,
    )
    (result,) = finetune(config, tmp_path / "run")
    assert result.scores["f1"] > 60
    assert result.scores["best_f1"] >= result.scores["f1"]
    names = set(torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"])
    assert ("impossible.weight" in names) == with_head
    task = make_small_task(
        tmp_path, "squad2", answerability_head=with_head, max_length=20, doc_stride=6
    )
    task.head_class.from_pretrained(tmp_path / "run")
    split = task.load_split("train")
    assert task.score(split, outputs_equal_to_labels(split, with_head))["exact"] == 100


@pytest.mark.assets
def test_xquad_answers_are_exact_characters(assets: Path, tmp_path: Path) -> None:
    """Kills: offsets that a normalizer moves.  Every answer of the real file comes back from its
    labels.
    """
    config = FinetuningConfig(
        task="squad1",
        tokenizer=str(assets / "assets" / "spiece.model"),
        max_length=384,
        train=str(assets / "data" / "XQuAD-en" / "xquad.en.json"),
    )
    task = make_task(config, load_tokenizer(config))
    split = task.load_split("train")
    assert len(split.references.questions) == 1190
    assert task.score(split, outputs_equal_to_labels(split))["exact"] > 98


def test_the_recipe_of_squad2_trains_a_model_that_loads(tmp_path: Path) -> None:
    """Kills: a recipe whose model the package cannot load, or loads without its output for "no
    answer".
    """
    write_squad(tmp_path / "train-v2.0.json", impossible=True)
    small = small_config(tmp_path)
    values = {
        "model": "",
        "tokenizer": small.tokenizer,
        "model_config": small.model_config,
        "data": str(tmp_path),
        "dev": "train-v2.0.json",
        "max_length": 20,
        "doc_stride": 6,
        "batch_size": 8,
        "steps": 4,
        "warmup_steps": 1,
    }
    config = FinetuningConfig.load(ROOT / "configs" / "finetune" / "squad2.toml", **values)
    (result,) = finetune(config, tmp_path / "run")
    task = make_task(config, load_tokenizer(config))
    split = task.load_split("dev")
    assert split is not None
    model = AlbertForAnswerableQuestions.from_pretrained(tmp_path / "run")
    outputs = []
    for example in split.examples:
        batch = collate([example], task.tokenizer.pad_token_id)
        with torch.no_grad():
            outputs += task.collect_outputs(model(**batch), batch)
    assert task.score(split, outputs)["f1"] == pytest.approx(result.scores["f1"])
