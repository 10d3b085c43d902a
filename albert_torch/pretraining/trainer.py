"""Training of a pretraining run: its model, its batches, its metrics and its evaluations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from albert_torch.heads import AlbertForPreTraining
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.dataloader import pretraining_batches
from albert_torch.pretraining.examples import Examples, Position
from albert_torch.pretraining.objective import LossSums, PretrainingObjective
from albert_torch.pretraining.prepare import corpus_differences
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.checkpointing import (
    Checkpoint,
    StateDict,
    TrainingState,
    check_same_run,
    restore_weights,
)
from albert_torch.training.data import (
    Inputs,
    collate,
    count_targets,
    count_tokens,
    evaluation_batches,
)
from albert_torch.training.loop import (
    Evaluation,
    Learner,
    RunContext,
    TrainingBatch,
    TrainingFunctions,
    train,
)
from albert_torch.training.model import build_model
from albert_torch.training.optim import OPTIMIZERS
from albert_torch.training.schedules import polynomial_decay_from_start

logger = logging.getLogger(__name__)

METRIC_NAMES = ("loss", "mlm_loss", "sop_loss", "mlm_accuracy", "sop_accuracy")


@dataclass
class PretrainingDatasets:
    """What a run is trained and evaluated on.

    Attributes:
        examples: The examples of the corpus.
        dev: The examples to evaluate on; empty: no evaluation.
        description: What identifies the corpus.
    """

    examples: Examples
    dev: list[Inputs]
    description: dict[str, Any]


@dataclass
class PretrainingState(TrainingState):
    """How far a pretraining run has come, with the metrics of its last evaluation."""

    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class PretrainingResult:
    """How a pretraining run ended: the number of updates and the metrics of the last evaluation."""

    step: int
    scores: dict[str, float]


@dataclass
class PretrainingRun:
    """Everything that a run works with.

    Attributes:
        context: Where and how it is computed.
        tokenizer: The tokenizer of the corpus.
        datasets: The examples to train and to evaluate on.
        objective: The objective, without the wrapper of distributed training.
        learner: The placed objective with its optimizer and schedule.
        state: How far the run has come.
    """

    context: RunContext[PretrainingConfig]
    tokenizer: AlbertTokenizer
    datasets: PretrainingDatasets
    objective: PretrainingObjective
    learner: Learner
    state: PretrainingState


@dataclass
class PretrainingBatch(TrainingBatch):
    """A batch with the counts that its metrics are means over, for all processes."""

    num_masked: int
    num_examples: int


def build_objective(config: PretrainingConfig, tokenizer: AlbertTokenizer) -> PretrainingObjective:
    """Return the objective with the model that a run starts from.

    Raises:
        ValueError: The config does not describe a model, or the tokenizer does not fit it.
    """
    model = build_model(config, AlbertForPreTraining, tokenizer)
    if config.sinusoidal_position_init and not config.model:
        weight = model.albert.embeddings.position_embeddings.weight
        init_sinusoidal_positions(weight, model.config.initializer_range)
    return PretrainingObjective(model)


@torch.no_grad()
def init_sinusoidal_positions(weight: Tensor, std: float) -> None:
    """Fill position embeddings with sinusoids (Vaswani et al. 2017, section 3.5).

    The step from one position to the next is then the same rotation everywhere, which the model
    would otherwise have to learn for each position.

    Args:
        weight: The position embeddings, (positions, E); changed in place.
        std: The standard deviation of the result.
    """
    num_positions, size = weight.shape
    frequencies = 10_000 ** (torch.arange(0, size, 2) / size)
    angles = torch.arange(num_positions)[:, None] / frequencies  # (positions, E / 2)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]
    weight.copy_(waves * (std * 2**0.5))


def start_learner(
    context: RunContext[PretrainingConfig], objective: PretrainingObjective
) -> Learner:
    """Place an objective on the device of this process, with its optimizer and schedule."""
    config = context.config
    placed = context.runtime.place(objective)
    schedule = partial(
        polynomial_decay_from_start,
        warmup_steps=config.warmup_steps,
        total_steps=config.steps,
        power=config.lr_decay_power,
    )
    return Learner(placed, OPTIMIZERS[config.optimizer](placed, config), schedule)


def start_state(
    config: PretrainingConfig,
    learner: Learner,
    datasets: PretrainingDatasets,
    checkpoint: Checkpoint[PretrainingState] | None,
) -> PretrainingState:
    """Return the state of a new run, or restore that of a checkpoint with all weights.

    Raises:
        ValueError: The checkpoint belongs to a run with other options or another corpus.
    """
    if checkpoint is None:
        return PretrainingState(config.to_dict(), datasets.description)
    state = checkpoint.state
    check_same_run(state, config, corpus_differences(state.data, datasets.description))
    restore_weights(checkpoint, learner.model, learner.optimizer)
    state.config = config.to_dict()
    return state


def run_training(
    run: PretrainingRun, on_update: Callable[[int], None] | None = None
) -> PretrainingResult:
    """Train to the last step; the model is written with every checkpoint.

    Args:
        run: The run, new or restored.
        on_update: Called at the end of each update with the number of updates done.

    Raises:
        Diverged: The loss or the norm of the gradients became NaN or infinite.
        OSError: The disk is full.
    """
    functions = TrainingFunctions(
        metric_names=METRIC_NAMES,
        compute_metrics=partial(compute_metrics, run),
        evaluate=partial(evaluate, run) if run.datasets.dev else None,
        export=partial(export_model, run),
        on_update=on_update,
    )
    train(run.context, run.learner, training_batches(run), functions, run.state)
    return PretrainingResult(run.state.step, run.state.scores)


def training_batches(run: PretrainingRun) -> Iterator[PretrainingBatch]:
    """Yield the batches of this process from the position of the run on, without end."""
    config, runtime = run.context.config, run.context.runtime
    position = Position(*run.state.position)
    batches = pretraining_batches(
        run.datasets.examples,
        position,
        config.batch_size,
        runtime.rank,
        runtime.world_size,
        config.num_workers,
    )
    num_micro_batches = config.gradient_accumulation_steps
    for examples, next_position in batches:
        counts = [
            sum(map(count_targets, examples)),
            len(examples),
            sum(map(count_tokens, examples)),
        ]
        if runtime.world_size > 1:
            counts = runtime.sum(torch.tensor(counts, device=runtime.device)).tolist()
        num_masked, num_examples, num_tokens = counts
        yield PretrainingBatch(
            micro_batches=[examples[i::num_micro_batches] for i in range(num_micro_batches)],
            num_tokens=num_tokens,
            description=f"the examples from {tuple(position)} (epoch, group, offset) on",
            position=tuple(next_position),
            num_masked=num_masked,
            num_examples=num_examples,
        )
        position = next_position


def compute_metrics(
    run: PretrainingRun, batch: PretrainingBatch, micro_batch: list[Inputs]
) -> Tensor:
    """Return a micro-batch's share of the metrics of its batch, in the order of `METRIC_NAMES`."""
    return to_means(compute_sums(run, micro_batch), batch.num_masked, batch.num_examples)


def compute_sums(run: PretrainingRun, examples: list[Inputs]) -> LossSums:
    """Return the sums of losses and correct predictions over some examples."""
    runtime = run.context.runtime
    inputs = runtime.to_device(collate(examples, run.tokenizer.pad_token_id))
    with runtime.autocast():
        sums: LossSums = run.learner.model(**inputs)
    return sums


def to_means(sums: LossSums, num_masked: int, num_examples: int) -> Tensor:
    """Divide sums by the counts of a whole batch, in the order of `METRIC_NAMES`.

    Args:
        sums: The sums over a part of the batch.
        num_masked: The number of masked tokens of the batch; very short examples may have none.
        num_examples: The number of its examples.
    """
    num_masked = max(1, num_masked)
    mlm_loss, sop_loss = sums.mlm_loss / num_masked, sums.sop_loss / num_examples
    mlm_accuracy, sop_accuracy = sums.mlm_correct / num_masked, sums.sop_correct / num_examples
    return torch.stack([mlm_loss + sop_loss, mlm_loss, sop_loss, mlm_accuracy, sop_accuracy])


@torch.no_grad()
def evaluate(run: PretrainingRun) -> Evaluation:
    """Return losses and accuracies on the dev examples; each process computes a part of them."""
    config, runtime, dev = run.context.config, run.context.runtime, run.datasets.dev
    run.learner.model.eval()
    num_masked = sum(map(count_targets, dev))
    total = torch.zeros(len(METRIC_NAMES), device=runtime.device)
    batch_size = max(1, config.batch_size // runtime.num_micro_batches)
    for indices, counts in evaluation_batches(dev, batch_size, runtime.rank, runtime.world_size):
        sums = compute_sums(run, [dev[i] for i in indices])
        if counts:
            total = total + to_means(sums, num_masked, len(dev))
    values = runtime.sum(total).tolist()
    scores = {f"dev_{name}": value for name, value in zip(METRIC_NAMES, values, strict=True)}
    score_text = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    logger.info("step %d: %s", run.state.step, score_text)
    run.state.scores = scores
    return Evaluation(scores)


def export_model(run: PretrainingRun, weights: StateDict) -> None:
    """Write the model in the layout of the Hub."""
    model_weights = {name.removeprefix("model."): x for name, x in weights.items()}
    run.objective.model.save_pretrained(run.context.directory, state_dict=model_weights)
