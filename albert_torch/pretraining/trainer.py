"""Pretraining: masked words and sentence order on a stream of examples, with everything that resumes it bit for bit."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from albert_torch.heads import AlbertForPreTraining
from albert_torch.losses import IGNORE_INDEX
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.dataloader import pretraining_batches
from albert_torch.pretraining.examples import Examples, Position
from albert_torch.pretraining.objective import Objective, Sums
from albert_torch.pretraining.prepare import corpus_differences
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training import checkpointing as states
from albert_torch.training.data import Inputs
from albert_torch.training.lamb import OPTIMIZERS, lr_multiplier
from albert_torch.training.loop import Loop, tokens
from albert_torch.training.model import build

logger = logging.getLogger(__name__)


@dataclass
class PretrainingDatasets:
    """What a run trains on: examples, the rows to evaluate on (none: []), and what tells the corpus apart."""

    examples: Examples
    dev: list[Inputs]
    description: dict[str, Any]


@dataclass
class PretrainingState(states.TrainingState):
    """A state that also knows where the stream of examples stands, and what the last evaluation said."""

    position: tuple[int, ...] = (0, 0, 0)
    scores: dict[str, float] = field(default_factory=dict)

    def changed(self, data: dict[str, Any]) -> Iterable[str]:
        """What differs in the corpus: files, sizes, hashes, how it was cut and tokenized."""
        return corpus_differences(self.data, data)


@dataclass
class Result:
    """How a run ended: the updates done, and the last evaluation's numbers by name."""

    step: int
    scores: dict[str, float]


class Pretrainer(Loop[PretrainingConfig, PretrainingState]):
    """One run, in `folder`: the model in Hub layout as of the last checkpoint, last.pt, and the records.

    The model is built at once, so that a recipe that cannot run fails before a corpus is made ready.
    """

    names = ("loss", "mlm_loss", "sop_loss", "mlm_accuracy", "sop_accuracy")

    def __init__(self, recipe: PretrainingConfig, folder: Path, tokenizer: AlbertTokenizer) -> None:
        super().__init__(recipe, folder)
        self.tokenizer = tokenizer
        self.raw = build(recipe, AlbertForPreTraining, tokenizer)
        if recipe.sinusoidal_position_init and not recipe.model:
            start_as_sinusoids(
                self.raw.albert.embeddings.position_embeddings.weight,
                self.raw.config.initializer_range,
            )
        self.placed = self.place(Objective(self.raw))

    def run(self, material: PretrainingDatasets, state: PretrainingState | None = None) -> Result:
        """Train to the end, from `state` on.  Raises `Diverged`, `OSError` for a full disk."""
        recipe, self.dev = self.recipe, material.dev
        optimizer = OPTIMIZERS[recipe.optimizer](self.placed, recipe)
        started = state or PretrainingState(asdict(recipe), material.description)
        self.begin(self.placed, optimizer, started, state is not None, material.description)
        position = Position(*started.position)
        stream = pretraining_batches(
            material.examples,
            position,
            recipe.batch_size,
            self.rank,
            self.world,
            recipe.num_workers,
        )
        if self.accelerator.is_main_process:
            self.tokenizer.save_pretrained(self.folder)
        with self.record():
            while started.step < recipe.steps:
                rows, position = next(stream)
                self._update(rows)
                started.position = tuple(position)
                last = started.step == recipe.steps
                if started.step % recipe.log_steps == 0 or last:
                    self.flush()
                if self.dev and (started.step % self.eval_steps == 0 or last):
                    started.scores = self._evaluate()
                if started.step % self.save_steps == 0 or last:
                    self.save()
        return Result(started.step, started.scores)

    def _update(self, rows: list[Inputs]) -> None:
        counts = [sum(map(_count_masked_tokens, rows)), len(rows), sum(map(tokens, rows))]
        if self.world > 1:
            counts = self.accelerator.reduce(
                torch.tensor(counts, device=self.accelerator.device), "sum"
            ).tolist()
        self.masked, self.rows, count = counts
        parts = [
            rows[i :: self.recipe.gradient_accumulation_steps]
            for i in range(self.recipe.gradient_accumulation_steps)
        ]
        self.update(
            parts,
            count,
            f"the examples from {tuple(self.state.position)} (epoch, group, offset) on",
        )

    def measure(self, part: list[Inputs]) -> Tensor:
        """Both losses and accuracies: means over the whole batch's masked places, or its rows, whatever its parts."""
        return self._means(self._sums(part), self.masked, self.rows)

    def lr_multiplier(self, step: int) -> float:
        """Up over the warmup, then down to 0 by a power."""
        return lr_multiplier(
            step, self.recipe.warmup_steps, self.recipe.steps, self.recipe.lr_decay_power
        )

    def _sums(self, rows: list[Inputs]) -> Sums:
        with self.autocast():
            sums: Sums = self.model(**self.batch(rows, self.tokenizer.pad_token_id))
        return sums

    @staticmethod
    def _means(sums: Sums, masked: int, rows: int) -> Tensor:
        masked = max(1, masked)  # of very short rows none may be
        mlm, sop = sums.mlm_loss / masked, sums.sop_loss / rows
        return torch.stack(
            [mlm + sop, mlm, sop, sums.mlm_correct / masked, sums.sop_correct / rows]
        )

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Losses and accuracies on the rows that were held out; each process does its share of them."""
        self.flush()
        started = time.perf_counter()
        self.model.eval()
        masked, total = (
            sum(map(_count_masked_tokens, self.dev)),
            torch.zeros(len(self.names), device=self.accelerator.device),
        )
        for numbers, counts in self.share(self.dev):
            found = self._means(self._sums([self.dev[i] for i in numbers]), masked, len(self.dev))
            total = total + (found if counts else torch.zeros_like(found))
        values = self.accelerator.reduce(total, "sum").tolist()
        scores = {f"dev_{name}": value for name, value in zip(self.names, values, strict=True)}
        self.records.add(self.state.step, **scores)
        logger.info(
            "step %d: %s", self.state.step, ", ".join(f"{k} {v:.4f}" for k, v in scores.items())
        )
        self.clock += time.perf_counter() - started
        return scores

    def export(self, weights: dict[str, Any]) -> None:
        """Write the model, for anyone to load."""
        self.raw.save_pretrained(
            self.folder, state_dict={name.removeprefix("model."): x for name, x in weights.items()}
        )


@torch.no_grad()
def start_as_sinusoids(weight: Tensor, deviation: float) -> None:
    """Fill position embeddings (T, E) with the encodings of Vaswani et al. (2017, §3.5), of this standard deviation.

    A neighbour is then the same turn away from everywhere; from random embeddings each place has to learn its own.
    """
    positions, size = weight.shape
    angles = torch.arange(positions)[:, None] / 10_000 ** (
        torch.arange(0, size, 2) / size
    )  # (T, E / 2)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]  # (T, E)
    weight.copy_(waves * (deviation * 2**0.5))


def held_out(examples: Examples, count: int) -> list[Inputs]:
    """The first `count` rows of a corpus's first epoch, or all of them."""
    plans = (plan for plan, _ in examples.plans())
    first = itertools.takewhile(lambda plan: plan.epoch == 0, plans)
    return [examples.build(plan) for plan in itertools.islice(first, count)]


def _count_masked_tokens(row: Inputs) -> int:
    """The number of tokens of a row that are to be predicted."""
    return sum(label != IGNORE_INDEX for label in row["labels"])
