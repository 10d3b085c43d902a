"""Training on several processes: sharding, and leaving the process group."""

from __future__ import annotations

import atexit
import os
import time

from torch import distributed, nn

from albert_torch.layers import AlbertLayerGroup


def shard(model: nn.Module) -> nn.Module:
    """FSDP2: each stored group its own shards, gathered once for all of its runs; the rest together."""
    from torch.distributed.fsdp import fully_shard

    for module in list(model.modules()):
        if isinstance(module, AlbertLayerGroup):
            fully_shard(module, reshard_after_forward=False)
    return fully_shard(model)  # type: ignore[return-value]  # the same module, its class extended


def first_process() -> bool:
    """Whether this is the one of a launcher's processes that writes and speaks; known before they have met."""
    return os.environ.get("RANK", "0") == "0"


def leave_at_exit() -> None:
    """Of a run that ended well: leave the process group before the interpreter ends.

    A process that failed does not wait for the others like that.
    """
    atexit.register(_leave)


def _leave() -> None:
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
        time.sleep(
            0.1
        )  # gloo's threads drop their last work now, or, needing a dead interpreter, abort the process
