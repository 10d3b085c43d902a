"""The training loop with a toy model: what it does when, on which losses, and how it ends."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import stop_after
from torch import Tensor, nn

from albert_torch.training.checkpointing import TrainingState, load_checkpoint, restore_weights
from albert_torch.training.config import TrainingConfig
from albert_torch.training.distributed import Runtime
from albert_torch.training.loop import (
    Diverged,
    Evaluation,
    Learner,
    RunContext,
    StopReason,
    TrainingBatch,
    TrainingFunctions,
    train,
    update,
)
from albert_torch.training.metric_logger import read_metrics

pytest.importorskip("accelerate")


@dataclass
class ToyRun:
    """A linear model that learns a sum. Records what the loop calls, and when."""

    directory: Path
    options: dict[str, Any] = field(default_factory=dict)
    evaluate: Callable[[int], Evaluation] | None = None
    nan_at: int | None = None  # number of the update, from 0, whose loss is NaN
    calls: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        values = {
            "steps": 6,
            "batch_size": 4,
            "learning_rate": 0.1,
            "log_steps": 2,
            "eval_steps": 3,
        }
        self.config = TrainingConfig(**{**values, **self.options})
        torch.manual_seed(0)
        model = nn.Sequential(nn.Dropout(0.2), nn.Linear(3, 1))
        self.learner = Learner(model, torch.optim.AdamW(model.parameters()), lambda step: 1.0)
        self.state = TrainingState(self.config.to_dict(), {})
        self.directory.mkdir(exist_ok=True)

    def batches(self) -> Iterator[TrainingBatch]:
        """Eight examples per update, in as many micro-batches as the config says."""
        step = self.state.step
        while True:
            generator = torch.Generator().manual_seed(step)
            examples = [{"x": torch.randn(3, generator=generator)} for _ in range(8)]
            parts = self.config.gradient_accumulation_steps
            micro_batches = [examples[i::parts] for i in range(parts)]
            yield TrainingBatch(micro_batches, 24, f"the examples of step {step}", (step,))
            step += 1

    def compute_metrics(self, batch: TrainingBatch, micro_batch: list[dict[str, Any]]) -> Tensor:
        """The squared error, and the number of examples."""
        x = torch.stack([example["x"] for example in micro_batch])
        errors = self.learner.model(x).squeeze(-1) - x.sum(dim=-1)
        loss = errors.square().sum() / 8
        if self.state.step == self.nan_at:
            loss = loss * math.nan
        return torch.stack([loss, torch.tensor(float(len(micro_batch)))])

    def _evaluate(self) -> Evaluation:
        assert self.evaluate is not None
        self.calls.append(("evaluate", self.state.step))
        return self.evaluate(self.state.step)

    def train(self, on_update: Callable[[int], None] | None = None) -> StopReason:
        """Run the loop from the state on."""
        functions = TrainingFunctions(
            ("loss", "examples"),
            self.compute_metrics,
            evaluate=None if self.evaluate is None else self._evaluate,
            export=lambda weights: self.calls.append(("export", self.state.step)),
            on_update=on_update or (lambda step: self.calls.append(("on_update", step))),
        )
        context = RunContext(self.config, self.directory, Runtime(self.config))
        return train(context, self.learner, self.batches(), functions, self.state)

    def resume(self) -> StopReason:
        """Continue from the checkpoint in the directory."""
        checkpoint = load_checkpoint(self.directory, TrainingState)
        assert checkpoint is not None
        self.state = checkpoint.state
        restore_weights(checkpoint, self.learner.model, self.learner.optimizer)
        return self.train()


def good_evaluation(step: int) -> Evaluation:
    return Evaluation({"dev_loss": float(step)})


def test_evaluations_checkpoints_and_callbacks_have_their_order(tmp_path: Path) -> None:
    """Kills: a checkpoint before the evaluation it should remember, an interval that is one off, a
    last step that is neither evaluated nor saved.
    """
    run = ToyRun(tmp_path, {"steps": 5, "eval_steps": 2, "save_steps": 4}, good_evaluation)
    assert run.train() is StopReason.FINISHED
    assert run.calls == [
        ("on_update", 1),
        ("evaluate", 2),
        ("on_update", 2),
        ("on_update", 3),
        ("evaluate", 4),
        ("export", 4),
        ("on_update", 4),
        ("evaluate", 5),
        ("export", 5),
        ("on_update", 5),
    ]
    checkpoint = load_checkpoint(tmp_path, TrainingState)
    assert checkpoint is not None
    assert (checkpoint.state.step, checkpoint.state.position) == (5, (4,))


def test_metrics_are_means_over_the_updates_since_the_last_line(tmp_path: Path) -> None:
    """Kills: metrics of the last update alone, an update that is in two lines or in none."""
    every = ToyRun(tmp_path / "every", {"log_steps": 1})
    every.train()
    losses = [line["loss"] for line in read_metrics(tmp_path / "every")]
    run = ToyRun(tmp_path / "run", {"log_steps": 4, "eval_steps": 3}, good_evaluation)
    run.train()
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [3, 3, 4, 6, 6]
    means = [sum(losses[:3]) / 3, losses[3], sum(losses[4:]) / 2]
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(means, rel=1e-12)
    assert [line["dev_loss"] for line in lines if "dev_loss" in line] == [3.0, 6.0]
    assert all(line["examples"] == 8 for line in lines if "examples" in line)


def test_metrics_are_read_once_for_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a wait for the device at every update."""
    reads: list[int] = []
    sum_over_processes = Runtime.sum

    def counted(self: Runtime, x: Tensor) -> Tensor:
        reads.append(len(x))
        return sum_over_processes(self, x)

    monkeypatch.setattr(Runtime, "sum", counted)
    ToyRun(tmp_path, {"steps": 10, "log_steps": 5, "eval_steps": 10}).train()
    assert reads == [5, 5]


@pytest.mark.parametrize("step", [0, 1, 4])
def test_a_loss_that_is_nan_ends_the_run_before_anything_is_saved(
    tmp_path: Path, step: int
) -> None:
    """Kills: NaN weights that are evaluated or saved, an update that is named wrongly."""
    run = ToyRun(tmp_path, {"log_steps": 100, "save_steps": 2}, good_evaluation, nan_at=step)
    message = rf"update {step + 1}: the loss is nan .* on the examples of step {step}\. .*lower"
    with pytest.raises(Diverged, match=message):
        run.train()
    checkpoint = load_checkpoint(tmp_path, TrainingState)
    assert (0 if checkpoint is None else checkpoint.state.step) == step // 2 * 2
    assert ("evaluate", step + 1) not in run.calls


def test_an_evaluation_can_end_the_run(tmp_path: Path) -> None:
    """Kills: a reason that is lost, an early stop without a checkpoint to resume from."""
    for reason in (StopReason.EARLY_STOPPING, StopReason.COLLAPSE):

        def evaluate(step: int, reason: StopReason = reason) -> Evaluation:
            return Evaluation({"dev_loss": 1.0}, reason if step == 4 else None)

        directory = tmp_path / reason.value
        run = ToyRun(directory, {"steps": 9, "eval_steps": 2, "save_steps": 100}, evaluate)
        assert run.train() is reason
        assert run.state.step == 4
        assert (directory / "last.pt").exists() == (reason is StopReason.EARLY_STOPPING)


def test_losses_since_the_last_evaluation_are_kept(tmp_path: Path) -> None:
    """Kills: losses that a resumed run has forgotten, or that are never removed."""
    seen: list[list[float]] = []
    run = ToyRun(tmp_path, {"eval_steps": 4, "save_steps": 2})

    def evaluate(step: int) -> Evaluation:
        seen.append(list(run.state.recent_losses))
        return good_evaluation(step)

    run.evaluate = evaluate
    with pytest.raises(KeyboardInterrupt):
        run.train(on_update=stop_after(2))
    run.resume()
    assert [len(losses) for losses in seen] == [4, 2]
    assert run.state.recent_losses == []


@pytest.mark.parametrize("parts", [2, 4])
def test_micro_batches_add_up_to_the_batch(tmp_path: Path, parts: int) -> None:
    """Kills: a micro-batch whose gradient is lost or scaled, a sum of metrics over its own
    share.
    """
    whole = ToyRun(tmp_path / "whole", {"log_steps": 1})
    in_parts = ToyRun(tmp_path / "parts", {"log_steps": 1, "gradient_accumulation_steps": parts})
    for run in (whole, in_parts):
        run.learner.model[0].p = 0.0
        run.train()
    assert torch.allclose(
        in_parts.learner.model[1].weight, whole.learner.model[1].weight, rtol=0, atol=1e-6
    )
    losses = [[line["loss"] for line in read_metrics(run.directory)] for run in (whole, in_parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert all(line["examples"] == 8 for line in read_metrics(in_parts.directory))


@pytest.mark.parametrize("last_step", [1, 2, 4, 5])
def test_an_interrupted_run_continues_bit_for_bit(tmp_path: Path, last_step: int) -> None:
    """Kills: dropout, moments, batches or lines of metrics.jsonl that are not continued."""
    whole = ToyRun(tmp_path / "whole", {"save_steps": 1, "log_steps": 1}, good_evaluation)
    whole.train()
    part = ToyRun(tmp_path / "part", {"save_steps": 1, "log_steps": 1}, good_evaluation)
    with pytest.raises(KeyboardInterrupt):
        part.train(on_update=stop_after(last_step))
    resumed = ToyRun(tmp_path / "part", {"save_steps": 1, "log_steps": 1}, good_evaluation)
    resumed.resume()
    assert torch.equal(whole.learner.model[1].weight, resumed.learner.model[1].weight)
    for line, expected in zip(
        read_metrics(tmp_path / "part"), read_metrics(tmp_path / "whole"), strict=True
    ):
        line.pop("tokens_per_second", None)
        expected.pop("tokens_per_second", None)
        assert line == expected


def test_gradients_are_clipped_and_the_schedule_is_followed(tmp_path: Path) -> None:
    """Kills: a learning rate of the next update, a norm after clipping, a clipping to 0."""
    run = ToyRun(tmp_path, {"log_steps": 1, "max_grad_norm": 1e-3})
    run.learner.optimizer = torch.optim.SGD(run.learner.model.parameters())
    run.learner.lr_multiplier = partial(pow, 0.5)
    before = nn.utils.parameters_to_vector(run.learner.model.parameters()).detach().clone()
    run.train()
    lines = read_metrics(tmp_path)
    assert [line["learning_rate"] for line in lines] == [0.1 * 0.5**step for step in range(6)]
    assert all(line["grad_norm"] > 0.01 for line in lines)
    after = nn.utils.parameters_to_vector(run.learner.model.parameters()).detach()
    assert 0 < (after - before).norm() <= 0.1 * 2 * 1e-3
    unclipped = ToyRun(tmp_path / "unclipped", {"max_grad_norm": 0.0})
    unclipped.train()
    assert all(torch.isfinite(p).all() for p in unclipped.learner.model.parameters())


def test_dropout_differs_between_steps_processes_and_seeds(tmp_path: Path) -> None:
    """Kills: the same dropout at every step, on both processes, or for every seed; dropout that
    depends on what was drawn before.
    """
    run = ToyRun(tmp_path)
    seeds: list[int] = []

    def compute_metrics(batch: TrainingBatch, micro_batch: list[dict[str, Any]]) -> Tensor:
        seeds.append(torch.initial_seed())
        return run.compute_metrics(batch, micro_batch)

    def seed_of(step: int, rank: int = 0, seed: int = 1) -> int:
        torch.manual_seed(99)
        runtime = Runtime(run.config)
        runtime.rank, runtime.world_size = rank, 2
        context = RunContext(replace(run.config, seed=seed), tmp_path, runtime)
        functions = TrainingFunctions(("loss", "examples"), compute_metrics)
        update(context, run.learner, functions, next(run.batches()), step)
        return seeds[-1]

    different = [seed_of(0), seed_of(1), seed_of(0, rank=1), seed_of(1, rank=1), seed_of(0, seed=2)]
    assert len(set(different)) == 5
    assert seed_of(1, rank=1) == different[3]
