"""The training loop: updates on one process or many, records, and a state that continues them bit for bit."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from albert_torch.training import checkpointing as states
from albert_torch.training.config import TrainingConfig
from albert_torch.training.data import Batch, Inputs, collate, length
from albert_torch.training.distributed import shard
from albert_torch.training.metric_logger import MetricLogger

ConfigT = TypeVar("ConfigT", bound=TrainingConfig)
StateT = TypeVar("StateT", bound=states.TrainingState)


class Diverged(ValueError):
    """The loss or the gradient is no number any more."""


class Loop(Generic[ConfigT, StateT]):
    """Updates of a model by a recipe, in `folder`. A subclass says what a part of a batch is worth (`measure`).

    A batch is computed in `parts`: `accumulate` on each of the processes, part i being the rows i, i + parts, ...
    """

    names: ClassVar[tuple[str, ...]] = ("loss",)  # of what `measure` returns

    def __init__(self, recipe: ConfigT, folder: Path) -> None:
        try:
            from accelerate import Accelerator
        except ImportError:
            raise ImportError(
                "training needs accelerate: pip install 'albert-torch[train]'"
            ) from None
        self.recipe, self.folder = recipe, folder
        self.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        self.half = recipe.dtype == "bfloat16" or self.accelerator.mixed_precision == "bf16"
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.parts = self.world * recipe.gradient_accumulation_steps
        if recipe.batch_size < self.parts:
            raise ValueError(
                f"batch_size={recipe.batch_size}: too few for {self.world} processes with "
                f"gradient_accumulation_steps={recipe.gradient_accumulation_steps}; lower gradient_accumulation_steps"
            )
        self.eval_steps = recipe.eval_steps or max(1, recipe.steps // 10)
        self.save_steps = recipe.save_steps or self.eval_steps
        self.pending: list[
            tuple[Tensor, Tensor, Any]
        ] = []  # measures, norms, batches not looked at yet
        self.tokens, self.clock = 0, time.perf_counter()

    def place(self, model: nn.Module) -> nn.Module:
        """The model on this process's device: alone, copied (DDP) or sharded (FSDP2)."""
        from accelerate.utils import DistributedType

        sharded = (
            self.recipe.parallel == "fsdp"
            or self.accelerator.distributed_type == DistributedType.FSDP
        )
        if sharded and self.world > 1:
            return shard(model.to(self.accelerator.device))
        placed: nn.Module = self.accelerator.prepare(model)
        return placed

    def begin(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        state: StateT,
        resumed: bool,
        data: dict[str, Any],
    ) -> None:
        """Take the placed model and its optimizer; a resumed state is checked and put back into them."""
        self.model, self.optimizer, self.state = model, optimizer, state
        if resumed:
            state.check(self.recipe, data)
            states.restore(state, model, optimizer)
            state.model, state.optimizer, state.recipe = {}, {}, asdict(self.recipe)

    def record(self) -> MetricLogger:
        """The records of the run, from where its state stands."""
        recipe, state = self.recipe, self.state
        main = self.accelerator.is_main_process
        self.records = MetricLogger(
            self.folder, state.attempt, state.step, recipe.steps, recipe.tensorboard, main
        )
        return self.records

    def measure(self, part: Any) -> Tensor:
        """The part's share of the batch's loss, which is trained on, and of what is recorded beside it.  (names,)"""
        raise NotImplementedError

    def lr_multiplier(self, step: int) -> float:
        """The learning rate's factor at an update, counted from 0."""
        raise NotImplementedError

    def update(self, parts: Sequence[Any], tokens: int, what: Any) -> None:
        """One update, from this process's parts of the batch; `what` names the batch if it fails."""
        recipe, step = self.recipe, self.state.step
        torch.manual_seed(
            (recipe.seed * 1_000_003 + step) * self.world + self.rank
        )  # dropout: a function of the step
        self.model.train()
        measured = torch.zeros(len(self.names), device=self.accelerator.device)
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                found = self.measure(part)
                (
                    found[0] * self.world
                ).backward()  # processes are averaged, so each counts `world` times
            measured = measured + found.detach()
        norm = clip_grad_norm_(self.model.parameters(), recipe.max_grad_norm or math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * self.lr_multiplier(step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        self.pending.append((measured, getattr(norm, "full_tensor", lambda: norm)(), what))
        self.tokens += tokens

    def flush(self) -> list[list[float]]:
        """Look at the measures since the last time, all at once: reading each would wait for the device each time.

        They are recorded and returned, one list an update.  Raises `Diverged`.
        """
        if not self.pending:
            return []
        measured = torch.stack([found for found, _, _ in self.pending])
        values: list[list[float]] = self.accelerator.reduce(measured, "sum").tolist()
        norms = torch.stack([norm for _, norm, _ in self.pending]).tolist()
        first = self.state.step - len(self.pending)
        for i, (found, norm) in enumerate(zip(values, norms, strict=True)):
            if not (math.isfinite(found[0]) and math.isfinite(norm)):
                raise Diverged(
                    f"update {first + i + 1}: loss {found[0]}, gradient norm {norm}, on {self.pending[i][2]}. "
                    f"{self.folder} holds the last good checkpoint; lower learning_rate, or look at these rows"
                )
        seconds = time.perf_counter() - self.clock
        means = [sum(column) / len(values) for column in zip(*values, strict=True)]
        self.records.add(
            self.state.step,
            **dict(zip(self.names, means, strict=True)),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            grad_norm=norms[-1],
            tokens_per_second=self.tokens / seconds,
        )
        self.pending, self.tokens, self.clock = [], 0, time.perf_counter()
        return values

    def share(self, rows: Sequence[Inputs]) -> Iterator[tuple[list[int], bool]]:
        """This process's batches of rows to evaluate, as numbers, longest rows first.

        Shards need as many calls on each process; False marks a batch that is there for that alone.
        """
        size = max(1, self.recipe.batch_size // self.parts)
        order = sorted(range(len(rows)), key=lambda i: -length(rows[i]))
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        for mine in range(self.rank, self.rank + len(groups), self.world):
            yield (groups[mine], True) if mine < len(groups) else (groups[0], False)

    def save(self) -> None:
        """Write the state, to continue from, and what `export` makes of the weights."""
        self.flush()  # a checkpoint never holds what is no number
        self.state.model, self.state.optimizer = states.gather(self.model, self.optimizer)
        if self.accelerator.is_main_process:
            self.export(self.state.model)
            states.save(self.state, self.folder)
        self.state.model, self.state.optimizer = {}, {}
        self.accelerator.wait_for_everyone()

    def export(self, weights: dict[str, Any]) -> None:
        """What else a checkpoint writes: nothing."""

    def batch(self, rows: list[Inputs], pad_token_id: int) -> Batch:
        """Rows as tensors on this process's device."""
        return {
            name: x.to(self.accelerator.device) for name, x in collate(rows, pad_token_id).items()
        }

    def autocast(self) -> torch.autocast:
        """bfloat16 products, where the recipe asks for them."""
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.half)


def tokens(row: Inputs) -> int:
    """Tokens of a row, of all of its choices for multiple choice."""
    ids = row["input_ids"]
    return sum(map(len, ids)) if isinstance(ids[0], list) else len(ids)
