"""Fine-tuning: one attempt at a recipe, evaluated as it goes, the best model kept."""

from __future__ import annotations

import itertools
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from albert_torch.finetuning.collapse import only_guesses
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.model import build_for, load_model, save_model
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.training import checkpointing as states
from albert_torch.training.data import Inputs, batches, length
from albert_torch.training.loop import Loop, tokens
from albert_torch.training.optim import adamw
from albert_torch.training.schedules import lr_multiplier

logger = logging.getLogger(__name__)


@dataclass
class Datasets:
    """The task and its splits, read once for all runs."""

    task: Task
    train: Split
    dev: Split | None
    test: Split | None


@dataclass
class FinetuningState(states.TrainingState):
    """A state that also remembers what the evaluations said."""

    best: float | None = None
    best_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    stale: int = 0  # evaluations since the best one
    recent: list[float] = field(default_factory=list)  # losses since the last evaluation
    guessed: int = 0  # evaluations in a row at which the model only guessed
    collapsed: bool = False


@dataclass
class Result:
    """How a run ended. `ended`: "done", "early" (no better result any more) or "collapse"."""

    ended: str
    step: int
    metric: str
    best: float | None = None
    best_step: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    attempt: int = 0
    collapsed: bool = False


class Trainer(Loop[FinetuningConfig, FinetuningState]):
    """One attempt at a recipe, in `folder`: the best model in Hub layout, last.pt, and the records."""

    def __init__(
        self,
        recipe: FinetuningConfig,
        folder: Path,
        material: Datasets,
        attempt: int = 0,
        state: FinetuningState | None = None,
    ) -> None:
        super().__init__(recipe, folder)
        self.task, self.train_split, self.dev = material.task, material.train, material.dev
        self.metric = recipe.metric or self.task.metric
        count = len(self.train_split.examples)
        if count < self.parts:
            raise ValueError(
                f"{count} training rows: too few for {self.world} processes with gradient_accumulation_steps={recipe.gradient_accumulation_steps}; "
                "lower gradient_accumulation_steps"
            )
        self.raw = build_for(self.task)
        model, data = self.place(self.raw), {"rows of the training split": count}
        started = state or FinetuningState(asdict(recipe), data, attempt)
        self.begin(model, adamw(model, recipe), started, state is not None, data)

    # ---- updates ----

    def run(self, stop_on_collapse: bool = False) -> Result:
        """Train to the end; the best model is in `folder` then.  Raises `Diverged`, `OSError` for a full disk."""
        recipe, state = self.recipe, self.state
        ended = self._verdict()  # a run that stopped early stays stopped
        with self.record():
            lengths = [length(row) for row in self.train_split.examples]
            feed = batches(lengths, recipe.batch_size, recipe.batching, recipe.seed)
            for numbers in itertools.islice(
                feed, state.step, recipe.steps if ended == "done" else state.step
            ):
                self._update(numbers)
                last = state.step == recipe.steps
                if state.step % recipe.log_steps == 0 or last:
                    self.flush()
                if state.step % self.eval_steps == 0 or last:
                    ended = self._evaluate_and_keep(stop_on_collapse)
                if state.step % self.save_steps == 0 or last or ended == "early":
                    self.save()
                if ended != "done":
                    break
            if ended != "collapse" and self.dev is None:
                self._save_best()
        best = (state.best, state.best_step, state.best_scores)
        return Result(ended, state.step, self.metric, *best, state.attempt, state.collapsed)

    def _update(self, numbers: list[int]) -> None:
        rows = self.task.randomize(
            [self.train_split.examples[i] for i in numbers],
            self.recipe.seed * 1_000_003 + self.state.step,
        )
        self.targets = sum(map(self.task.loss_weight, rows))
        parts = [rows[i :: self.parts] for i in range(self.rank, self.parts, self.world)]
        self.update(parts, sum(map(tokens, rows)), f"the training rows {numbers}")

    def measure(self, part: list[Inputs]) -> Tensor:
        """The loss, which is the mean over the whole batch, whatever its parts."""
        batch = self.batch(part, self.task.tokenizer.pad_token_id)
        with self.autocast():
            loss: Tensor = self.model(**batch).loss
        return (loss * (sum(map(self.task.loss_weight, part)) / self.targets)).reshape(1)

    def lr_multiplier(self, step: int) -> float:
        """Up over the warmup, then down to 0."""
        return lr_multiplier(step, self.recipe.warmup_steps, self.recipe.steps)

    def flush(self) -> list[list[float]]:
        """As the loop's; the losses tell a collapse later."""
        values = super().flush()
        self.state.recent += [found[0] for found in values]
        return values

    # ---- evaluation ----

    def _evaluate_and_keep(self, stop_on_collapse: bool) -> str:
        """Score the dev split, save a better model; what `run` does next: "done" is to go on."""
        self.flush()
        state, task = self.state, self.task
        recent, state.recent = state.recent, []
        if self.dev is None:
            return "done"
        started = time.perf_counter()
        loss, kept = self.outputs(self.dev)
        scores = task.score(self.dev, kept)
        if self.metric not in scores:
            raise ValueError(f"metric={self.metric!r} is none of {', '.join(scores)}")
        self.records.add(
            state.step, dev_loss=loss, **{f"dev_{name}": value for name, value in scores.items()}
        )
        logger.info(
            "step %d: dev loss %.4f, %s",
            state.step,
            loss,
            ", ".join(f"{k} {v:.2f}" for k, v in scores.items()),
        )
        guesses = state.step > self.recipe.warmup_steps and only_guesses(
            task, self.dev, kept, recent
        )
        state.guessed = state.guessed + 1 if guesses else 0
        state.collapsed = state.guessed >= 2  # once may be a slow start
        if state.guessed == 2:
            logger.warning(
                "step %d: the model has collapsed: for two evaluations it gave every dev row the same class, and its "
                "training loss %.4f is that of guessing. A lower learning_rate, more warmup_steps or another seed "
                "helps; --restarts does that",
                state.step,
                sum(recent) / len(recent),
            )
        if state.collapsed and stop_on_collapse:
            return "collapse"
        if state.best is None or scores[self.metric] > state.best:
            state.best, state.best_step, state.best_scores, state.stale = (
                scores[self.metric],
                state.step,
                scores,
                0,
            )
            self._save_best()
        else:
            state.stale += 1
        self.clock += time.perf_counter() - started
        return self._verdict()

    def _verdict(self) -> str:
        return (
            "early" if self.recipe.patience and self.state.stale >= self.recipe.patience else "done"
        )

    @torch.no_grad()
    def outputs(self, split: Split) -> tuple[float, list[Any]]:
        """The mean loss of a split (NaN without labels), and what the task keeps of each row, on all processes."""
        self.model.eval()
        found: list[
            tuple[int, Any, float, int]
        ] = []  # row, what is kept, its part of the loss, its targets
        for numbers, _ in self.share(split.examples):  # a row that comes twice is the same both times
            rows = [split.examples[i] for i in numbers]
            batch = self.batch(rows, self.task.tokenizer.pad_token_id)
            with self.autocast():
                output = self.model(**batch)
            loss = math.nan if output.loss is None else float(output.loss)
            for i, row, item in zip(numbers, rows, self.task.collect_outputs(output, batch), strict=True):
                found.append((i, item, loss, self.task.loss_weight(row)))
        if self.world > 1:
            from accelerate.utils import gather_object

            found = gather_object(found)
        by_row = {i: (item, loss, n) for i, item, loss, n in found}
        ordered = [by_row[i] for i in range(len(split.examples))]
        loss = sum(loss * n for _, loss, n in ordered if n) / sum(n for _, _, n in ordered)
        return loss, [item for item, _, _ in ordered]

    # ---- files ----

    def load_best(self) -> None:
        """Put the best model of `folder` in place of the trained one, whole on each process, to predict with."""
        self.model = load_model(self.recipe, self.task, self.folder).to(self.accelerator.device)

    def _save_best(self) -> None:
        weights, _ = states.gather(self.model, self.optimizer)
        if self.accelerator.is_main_process:
            save_model(self.raw, weights, self.task, self.folder)
        self.accelerator.wait_for_everyone()
