"""Detection of a model that only guesses, and restarts after it."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from helpers.small_runs import small_config, stop_after

from albert_torch.finetuning import StopReason, finetune
from albert_torch.finetuning.attempt import FinetuningState
from albert_torch.finetuning.collapse import only_guesses
from albert_torch.finetuning.tasks.base import Split
from albert_torch.training.checkpointing import load_checkpoint
from albert_torch.training.metric_logger import read_metrics


def guesses(labels: list[int], logits: torch.Tensor, loss: float, num_classes: int = 2) -> bool:
    split = Split([{"labels": label} for label in labels])
    task = cast(Any, SimpleNamespace(num_classes=num_classes))
    return only_guesses(task, split, list(logits), [loss] * 3)


ONE_CLASS = torch.randn(8, 2).sort(dim=-1).values  # always class 1, with different probabilities
TWO_CLASSES = torch.eye(2).repeat(4, 1)
EQUAL_CHOICES = torch.tensor([[0.0, 0.001], [0.001, 0.0]]).repeat(4, 1)
EVEN = [0, 1] * 4


@pytest.mark.parametrize(
    ("labels", "logits", "loss", "expected"),
    [
        (EVEN, ONE_CLASS, math.log(2), True),
        (EVEN, ONE_CLASS, 0.5, False),  # it learns, even if it predicts one class so far
        (EVEN, TWO_CLASSES, math.log(2), False),
        (EVEN, EQUAL_CHOICES, math.log(2), True),
        ([0] * 7 + [1], ONE_CLASS, 0.377, True),  # guessing costs less if one class is frequent
        ([0] * 7 + [1], ONE_CLASS, 0.3, False),
        ([1] * 8, ONE_CLASS, 0.0, False),  # all labels are that class
    ],
)
def test_guessing(labels: list[int], logits: torch.Tensor, loss: float, expected: bool) -> None:
    """Kills: ln C for classes that are not equally frequent, a falling loss that counts as
    collapse, choices that are never detected.
    """
    assert guesses(labels, logits, loss) is expected


def test_tasks_without_classes_never_guess() -> None:
    """Kills: regression or spans judged by their largest value."""
    assert not guesses(EVEN, ONE_CLASS, 9.0, num_classes=0)


def attempts(directory: Path) -> list[int]:
    """The attempt of each evaluation."""
    return [line["attempt"] for line in read_metrics(directory) if "dev_loss" in line]


def test_a_collapsed_run_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a collapse without a warning, a restart with the same seed or learning rate, one that
    a resumed run forgets.
    """
    monkeypatch.setattr("albert_torch.finetuning.evaluation.MIN_UPDATES", 0)
    config = small_config(tmp_path, learning_rate=4e-12, restarts_on_collapse=2)
    (result,) = finetune(config, tmp_path / "run")
    assert "the model has collapsed" in caplog.text
    assert "lower learning_rate" in caplog.text
    assert (result.attempt, result.stop_reason, result.collapsed) == (2, StopReason.FINISHED, True)
    checkpoint = load_checkpoint(tmp_path / "run", FinetuningState)
    assert checkpoint is not None
    options = checkpoint.state.config
    assert (options["seed"], options["learning_rate"]) == (config.seed + 2000, 1e-12)
    assert attempts(tmp_path / "run") == [0, 0, 1, 1, 2, 2, 2]
    assert finetune(config, tmp_path / "run", resume=True)[0].attempt == 2


def test_a_collapse_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a run that was interrupted after its collapse and then goes on with the
    collapsed model.
    """
    monkeypatch.setattr("albert_torch.finetuning.evaluation.MIN_UPDATES", 0)
    config = small_config(tmp_path, learning_rate=4e-12, restarts_on_collapse=2)
    finetune(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        finetune(config, tmp_path / "cut", on_update=stop_after(8))  # where the first one collapses
    (result,) = finetune(config, tmp_path / "cut", resume=True)
    assert result.attempt == 2
    assert attempts(tmp_path / "cut") == attempts(tmp_path / "whole")


def test_a_short_run_is_not_called_collapsed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kills: a trial of a few steps, whose model has not learned yet, that is called collapsed."""
    config = small_config(tmp_path, learning_rate=4e-12, restarts_on_collapse=2)
    (result,) = finetune(config, tmp_path / "run")
    assert (result.attempt, result.collapsed) == (0, False)
    assert "collapsed" not in caplog.text


def test_a_healthy_run_is_not_called_collapsed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kills: false alarms during the warmup or while the loss falls."""
    config = small_config(tmp_path, learning_rate=5e-3, steps=60, eval_steps=20)
    (result,) = finetune(config, tmp_path / "run")
    assert not result.collapsed
    assert "collapsed" not in caplog.text
