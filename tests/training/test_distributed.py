"""Sharded parameters get the same updates as whole ones, and a run leaves its process group."""

import copy
from pathlib import Path

import torch
from helpers.constants import SHARED
from helpers.reference import inputs_for
from helpers.small_runs import run_two_processes

from albert_torch import AlbertConfig, AlbertForPreTraining
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.objective import PretrainingObjective
from albert_torch.training.optim import build_lamb

# Each of two processes does three updates in shards, saves, restores, and does three more.
SCRIPT = """
import sys
import torch
from torch.distributed import get_rank, init_process_group
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from albert_torch import AlbertConfig, AlbertForPreTraining
from albert_torch.pretraining.objective import PretrainingObjective
from albert_torch.training.distributed import leave_process_group_at_exit, shard_model
from albert_torch.training.optim import build_lamb

inputs_path, outputs_path = sys.argv[1:]
init_process_group("gloo")
inputs = torch.load(inputs_path, weights_only=False)
whole = StateDictOptions(full_state_dict=True)


def build():
    model = AlbertForPreTraining(AlbertConfig(**inputs["model_config"]), unpad=True)
    objective = PretrainingObjective(model.double().eval())
    objective.load_state_dict(inputs["start"])
    objective = shard_model(objective)
    return objective, build_lamb(objective, inputs["config"])


def update(objective, optimizer, batch):
    own = {name: x[get_rank() :: 2] for name, x in batch.items()}
    sums = objective(**own)
    num_masked = batch["labels"].ne(-100).sum()
    num_examples = batch["sentence_order_label"].ne(-100).sum()
    (2 * (sums.mlm_loss / num_masked + sums.sop_loss / num_examples)).backward()
    optimizer.step()
    optimizer.zero_grad()


objective, optimizer = build()
for batch in inputs["batches"][:3]:
    update(objective, optimizer, batch)
weights, moments = get_state_dict(objective, optimizer, options=whole)
objective, optimizer = build()
set_state_dict(
    objective, optimizer, model_state_dict=weights, optim_state_dict=moments, options=whole
)
for batch in inputs["batches"][3:]:
    update(objective, optimizer, batch)
weights, moments = get_state_dict(objective, optimizer, options=whole)
if get_rank() == 0:
    torch.save((weights, moments), outputs_path)
leave_process_group_at_exit()
"""


def test_shards_get_the_updates_of_whole_parameters(tmp_path: Path) -> None:
    """Kills: the norm of a shard in place of the parameter's, moments of shards that a resume
    loses, a micro-batch that is divided by its own count, an objective that cannot be sharded.
    """
    model = AlbertForPreTraining(AlbertConfig(**SHARED), unpad=True)
    objective = PretrainingObjective(model.double().eval())
    config = PretrainingConfig(learning_rate=0.01)
    batches = [inputs_for("AlbertForPreTraining", SHARED, lengths=(9, 5, 1, 7)) for _ in range(6)]
    start = copy.deepcopy(objective.state_dict())
    inputs = {"model_config": SHARED, "start": start, "config": config, "batches": batches}
    torch.save(inputs, tmp_path / "inputs.pt")
    run_two_processes(SCRIPT, [tmp_path / "inputs.pt", tmp_path / "outputs.pt"], tmp_path)
    sharded_weights, sharded_moments = torch.load(tmp_path / "outputs.pt", weights_only=True)

    optimizer = build_lamb(objective, config)
    for batch in batches:
        sums = objective(**batch)
        (sums.mlm_loss / sums.masked + sums.sop_loss / sums.examples).backward()
        optimizer.step()
        optimizer.zero_grad()
    whole_weights = objective.state_dict()
    assert sharded_weights.keys() == whole_weights.keys()
    for name, value in sharded_weights.items():
        assert torch.allclose(value, whole_weights[name], rtol=0, atol=1e-12), name
        assert not torch.equal(value, start[name]), name
    for name, parameter in objective.named_parameters():
        for key, value in sharded_moments["state"][name].items():
            expected = optimizer.state[parameter][key]
            assert torch.allclose(value, expected, rtol=0, atol=1e-12), (name, key)
