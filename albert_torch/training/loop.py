"""The training loop: one run of one recipe, on one process or many, that can be killed and continued bit for bit."""

from __future__ import annotations

import itertools
import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from albert_torch.training import state as states
from albert_torch.training.collapse import only_guesses
from albert_torch.training.model import build, load_model, save_model, shard
from albert_torch.training.optimizer import adamw, rate
from albert_torch.training.recipe import Recipe
from albert_torch.training.records import Records
from albert_torch.training.task import Inputs, Split, Task, batches, collate, length

logger = logging.getLogger(__name__)


@dataclass
class Material:
    """The task and its splits, read once for all runs."""

    task: Task
    train: Split
    dev: Split | None
    test: Split | None


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


class Diverged(ValueError):
    """The loss or the gradient is no number any more."""


class Trainer:
    """One attempt at a recipe, in `folder`: the best model in Hub layout, last.pt, and the records."""

    def __init__(
        self, recipe: Recipe, folder: Path, material: Material, attempt: int = 0, state: states.State | None = None
    ) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedType
        except ImportError:
            raise ImportError("training needs accelerate: pip install 'albert-torch[train]'") from None
        self.recipe, self.folder, self.task, self.train_split = recipe, folder, material.task, material.train
        self.dev = material.dev
        self.metric = recipe.metric or self.task.metric
        rows = self.train_split.rows
        self.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        self.half = recipe.dtype == "bfloat16" or self.accelerator.mixed_precision == "bf16"
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.parts = self.world * recipe.accumulate
        if min(recipe.batch_size, len(rows)) < self.parts:
            raise ValueError(
                f"batch_size={recipe.batch_size} and {len(rows)} training rows: too few for {self.world} processes "
                f"with accumulate={recipe.accumulate}; lower accumulate"
            )
        self.eval_steps = recipe.eval_steps or max(1, recipe.steps // 10)
        self.save_steps = recipe.save_steps or self.eval_steps
        raw = build(recipe, self.task)
        sharded = recipe.parallel == "fsdp" or self.accelerator.distributed_type == DistributedType.FSDP
        if sharded and self.world > 1:
            self.model: nn.Module = shard(raw.to(self.accelerator.device))
        else:
            self.model = self.accelerator.prepare(raw)
        self.raw = raw
        self.optimizer = adamw(self.model, recipe)
        self.state = state or states.State(asdict(recipe), len(rows), attempt)
        if state is not None:
            state.check(recipe, len(rows))
            states.restore(state, self.model, self.optimizer)
            state.model, state.optimizer, state.recipe = {}, {}, asdict(recipe)
        self.pending: list[tuple[Tensor, Tensor, list[int]]] = []  # losses and norms not looked at yet
        self.tokens, self.clock = 0, time.perf_counter()

    # ---- updates ----

    def run(self, stop_on_collapse: bool = False) -> Result:
        """Train to the end; the best model is in `folder` then.  Raises `Diverged`, `OSError` for a full disk."""
        recipe, state = self.recipe, self.state
        self.records = Records(
            self.folder, state.attempt, state.step, recipe.steps, recipe.tensorboard, self.accelerator.is_main_process
        )
        ended = self._verdict()  # a run that stopped early stays stopped
        try:
            lengths = [length(row) for row in self.train_split.rows]
            feed = batches(lengths, recipe.batch_size, recipe.order, recipe.seed)
            for numbers in itertools.islice(feed, state.step, recipe.steps if ended == "done" else state.step):
                self._update(numbers)
                last = state.step == recipe.steps
                if state.step % recipe.log_steps == 0 or last:
                    self._flush()
                if state.step % self.eval_steps == 0 or last:
                    ended = self._evaluate_and_keep(stop_on_collapse)
                if state.step % self.save_steps == 0 or last or ended == "early":
                    self._save()
                if ended != "done":
                    break
            if ended != "collapse" and self.dev is None:
                self._save_best()
        finally:
            self.records.close()
        best = (state.best, state.best_step, state.best_scores)
        return Result(ended, state.step, self.metric, *best, state.attempt, state.collapsed)

    def _update(self, numbers: list[int]) -> None:
        recipe, step = self.recipe, self.state.step
        rows = self.task.draw([self.train_split.rows[i] for i in numbers], recipe.seed * 1_000_003 + step)
        total = sum(map(self.task.targets, rows))
        parts = [rows[i :: self.parts] for i in range(self.rank, self.parts, self.world)]
        torch.manual_seed((recipe.seed * 1_000_003 + step) * self.world + self.rank)  # dropout: a function of the step
        self.model.train()
        loss_sum = torch.zeros((), device=self.accelerator.device)
        for i, part in enumerate(parts):
            # The mean over the whole batch, whatever the parts; processes are averaged, so each counts `world` times.
            share = sum(map(self.task.targets, part)) / total
            if i < len(parts) - 1:
                with self.accelerator.no_sync(self.model):
                    loss_sum = loss_sum + self._backward(part, share)
            else:
                loss_sum = loss_sum + self._backward(part, share)
        norm = clip_grad_norm_(self.model.parameters(), recipe.max_grad_norm or math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate(step, recipe.warmup_steps, recipe.steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        self.pending.append((loss_sum, getattr(norm, "full_tensor", lambda: norm)(), numbers))
        self.tokens += sum(map(_tokens, rows))

    def _backward(self, part: list[Inputs], share: float) -> Tensor:
        batch = {name: x.to(self.accelerator.device) for name, x in self._collate(part).items()}
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.half):
            loss: Tensor = self.model(**batch).loss * share
        (loss * self.world).backward()
        return loss.detach()

    def _collate(self, rows: list[Inputs]) -> dict[str, Tensor]:
        return collate(rows, self.task.tokenizer.pad_token_id)

    def _flush(self) -> None:
        """Look at the losses since the last time, all at once: reading each would wait for the device each time."""
        if not self.pending:
            return
        losses = torch.stack([loss for loss, _, _ in self.pending])
        values = self.accelerator.reduce(losses, "sum").tolist()
        norms = torch.stack([norm for _, norm, _ in self.pending]).tolist()
        first = self.state.step - len(self.pending)
        for i, (loss, norm) in enumerate(zip(values, norms, strict=True)):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise Diverged(
                    f"update {first + i + 1}: loss {loss}, gradient norm {norm}, on the training rows "
                    f"{self.pending[i][2]}. {self.folder} holds the last good checkpoint; "
                    f"lower learning_rate, or look at these rows"
                )
        seconds = time.perf_counter() - self.clock
        self.records.add(
            self.state.step,
            loss=sum(values) / len(values),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            grad_norm=norms[-1],
            tokens_per_second=self.tokens / seconds,
        )
        self.state.recent += values
        self.pending, self.tokens, self.clock = [], 0, time.perf_counter()

    # ---- evaluation ----

    def _evaluate_and_keep(self, stop_on_collapse: bool) -> str:
        """Score the dev split, save a better model; what `run` does next: "done" is to go on."""
        self._flush()
        state, task = self.state, self.task
        recent, state.recent = state.recent, []
        if self.dev is None:
            return "done"
        started = time.perf_counter()
        loss, kept = self.outputs(self.dev)
        scores = task.score(self.dev, kept)
        if self.metric not in scores:
            raise ValueError(f"metric={self.metric!r} is none of {', '.join(scores)}")
        self.records.add(state.step, dev_loss=loss, **{f"dev_{name}": value for name, value in scores.items()})
        logger.info(
            "step %d: dev loss %.4f, %s", state.step, loss, ", ".join(f"{k} {v:.2f}" for k, v in scores.items())
        )
        guesses = state.step > self.recipe.warmup_steps and only_guesses(task, self.dev, kept, recent)
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
            state.best, state.best_step, state.best_scores, state.stale = scores[self.metric], state.step, scores, 0
            self._save_best()
        else:
            state.stale += 1
        self.clock += time.perf_counter() - started
        return self._verdict()

    def _verdict(self) -> str:
        return "early" if self.recipe.patience and self.state.stale >= self.recipe.patience else "done"

    @torch.no_grad()
    def outputs(self, split: Split) -> tuple[float, list[Any]]:
        """The mean loss of a split (NaN without labels), and what the task keeps of each row, on all processes."""
        self.model.eval()
        order = sorted(range(len(split.rows)), key=lambda i: -length(split.rows[i]))
        size = max(1, self.recipe.batch_size // self.parts)
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        mine = groups[self.rank :: self.world]
        mine += groups[:1] * (math.ceil(len(groups) / self.world) - len(mine))  # as many calls on each: shards need it
        found: list[tuple[int, Any, float, int]] = []  # row, what is kept, its part of the loss, its targets
        for numbers in mine:
            rows = [split.rows[i] for i in numbers]
            batch = {name: x.to(self.accelerator.device) for name, x in self._collate(rows).items()}
            with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.half):
                output = self.model(**batch)
            loss = math.nan if output.loss is None else float(output.loss)
            for i, row, item in zip(numbers, rows, self.task.keep(output, batch), strict=True):
                found.append((i, item, loss, self.task.targets(row)))
        if self.world > 1:
            from accelerate.utils import gather_object

            found = gather_object(found)
        by_row = {i: (item, loss, n) for i, item, loss, n in found}
        ordered = [by_row[i] for i in range(len(split.rows))]
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

    def _save(self) -> None:
        self._flush()  # a checkpoint never holds what is no number
        self.state.model, self.state.optimizer = states.gather(self.model, self.optimizer)
        if self.accelerator.is_main_process:
            states.save(self.state, self.folder)
        self.state.model, self.state.optimizer = {}, {}
        self.accelerator.wait_for_everyone()


def _tokens(row: Inputs) -> int:
    ids = row["input_ids"]
    return sum(map(len, ids)) if isinstance(ids[0], list) else len(ids)
