"""Checkpoints of a run: everything that is needed to continue it bit for bit, in one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from albert_torch.files import atomic_write
from albert_torch.training.config import TrainingConfig
from albert_torch.training.distributed import first_process

CHECKPOINT_FILE = "last.pt"
RECIPE_FILE = "recipe.toml"

StateDict = dict[str, Any]
StateT = TypeVar("StateT", bound="TrainingState")


@dataclass
class TrainingState:
    """How far a run has come. Subclasses add what else a run must remember.

    There is no state of random generators: the order of the data and dropout are functions of the
    seed and the step.

    Attributes:
        config: The options of the run.
        data: What identifies the training data.
        attempt: How often the run was restarted from the beginning.
        step: The number of updates done.
        position: The position in the stream of examples after the last update; empty if the order
            of the data depends on `step` alone.
        recent_losses: The training losses since the last evaluation.
    """

    config: dict[str, Any]
    data: dict[str, Any]
    attempt: int = 0
    step: int = 0
    position: tuple[int, ...] = ()
    recent_losses: list[float] = field(default_factory=list)


@dataclass
class Checkpoint(Generic[StateT]):
    """The content of a checkpoint file: state of the run, weights and state of the optimizer."""

    state: StateT
    model: StateDict
    optimizer: StateDict


def load_checkpoint(directory: Path, state_class: type[StateT]) -> Checkpoint[StateT] | None:
    """Return the checkpoint in the directory of a run; None if there is none yet.

    Raises:
        ValueError: The file is not a checkpoint of this kind of run.
    """
    path = directory / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        model, optimizer = content.pop("model"), content.pop("optimizer")
        return Checkpoint(state_class(**content), model, optimizer)
    except Exception as error:  # torch.load raises errors of many types
        raise ValueError(
            f"{path} is not a checkpoint of this kind of run ({error}); remove it to start again"
        ) from error


def save_checkpoint(checkpoint: Checkpoint[Any], directory: Path) -> None:
    """Replace the checkpoint in the directory of a run.

    Raises:
        OSError: The disk is full. The previous checkpoint is unchanged.
    """
    state = checkpoint.state
    content = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    content |= {"model": checkpoint.model, "optimizer": checkpoint.optimizer}
    with atomic_write(directory / CHECKPOINT_FILE) as path:
        torch.save(content, path)
    for leftover in directory.glob(f".{CHECKPOINT_FILE}.*.partial"):
        leftover.unlink()  # of a process that was killed while it was saving


def refuse_second_run(directory: Path, resume: bool) -> None:
    """Check that a new run does not overwrite another one.

    Raises:
        ValueError: The directory holds a run, and `resume` is false.
    """
    # Only the first process checks: the others may arrive when it has already written its files.
    if first_process() and not resume and (directory / RECIPE_FILE).exists():
        raise ValueError(f"{directory} already holds a run: resume it, or choose another directory")


def check_same_run(
    state: TrainingState, config: TrainingConfig, data_differences: Iterable[str]
) -> None:
    """Check that a state belongs to a run with these options and data.

    Args:
        state: The state that is to be continued.
        config: The options of the run that continues it.
        data_differences: What differs between the data of both runs.

    Raises:
        ValueError: Something differs; the message lists all of it.
    """
    options = {
        name: value for name, value in config.to_dict().items() if name not in config.FREE_ON_RESUME
    }
    differences = [*describe_changes(state.config, options), *data_differences]
    if differences:
        raise ValueError(
            f"cannot resume, because this is another run: {'; '.join(differences)}. "
            "Undo these changes, or use a new directory"
        )


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a phrase for each value of `now` that differs from the one in `before`."""
    for name, value in now.items():
        if before.get(name) != value:
            yield f"{name} was {before.get(name)!r}, is {value!r}"


def gather_weights(model: nn.Module, optimizer: Optimizer) -> tuple[StateDict, StateDict]:
    """Return all weights and the state of the optimizer.

    If the model is sharded, the shards are gathered on the CPU of the first process. All processes
    must call this.
    """
    sharding = _sharding_functions(model)
    if sharding is None:
        return dict(unwrap(model).state_dict()), optimizer.state_dict()
    options = sharding.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, moments = sharding.get_state_dict(model, optimizer, options=options)
    return dict(weights), dict(moments)


def restore_weights(checkpoint: Checkpoint[Any], model: nn.Module, optimizer: Optimizer) -> None:
    """Load weights and optimizer state of a checkpoint; they are sharded if the model is."""
    sharding = _sharding_functions(model)
    if sharding is None:
        unwrap(model).load_state_dict(checkpoint.model)
        optimizer.load_state_dict(checkpoint.optimizer)
        return
    sharding.set_state_dict(
        model,
        optimizer,
        model_state_dict=checkpoint.model,
        optim_state_dict=checkpoint.optimizer,
        options=sharding.StateDictOptions(full_state_dict=True),
    )


def _sharding_functions(model: nn.Module) -> Any:
    """Torch's module for state dicts of sharded models; None if the model is not sharded.

    It takes half a second to import.
    """
    if not torch.distributed.is_initialized():
        return None
    from torch.distributed.checkpoint import state_dict
    from torch.distributed.fsdp import FSDPModule

    return state_dict if isinstance(model, FSDPModule) else None


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DDP's wrapper, or the model itself."""
    inner = getattr(model, "module", model)
    assert isinstance(inner, nn.Module)
    return inner
