"""Pretraining: masked words and sentence order on a stream of examples, with everything that resumes it bit for bit."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from albert_torch.heads import AlbertForPreTraining
from albert_torch.pretraining.examples import Examples, Position
from albert_torch.pretraining.feed import feed
from albert_torch.pretraining.lamb import OPTIMIZERS, rate
from albert_torch.pretraining.objective import IGNORED, Objective, Sums
from albert_torch.pretraining.recipe import PretrainingRecipe
from albert_torch.pretraining.shards import differences
from albert_torch.tokenizer import AlbertTokenizer
from albert_torch.training import state as states
from albert_torch.training.loop import Loop, tokens
from albert_torch.training.model import build
from albert_torch.training.task import Inputs

logger = logging.getLogger(__name__)


@dataclass
class Material:
    """What a run trains on: examples, the rows to evaluate on (none: []), and what tells the corpus apart."""

    tokenizer: AlbertTokenizer
    examples: Examples
    dev: list[Inputs]
    description: dict[str, Any]


@dataclass
class Place(states.State):
    """A state that also knows where the stream of examples stands."""

    position: tuple[int, ...] = (0, 0, 0)

    def changed(self, data: dict[str, Any]) -> Iterable[str]:
        """What differs in the corpus: files, sizes, hashes, how it was cut and tokenized."""
        return differences(self.data, data)


@dataclass
class Result:
    """How a run ended: the updates done, and the last evaluation's numbers by name."""

    step: int
    scores: dict[str, float]


class Pretrainer(Loop[PretrainingRecipe, Place]):
    """One run, in `folder`: the model in Hub layout as of the last checkpoint, last.pt, and the records."""

    names = ("loss", "mlm_loss", "sop_loss", "mlm_accuracy", "sop_accuracy")

    def __init__(self, recipe: PretrainingRecipe, folder: Path, material: Material, state: Place | None = None) -> None:
        super().__init__(recipe, folder)
        self.tokenizer, self.examples, self.dev = material.tokenizer, material.examples, material.dev
        self.raw = build(recipe, AlbertForPreTraining, self.tokenizer)
        model, data = self.place(Objective(self.raw)), material.description
        optimizer = OPTIMIZERS[recipe.optimizer](model, recipe)
        self.begin(model, optimizer, state or Place(asdict(recipe), data), state is not None, data)

    def run(self) -> Result:
        """Train to the end.  Raises `Diverged`, `OSError` for a full disk."""
        recipe, state, scores = self.recipe, self.state, {}
        stream = feed(
            self.examples, Position(*state.position), recipe.batch_size, self.rank, self.world, recipe.workers
        )
        with self.record():
            while state.step < recipe.steps:
                rows, position = next(stream)
                self._update(rows)
                state.position = tuple(position)
                last = state.step == recipe.steps
                if state.step % recipe.log_steps == 0 or last:
                    self.flush()
                if self.dev and (state.step % self.eval_steps == 0 or last):
                    scores = self._evaluate()
                if state.step % self.save_steps == 0 or last:
                    self._export()
                    self.save()
        return Result(state.step, scores)

    def _update(self, rows: list[Inputs]) -> None:
        counts = torch.tensor([sum(map(_masked, rows)), len(rows), sum(map(tokens, rows))])
        counts = self.accelerator.reduce(counts.to(self.accelerator.device), "sum")
        self.masked, self.rows, count = counts.tolist()
        parts = [rows[i :: self.recipe.accumulate] for i in range(self.recipe.accumulate)]
        self.update(parts, count, f"the examples from {tuple(self.state.position)} (epoch, group, number) on")

    def measure(self, part: list[Inputs]) -> Tensor:
        """Both losses and accuracies: means over the whole batch's masked places, or its rows, whatever its parts."""
        return self._means(self._sums(part), self.masked, self.rows)

    def rate(self, step: int) -> float:
        """Up over the warmup, then down to 0 by a power."""
        return rate(step, self.recipe.warmup_steps, self.recipe.steps, self.recipe.power)

    def _sums(self, rows: list[Inputs]) -> Sums:
        with self.autocast():
            sums: Sums = self.model(**self.batch(rows, self.tokenizer.pad_token_id))
        return sums

    @staticmethod
    def _means(sums: Sums, masked: int, rows: int) -> Tensor:
        masked = max(1, masked)  # of very short rows none may be
        mlm, sop = sums.mlm_loss / masked, sums.sop_loss / rows
        return torch.stack([mlm + sop, mlm, sop, sums.mlm_correct / masked, sums.sop_correct / rows])

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Losses and accuracies on the rows that were held out; each process does its share of them."""
        self.flush()
        started = time.perf_counter()
        self.model.eval()
        size = max(1, self.recipe.batch_size // self.parts)
        order = sorted(self.dev, key=tokens, reverse=True)
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        masked, total = sum(map(_masked, self.dev)), torch.zeros(len(self.names), device=self.accelerator.device)
        for i in range(0, len(groups), self.world):  # as many calls on each process: shards need it
            mine = i + self.rank
            found = self._means(self._sums(groups[min(mine, len(groups) - 1)]), masked, len(self.dev))
            total = total + (found if mine < len(groups) else torch.zeros_like(found))
        values = self.accelerator.reduce(total, "sum").tolist()
        scores = {f"dev_{name}": value for name, value in zip(self.names, values, strict=True)}
        self.records.add(self.state.step, **scores)
        logger.info("step %d: %s", self.state.step, ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        self.clock += time.perf_counter() - started
        return scores

    def _export(self) -> None:
        """Write the model and its tokenizer, for anyone to load."""
        self.flush()
        weights, _ = states.gather(self.model, self.optimizer)
        if self.accelerator.is_main_process:
            export(self.raw, weights, self.tokenizer, self.folder)
        self.accelerator.wait_for_everyone()


def export(
    model: AlbertForPreTraining, weights: Mapping[str, Tensor], tokenizer: AlbertTokenizer, folder: Path
) -> None:
    """The model with the weights of its `Objective`, in Hub layout."""
    model.save_pretrained(folder, state_dict={name.removeprefix("model."): w for name, w in weights.items()})
    if not (folder / "tokenizer.json").exists():
        tokenizer.save_pretrained(folder)


def _masked(row: Inputs) -> int:
    return sum(label != IGNORED for label in row["labels"])


def held_out(examples: Examples, count: int) -> list[Inputs]:
    """The first `count` rows of a corpus's first epoch, or all of them."""
    plans = (plan for plan, _ in examples.plan())
    first = itertools.takewhile(lambda plan: plan.epoch == 0, plans)
    return [examples.row(plan) for plan in itertools.islice(first, count)]
