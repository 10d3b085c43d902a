"""What a run must remember to continue bit for bit, in one file that is either the old one or the new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from albert_torch.files import atomic_write
from albert_torch.training.config import TrainingConfig
from albert_torch.training.distributed import first_process

FILE = "last.pt"
Kind = TypeVar("Kind", bound="TrainingState")


@dataclass
class TrainingState:
    """Where a run is. Data order and dropout are functions of the seed and `step`, so no random state is in it."""

    recipe: dict[str, Any]
    data: dict[str, Any]  # what tells the data apart from others
    attempt: int = 0
    step: int = 0  # updates done
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)

    def check(self, recipe: TrainingConfig, data: dict[str, Any]) -> None:
        """Raise `ValueError` that lists what differs from the run that wrote this."""
        now = {
            name: value
            for name, value in dataclasses.asdict(recipe).items()
            if name not in recipe.FREE_ON_RESUME
        }
        if differing := [*changes(self.recipe, now), *self.changed(data)]:
            raise ValueError(
                "cannot resume another run: "
                + "; ".join(differing)
                + ". Undo that, or use a new directory"
            )

    def changed(self, data: dict[str, Any]) -> Iterable[str]:
        """What differs in the data, a phrase each."""
        return changes(self.data, data)


def changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What is not as it was, a phrase each."""
    for name, value in now.items():
        if before.get(name) != value:
            yield f"{name} was {before.get(name)!r}, is {value!r}"


def load(folder: Path, kind: type[Kind]) -> Kind | None:
    """The state in a run's directory; None: there is none yet."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return kind(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds
        raise ValueError(
            f"{path} is no checkpoint of such a run ({error}); remove it to start anew"
        ) from error


def save(state: TrainingState, folder: Path) -> None:
    """Replace the state in a run's directory.  Raises `OSError` when the disk is full, with the old file as it was."""
    values = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    with atomic_write(folder / FILE) as path:
        torch.save(values, path)


def refuse_second_run(folder: Path, resume: bool) -> None:
    """Raise `ValueError` when a new run would write over another one."""
    if (
        first_process() and not resume and (folder / "recipe.toml").exists()
    ):  # the other processes may be late
        raise ValueError(f"{folder} holds a run already: resume it, or choose another directory")


def gather(model: nn.Module, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """All weights and the optimizer's state; of a sharded model whole ones, on the CPU of the first process."""
    if (sharding := _sharding(model)) is None:
        return dict(unwrap(model).state_dict()), optimizer.state_dict()
    options = sharding.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, moments = sharding.get_state_dict(model, optimizer, options=options)
    return dict(weights), dict(moments)


def restore(state: TrainingState, model: nn.Module, optimizer: Optimizer) -> None:
    """Put a state's weights and moments back; whole ones are sharded as the model is."""
    if (sharding := _sharding(model)) is None:
        unwrap(model).load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        return
    options = sharding.StateDictOptions(full_state_dict=True)
    sharding.set_state_dict(
        model,
        optimizer,
        model_state_dict=state.model,
        optim_state_dict=state.optimizer,
        options=options,
    )


def _sharding(model: nn.Module) -> Any:
    """Torch's functions for the state of a sharded model (they take half a second to import); None: it is not."""
    if not torch.distributed.is_initialized():
        return None
    from torch.distributed.checkpoint import state_dict
    from torch.distributed.fsdp import FSDPModule

    return state_dict if isinstance(model, FSDPModule) else None


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DDP."""
    inner = getattr(model, "module", model)
    assert isinstance(inner, nn.Module)
    return inner
