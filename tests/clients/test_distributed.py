"""DDP and FSDP2 in two processes with half of a batch each, against one process, in float64."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import SHARED
from torch import Tensor, distributed

import albert_torch

pytestmark = pytest.mark.clients

STEPS, ROWS, WORLD = 5, 8, 2
CONFIG = {**SHARED, "initializer_range": 0.3, "classifier_dropout_prob": 0.0}


def model(name: str) -> Any:
    torch.manual_seed(0)
    return getattr(albert_torch, name)(albert_torch.AlbertConfig(**CONFIG)).double()


def inputs(name: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(5, CONFIG["vocab_size"], (ROWS, 9))
    mask = (torch.arange(9) < torch.randint(4, 10, (ROWS, 1))).long()
    # Both halves have equally many labels, so the mean of their means is the mean of all.
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids if name == "AlbertForMaskedLM" else ids[:, 0] % 2,
    }


def train(
    name: str, network: Any, rows: slice = slice(None)
) -> tuple[list[float], dict[str, Tensor]]:
    """Return the loss of each step, and the weights after the last one."""
    batch = {key: value[rows] for key, value in inputs(name).items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(STEPS):
        loss = network(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, {
        key: getattr(value, "full_tensor", lambda v=value: v)()
        for key, value in network.state_dict().items()
    }


def work(rank: int, folder: str, names: list[str]) -> None:
    """Train every class with both kinds of sharding; the first process writes the results."""
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD
    )
    rows = slice(rank * ROWS // WORLD, (rank + 1) * ROWS // WORLD)
    results = {}
    for name in names:
        sharded = model(name)
        for group in sharded.albert.encoder.albert_layer_groups:
            fully_shard(group)
        fully_shard(sharded)
        for kind, network in (("DDP", DistributedDataParallel(model(name))), ("FSDP2", sharded)):
            losses, weights = train(name, network, rows)
            total = torch.tensor(losses, dtype=torch.float64)
            distributed.all_reduce(total)
            results[name, kind] = (
                (total / WORLD).tolist(),
                {k.removeprefix("module."): v for k, v in weights.items()},
            )
    if rank == 0:
        torch.save(results, f"{folder}/results.pt")
    distributed.destroy_process_group()
    # A thread of gloo that still frees its last work would abort an interpreter that shuts down.
    os._exit(0)


@pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(),
    reason="torch was built without gloo",
)
def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    """Catches: gradients of the shared layer reduced for one run only, a tie that sharding cuts."""
    names = ["AlbertForSequenceClassification", "AlbertForMaskedLM"]
    torch.multiprocessing.spawn(work, (str(tmp_path), names), WORLD)
    results = torch.load(tmp_path / "results.pt")
    assert len(results) == 4
    for (name, kind), (losses, weights) in results.items():
        want, final = train(name, model(name))
        assert want[-1] < want[0]
        assert losses == pytest.approx(want, abs=1e-9, rel=0), (name, kind)
        assert weights.keys() == final.keys()
        for key, value in final.items():
            torch.testing.assert_close(
                weights[key], value, rtol=0, atol=1e-9, msg=f"{name} {kind} {key}"
            )
