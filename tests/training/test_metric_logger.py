"""metrics.jsonl, TensorBoard files and curves."""

import json
from pathlib import Path

import pytest
from helpers.small_runs import finetune_in_two_parts, losses, small_config

from albert_torch.training.checkpointing import TrainingState
from albert_torch.training.config import TrainingConfig
from albert_torch.training.metric_logger import MetricLogger, plot_curves, read_metrics

CONFIG = TrainingConfig(steps=9)
TRAINING = {"loss": 1.5, "learning_rate": 0.1, "tokens_per_second": 100.0}


def log(directory: Path, state: TrainingState, last_step: int, is_main: bool = True) -> None:
    """Log the steps from a state to another, with an evaluation at the end."""
    with MetricLogger(directory, CONFIG, state, is_main) as metric_logger:
        for step in range(state.step + 1, last_step + 1):
            metric_logger.log(step, **TRAINING)
        metric_logger.log(last_step, dev_loss=2.0, dev_accuracy=50.0)


def test_lines_after_the_checkpoint_are_written_again(tmp_path: Path) -> None:
    """Kills: lines of updates that are computed twice, a line that is lost, other attempts lost."""
    log(tmp_path, TrainingState({}, {}), 5)
    log(tmp_path, TrainingState({}, {}, step=3), 6)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6, 6]
    log(tmp_path, TrainingState({}, {}, attempt=1), 2)
    pairs = [(line["attempt"], line["step"]) for line in read_metrics(tmp_path)]
    assert pairs == [*((0, step) for step in (1, 2, 3, 4, 5, 6, 6)), (1, 1), (1, 2), (1, 2)]


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    """Kills: a resumed run that cannot read its own file."""
    log(tmp_path, TrainingState({}, {}), 1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"attempt": 0, "st')
    assert len(read_metrics(tmp_path)) == 2
    log(tmp_path, TrainingState({}, {}, step=1), 2)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    """Kills: two processes that write into one file."""
    log(tmp_path, TrainingState({}, {}), 5, is_main=False)
    assert list(tmp_path.iterdir()) == []


def test_curves_are_drawn(tmp_path: Path) -> None:
    """Kills: a run that fails at its end because there is nothing to draw."""
    pytest.importorskip("matplotlib")
    plot_curves(tmp_path)
    (tmp_path / "curves.png").unlink()
    log(tmp_path, TrainingState({}, {}), 3)
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert not list(tmp_path.glob(".*"))


def test_tensorboard_has_the_metrics(tmp_path: Path) -> None:
    """Kills: files without the losses, or with two losses for a step after a resumed run."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("accelerate")
    finetune_in_two_parts(small_config(tmp_path, tensorboard=True), tmp_path / "run")
    board = events.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    values = [event.value for event in board.Scalars("loss")]
    assert values == pytest.approx(losses(tmp_path / "run"))
    assert len(board.Scalars("dev_accuracy")) == 3
