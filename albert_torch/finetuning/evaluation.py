"""Evaluation in fine-tuning: scores, the best model, early stopping, collapse, predictions."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import nn

from albert_torch.finetuning.attempt import Attempt
from albert_torch.finetuning.collapse import only_guesses
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.model import load_task_model, save_task_model
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.training.checkpointing import gather_weights
from albert_torch.training.data import collate, evaluation_batches
from albert_torch.training.loop import Evaluation, RunContext, StopReason

logger = logging.getLogger(__name__)

# A model has collapsed if it only guesses at this many evaluations in a row (one may be a slow
# start), and after more updates than this (before, it has not learned anything yet).
COLLAPSED_AFTER = 2
MIN_UPDATES = 50


def evaluate(attempt: Attempt, dev: Split, stop_on_collapse: bool) -> Evaluation:
    """Score the dev split, save the model if it is the best one yet, and decide whether to go on.

    Raises:
        ValueError: The config names a metric that the task does not have.
    """
    context, task, state = attempt.context, attempt.datasets.task, attempt.state
    loss, outputs = compute_outputs(context, attempt.learner.model, task, dev)
    scores = task.score(dev, outputs)
    if attempt.metric not in scores:
        raise ValueError(
            f"metric={attempt.metric!r} is not known; the task has {', '.join(scores)}"
        )
    score_text = ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
    logger.info("step %d: dev loss %.4f, %s", state.step, loss, score_text)
    _update_collapse(attempt, only_guesses(task, dev, outputs, state.recent_losses))
    if not (state.collapsed and stop_on_collapse):
        _keep_if_best(attempt, scores)
    metrics = {"dev_loss": loss} | {f"dev_{name}": value for name, value in scores.items()}
    return Evaluation(metrics, stop_reason(attempt, stop_on_collapse))


def _keep_if_best(attempt: Attempt, scores: dict[str, float]) -> None:
    """Save the model if its score is the best one yet."""
    state, score = attempt.state, scores[attempt.metric]
    if state.best is not None and score <= state.best:
        state.evaluations_since_best += 1
        return
    state.best, state.best_step, state.best_scores = score, state.step, scores
    state.evaluations_since_best = 0
    save_best(attempt)


def _update_collapse(attempt: Attempt, guesses: bool) -> None:
    """Count evaluations at which the model only guesses, and warn when it has collapsed.

    Evaluations in the warmup or in the first `MIN_UPDATES` updates do not count.
    """
    state = attempt.state
    first_step = max(attempt.context.config.warmup_steps, MIN_UPDATES)
    if not guesses or state.step <= first_step:
        state.guessing_evaluations = 0
    else:
        state.guessing_evaluations += 1
    state.collapsed = state.guessing_evaluations >= COLLAPSED_AFTER
    if state.guessing_evaluations == COLLAPSED_AFTER:
        logger.warning(
            "step %d: the model has collapsed: at %d evaluations in a row it gave every dev "
            "example the same answer, and its training loss of %.4f is that of guessing. A lower "
            "learning_rate, more warmup_steps or another seed may help; restarts_on_collapse "
            "starts again with half the learning rate and another seed",
            state.step,
            COLLAPSED_AFTER,
            sum(state.recent_losses) / len(state.recent_losses),
        )


def stop_reason(attempt: Attempt, stop_on_collapse: bool) -> StopReason | None:
    """Why the attempt should end at this point; None: it should go on."""
    state, patience = attempt.state, attempt.context.config.patience
    if state.collapsed and stop_on_collapse:
        return StopReason.COLLAPSE
    if patience and state.evaluations_since_best >= patience:
        return StopReason.EARLY_STOPPING
    return None


@torch.no_grad()
def compute_outputs(
    context: RunContext[FinetuningConfig], model: nn.Module, task: Task, split: Split
) -> tuple[float, list[Any]]:
    """Run a model on a split; each process computes a part of it.

    Returns:
        The mean loss (NaN without labels), and what the task keeps of the output of each example,
        on every process.
    """
    runtime = context.runtime
    model.eval()
    batch_size = max(1, context.config.batch_size // runtime.num_micro_batches)
    results: dict[int, tuple[Any, float]] = {}  # number of the example -> kept output, loss
    batches = evaluation_batches(split.examples, batch_size, runtime.rank, runtime.world_size)
    for indices, _ in batches:  # an example that is computed twice has the same result both times
        examples = [split.examples[i] for i in indices]
        inputs = runtime.to_device(collate(examples, task.tokenizer.pad_token_id))
        with runtime.autocast():
            output = model(**inputs)
        loss = math.nan if output.loss is None else float(output.loss)
        for i, kept in zip(indices, task.collect_outputs(output, inputs), strict=True):
            results[i] = (kept, loss)
    by_index = dict(runtime.gather(list(results.items())))
    num_targets = [task.num_targets(example) for example in split.examples]
    losses = [by_index[i][1] * count for i, count in enumerate(num_targets) if count]
    outputs = [by_index[i][0] for i in range(len(split.examples))]
    return sum(losses) / sum(num_targets), outputs


def predict(attempt: Attempt, split: Split) -> list[dict[str, Any]]:
    """Return the predictions of the best model for a split, one for each line of a file."""
    context, task = attempt.context, attempt.datasets.task
    model = load_task_model(context.config, task, context.directory)
    _, outputs = compute_outputs(context, model.to(context.runtime.device), task, split)
    return task.predictions(split, outputs)


def save_best(attempt: Attempt) -> None:
    """Write the model as it is now; all processes must call this."""
    context, learner = attempt.context, attempt.learner
    weights, _ = gather_weights(learner.model, learner.optimizer)
    if context.runtime.is_main:
        tokenizer = attempt.datasets.task.tokenizer
        save_task_model(attempt.model, weights, tokenizer, context.directory)
    context.runtime.wait_for_all()
