"""`Attempt`: the data, model and state of one attempt at a fine-tuning run, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.model import build_task_model
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.training.checkpointing import (
    Checkpoint,
    TrainingState,
    check_same_run,
    describe_changes,
    restore_weights,
)
from albert_torch.training.distributed import Runtime
from albert_torch.training.loop import Learner, RunContext, StopReason
from albert_torch.training.optim import build_adamw
from albert_torch.training.schedules import linear_decay_after_warmup


@dataclass
class Datasets:
    """The task of a run and its splits, which are read once for all attempts and seeds."""

    task: Task
    train: Split
    dev: Split | None
    test: Split | None


@dataclass
class FinetuningState(TrainingState):
    """How far a fine-tuning run has come, and what its evaluations found.

    Attributes:
        best: The best value of the metric; None before the first evaluation.
        best_step: The number of updates at which it was reached.
        best_scores: All scores of that evaluation.
        evaluations_since_best: The number of evaluations after it.
        guessing_evaluations: The number of latest evaluations at which the model only guessed.
        collapsed: Whether the model has collapsed to guessing.
    """

    best: float | None = None
    best_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    evaluations_since_best: int = 0
    guessing_evaluations: int = 0
    collapsed: bool = False


@dataclass
class FinetuningResult:
    """How a fine-tuning run ended.

    Attributes:
        stop_reason: Why it ended.
        step: The number of updates done.
        metric: The name of the metric that selects the best model.
        best: Its best value on the dev split; None without a dev split.
        best_step: The number of updates at which it was reached.
        scores: All scores of that evaluation.
        attempt: How often the run was started again after a collapse.
        collapsed: Whether the last attempt collapsed.
    """

    stop_reason: StopReason
    step: int
    metric: str
    best: float | None = None
    best_step: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    attempt: int = 0
    collapsed: bool = False


@dataclass
class Attempt:
    """Everything that one attempt works with.

    Attributes:
        context: Where and how it is computed.
        datasets: The task and its splits.
        model: The model, without the wrapper of distributed training.
        learner: The placed model with its optimizer and schedule.
        state: How far the attempt has come.
    """

    context: RunContext[FinetuningConfig]
    datasets: Datasets
    model: AlbertPreTrainedModel
    learner: Learner
    state: FinetuningState

    @property
    def metric(self) -> str:
        """The name of the metric that selects the best model."""
        return self.context.config.metric or self.datasets.task.metric


def start_attempt(
    config: FinetuningConfig,
    directory: Path,
    datasets: Datasets,
    attempt: int,
    checkpoint: Checkpoint[FinetuningState] | None,
) -> Attempt:
    """Build the model of an attempt, or restore it from a checkpoint.

    Args:
        config: The options of this attempt.
        directory: Where its files are written.
        datasets: The task and its splits.
        attempt: The number of attempts before this one.
        checkpoint: The checkpoint that is to be continued, if any.

    Raises:
        ValueError: There are fewer examples than micro-batches, or the checkpoint belongs to
            another run.
    """
    runtime = Runtime(config)
    num_examples = len(datasets.train.examples)
    if num_examples < runtime.num_micro_batches:
        raise ValueError(
            f"{num_examples} training examples are too few for {runtime.world_size} processes with "
            f"gradient_accumulation_steps={config.gradient_accumulation_steps}: lower one of them"
        )
    model = build_task_model(config, datasets.task)
    placed = runtime.place(model)
    schedule = partial(
        linear_decay_after_warmup, warmup_steps=config.warmup_steps, total_steps=config.steps
    )
    learner = Learner(placed, build_adamw(placed, config), schedule)
    data = {"number of training examples": num_examples}
    if checkpoint is None:
        state = FinetuningState(config.to_dict(), data, attempt)
    else:
        state = checkpoint.state
        check_same_run(state, config, describe_changes(state.data, data))
        restore_weights(checkpoint, placed, learner.optimizer)
        state.config = config.to_dict()
    return Attempt(RunContext(config, directory, runtime), datasets, model, learner, state)
