"""The training loop, which fine-tuning and pretraining share.

`train` reads from top to bottom. What differs between the two is passed to it: batches, and the
functions that compute the loss, evaluate the model, and export it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from albert_torch.training.checkpointing import (
    Checkpoint,
    StateDict,
    TrainingState,
    gather_weights,
    save_checkpoint,
)
from albert_torch.training.config import TrainingConfig
from albert_torch.training.data import Inputs
from albert_torch.training.distributed import Runtime
from albert_torch.training.metric_logger import MetricLogger
from albert_torch.training.schedules import LRSchedule

ConfigT = TypeVar("ConfigT", bound=TrainingConfig, covariant=True)


class Diverged(ValueError):
    """The loss or the norm of the gradients is not a finite number."""


class StopReason(str, Enum):
    """Why a run ended."""

    FINISHED = "finished"  # all updates were done
    EARLY_STOPPING = "early_stopping"  # the evaluations no longer improve
    COLLAPSE = "collapse"  # the model only guesses


@dataclass(frozen=True)
class RunContext(Generic[ConfigT]):
    """Where and how a run is computed.

    Attributes:
        config: The options of the run.
        directory: Where its files are written.
        runtime: The device of this process, and its communication with the others.
    """

    config: ConfigT
    directory: Path
    runtime: Runtime


@dataclass
class Learner:
    """What an update changes, and how.

    Attributes:
        model: The model as `Runtime.place` returned it.
        optimizer: The optimizer of its parameters.
        lr_multiplier: The schedule: the factor of the learning rate at each update.
    """

    model: nn.Module
    optimizer: Optimizer
    lr_multiplier: LRSchedule


@dataclass
class TrainingBatch:
    """The examples that this process contributes to one update.

    Attributes:
        micro_batches: The examples, in the groups that are computed one after the other.
        num_tokens: The number of tokens of the update, over all processes.
        description: What names the examples of the update in an error message.
        position: The position in the stream of examples after this batch; may be empty.
    """

    micro_batches: list[list[Inputs]]
    num_tokens: int
    description: str
    position: tuple[int, ...]


BatchT = TypeVar("BatchT", bound=TrainingBatch)


@dataclass
class Evaluation:
    """The metrics of an evaluation, and whether the run should end after it."""

    metrics: dict[str, float]
    stop_reason: StopReason | None = None


@dataclass
class TrainingFunctions(Generic[BatchT]):
    """What differs between fine-tuning and pretraining.

    Attributes:
        metric_names: The names of the values that `compute_metrics` returns. The first is the loss.
        compute_metrics: Maps a batch and one of its micro-batches to the micro-batch's share of the
            metrics of the update, a tensor of shape (number of metrics,). The sum over
            micro-batches and processes is the metric of the update. The first value, the loss, is
            trained on.
        evaluate: Evaluates the model on all processes; None: no evaluation.
        export: Writes the model in another form with every checkpoint, from its weights. Called on
            the main process only.
        on_update: Called at the end of each update with the number of updates done. An exception
            that it raises ends the run, which can be resumed.
    """

    metric_names: tuple[str, ...]
    compute_metrics: Callable[[BatchT, list[Inputs]], Tensor]
    evaluate: Callable[[], Evaluation] | None = None
    export: Callable[[StateDict], None] | None = None
    on_update: Callable[[int], None] | None = None


@dataclass
class UpdateResult:
    """The measurements of an update, which are still on the device."""

    metrics: Tensor  # this process's share, (number of metrics,)
    grad_norm: Tensor
    num_tokens: int
    description: str


def train(
    context: RunContext[TrainingConfig],
    learner: Learner,
    batches: Iterator[BatchT],
    functions: TrainingFunctions[BatchT],
    state: TrainingState,
) -> StopReason:
    """Train from `state.step` to the last step of the config, or until an evaluation ends the run.

    Args:
        context: Where and how the run is computed.
        learner: Model, optimizer and schedule. When a run is resumed, with the weights of its
            checkpoint.
        batches: One batch for each update, beginning with that of `state.step`.
        functions: The functions that compute metrics, evaluate and export.
        state: How far the run has come; updated in place.

    Returns:
        Why the run ended.

    Raises:
        Diverged: The loss or the norm of the gradients became NaN or infinite.
        OSError: The disk is full. The last checkpoint is unchanged.
    """
    config = context.config
    stop_reason: StopReason | None = None
    unread: list[UpdateResult] = []
    started = time.perf_counter()
    with MetricLogger(context.directory, config, state, context.runtime.is_main) as metric_logger:
        while state.step < config.steps and stop_reason is None:
            # ---- one update ----
            batch = next(batches)
            unread.append(update(context, learner, functions, batch, state.step))
            state.step += 1
            state.position = batch.position

            # ---- what is due after it ----
            is_last = state.step == config.steps
            logging_due = state.step % config.log_steps == 0 or is_last
            evaluation_due = functions.evaluate is not None and (
                state.step % config.steps_between_evaluations == 0 or is_last
            )
            checkpoint_due = state.step % config.steps_between_checkpoints == 0 or is_last

            # Metrics are also read before an evaluation or a checkpoint, so that weights which
            # are NaN are never saved.
            if logging_due or evaluation_due or checkpoint_due:
                metrics, grad_norms = read_results(context, unread, state.step)
                seconds = time.perf_counter() - started
                metric_logger.log(
                    state.step,
                    **dict(zip(functions.metric_names, _means(metrics), strict=True)),
                    learning_rate=learner.optimizer.param_groups[0]["lr"],
                    grad_norm=grad_norms[-1],
                    tokens_per_second=sum(result.num_tokens for result in unread) / seconds,
                )
                if functions.evaluate is not None:
                    state.recent_losses += [values[0] for values in metrics]
                unread = []
                started = time.perf_counter()

            if evaluation_due and functions.evaluate is not None:
                evaluation = functions.evaluate()
                metric_logger.log(state.step, **evaluation.metrics)
                stop_reason = evaluation.stop_reason
                state.recent_losses = []
                started = time.perf_counter()

            if checkpoint_due or stop_reason is StopReason.EARLY_STOPPING:
                write_checkpoint(context, learner, functions.export, state)

            if functions.on_update is not None:
                functions.on_update(state.step)
    return stop_reason or StopReason.FINISHED


def step_seed(config: TrainingConfig, step: int) -> int:
    """Return a number that differs for every update of a run, and between runs of other seeds."""
    return config.seed * 1_000_003 + step


def update(
    context: RunContext[TrainingConfig],
    learner: Learner,
    functions: TrainingFunctions[BatchT],
    batch: BatchT,
    step: int,
) -> UpdateResult:
    """Update the model once: forward and backward of all micro-batches, then the optimizer."""
    config, runtime, model = context.config, context.runtime, learner.model
    # Dropout is a function of seed, step and process, so that a resumed run repeats it.
    torch.manual_seed(step_seed(config, step) * runtime.world_size + runtime.rank)
    model.train()
    metrics = torch.zeros(len(functions.metric_names), device=runtime.device)
    for i, micro_batch in enumerate(batch.micro_batches):
        is_last = i == len(batch.micro_batches) - 1
        with runtime.synchronized(model, enabled=is_last):
            share = functions.compute_metrics(batch, micro_batch)
            # Gradients are averaged over processes, but the shares of the loss are to be added.
            torch.autograd.backward(share[0] * runtime.world_size)
        metrics = metrics + share.detach()
    grad_norm = clip_grad_norm_(model.parameters(), config.max_grad_norm or math.inf)
    for group in learner.optimizer.param_groups:
        group["lr"] = config.learning_rate * learner.lr_multiplier(step)
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    if hasattr(grad_norm, "full_tensor"):  # a sharded model
        grad_norm = grad_norm.full_tensor()
    return UpdateResult(metrics, grad_norm, batch.num_tokens, batch.description)


def read_results(
    context: RunContext[TrainingConfig], results: list[UpdateResult], step: int
) -> tuple[list[list[float]], list[float]]:
    """Read the measurements of several updates at once, since each read waits for the device.

    Args:
        context: The run.
        results: The measurements of the updates that end with number `step`.
        step: The number of updates done.

    Returns:
        The metrics of each update, over all processes, and the gradient norm of each update.

    Raises:
        Diverged: A loss or a norm is not finite.
    """
    shares = torch.stack([result.metrics for result in results])
    metrics: list[list[float]] = context.runtime.sum(shares).tolist()
    grad_norms: list[float] = torch.stack([result.grad_norm for result in results]).tolist()
    first_step = step - len(results) + 1
    for i, result in enumerate(results):
        loss, grad_norm = metrics[i][0], grad_norms[i]
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise Diverged(
                f"update {first_step + i}: the loss is {loss} and the gradient norm {grad_norm} on "
                f"{result.description}. {context.directory} holds the last good checkpoint; lower "
                "learning_rate, or look at these examples"
            )
    return metrics, grad_norms


def _means(metrics: list[list[float]]) -> list[float]:
    """The mean of each metric over updates."""
    return [sum(values) / len(values) for values in zip(*metrics, strict=True)]


def write_checkpoint(
    context: RunContext[TrainingConfig],
    learner: Learner,
    export: Callable[[StateDict], None] | None,
    state: TrainingState,
) -> None:
    """Write the checkpoint of a run, and the exported model if there is a function for that."""
    weights, optimizer_state = gather_weights(learner.model, learner.optimizer)
    if context.runtime.is_main:
        if export is not None:
            export(weights)
        save_checkpoint(Checkpoint(state, weights, optimizer_state), context.directory)
    context.runtime.wait_for_all()
