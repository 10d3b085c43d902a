"""Training on one process or several: placement of the model, communication, leaving the group."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from albert_torch.layers import AlbertLayerGroup
from albert_torch.training.config import TrainingConfig
from albert_torch.training.data import Batch

ItemT = TypeVar("ItemT")


class Runtime:
    """The device and precision of this process, and its communication with the other processes.

    Under `torchrun` or `accelerate launch` the processes meet when this is constructed.

    Attributes:
        device: The device of this process.
        rank: The number of this process, from 0.
        world_size: The number of processes.
        is_main: Whether this process writes the files.
        num_micro_batches: The number of micro-batches of an update, over all processes.

    Raises:
        ImportError: accelerate is not installed.
        ValueError: The batch size is less than the number of micro-batches.
    """

    def __init__(self, config: TrainingConfig) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedType
        except ImportError:
            raise ImportError(
                "training needs accelerate: pip install 'albert-torch[train]'"
            ) from None
        accelerator: Any = Accelerator(cpu=not torch.accelerator.is_available())
        self._accelerator = accelerator
        self.device: torch.device = accelerator.device
        self.rank: int = accelerator.process_index
        self.world_size: int = accelerator.num_processes
        self.is_main: bool = accelerator.is_main_process
        self.num_micro_batches = self.world_size * config.gradient_accumulation_steps
        if config.batch_size < self.num_micro_batches:
            raise ValueError(
                f"batch_size={config.batch_size} is too small for {self.world_size} processes with "
                f"gradient_accumulation_steps={config.gradient_accumulation_steps}: raise it, or "
                "lower gradient_accumulation_steps"
            )
        self._bfloat16 = config.dtype == "bfloat16" or accelerator.mixed_precision == "bf16"
        launched_with_fsdp = accelerator.distributed_type == DistributedType.FSDP
        self._sharded = self.world_size > 1 and (config.parallel == "fsdp" or launched_with_fsdp)

    def place(self, model: nn.Module) -> nn.Module:
        """Return a model on this device: as it is, replicated (DDP) or sharded (FSDP2)."""
        if self._sharded:
            return shard_model(model.to(self.device))
        placed: nn.Module = self._accelerator.prepare(model)
        return placed

    def to_device(self, batch: Batch) -> Batch:
        """Return a batch with its tensors on this process's device."""
        return {name: x.to(self.device) for name, x in batch.items()}

    def autocast(self) -> torch.autocast:
        """Return a context in which matrix products are bfloat16, if the run asked for that."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16)

    def synchronized(self, model: nn.Module, enabled: bool) -> AbstractContextManager[Any]:
        """Return a context whose backward pass averages gradients over processes, or not yet."""
        if enabled:
            return contextlib.nullcontext()
        context: AbstractContextManager[Any] = self._accelerator.no_sync(model)
        return context

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        total: Tensor = self._accelerator.reduce(x, "sum")
        return total

    def gather(self, items: list[ItemT]) -> list[ItemT]:
        """Return the items of all processes, which must be picklable, on each of them."""
        if self.world_size == 1:
            return items
        from accelerate.utils import gather_object

        gathered: list[ItemT] = gather_object(items)
        return gathered

    def wait_for_all(self) -> None:
        """Wait until all processes have come this far."""
        self._accelerator.wait_for_everyone()


def shard_model(model: nn.Module) -> nn.Module:
    """Shard a model with FSDP2: each stored group of layers by itself, all other weights together.

    A group is gathered once for all the layers that it is used for. The model is changed in place.
    """
    from torch.distributed.fsdp import fully_shard

    for module in list(model.modules()):
        if isinstance(module, AlbertLayerGroup):
            fully_shard(module, reshard_after_forward=False)
    return fully_shard(model)  # type: ignore[return-value]  # the same module, its class extended


def first_process() -> bool:
    """Return whether this process writes files and messages; known before processes have met."""
    return os.environ.get("RANK", "0") == "0"


def leave_process_group_at_exit() -> None:
    """Leave the process group before the interpreter ends. To be called when a run ended well.

    A process that failed must not wait for the others, so it ends without leaving.
    """
    atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
        # The threads of gloo release their last work now. If the interpreter ended first, they
        # would abort the process.
        time.sleep(0.1)
