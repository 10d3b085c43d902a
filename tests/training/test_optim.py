"""LAMB against its formula, number by number; the same update whole, in few calls, after a resume and in shards."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import ROOT, SHARED
from helpers.reference import inputs_for

from albert_torch import AlbertConfig, AlbertForPreTraining
from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.objective import PretrainingObjective
from albert_torch.training.lamb import Lamb
from albert_torch.training.optim import OPTIMIZERS, build_lamb
from albert_torch.training.schedules import polynomial_decay_from_start

SHAPES = ((5, 3), (4,), (2, 6), (7,), (3, 3))
Group = dict[str, Any]


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    """Two of them are zero to begin with: one matrix, one vector."""
    drawn = [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]
    with torch.no_grad():
        drawn[2].zero_()
        drawn[3].zero_()
    return drawn


def gradients(steps: int, dtype: torch.dtype = torch.float64) -> list[list[torch.Tensor]]:
    """The last parameter has none but zeros, as an embedding that no batch looks up."""
    generator = torch.Generator().manual_seed(1)
    drawn = [
        [torch.randn(shape, dtype=dtype, generator=generator) for shape in SHAPES]
        for _ in range(steps)
    ]
    return [[*row[:-1], torch.zeros_like(row[-1])] for row in drawn]


def groups(params: list[torch.nn.Parameter]) -> list[Group]:
    """Matrices with everything, vectors with neither decay nor adaptation; one matrix adapted and not decayed."""
    return [
        {"params": [params[0], params[4]], "weight_decay": 0.03},
        {"params": [params[1], params[3]], "weight_decay": 0.0, "adapt": False},
        {"params": [params[2]], "weight_decay": 0.0},
    ]


DECAYS, ADAPTED = (0.03, 0.0, 0.0, 0.0, 0.03), (True, False, True, False, True)


def formula(
    values: list[list[float]], grads: list[list[list[float]]], lrs: list[float]
) -> list[list[float]]:
    """You et al., algorithm 2, without bias correction, in Python's floats."""
    beta1, beta2, eps = 0.8, 0.95, 1e-5
    found = []
    for i, w in enumerate(values):
        m, v = [0.0] * len(w), [0.0] * len(w)
        for lr, grad in zip(lrs, grads, strict=True):
            m = [beta1 * a + (1 - beta1) * g for a, g in zip(m, grad[i], strict=True)]
            v = [beta2 * a + (1 - beta2) * g * g for a, g in zip(v, grad[i], strict=True)]
            r = [a / (math.sqrt(b) + eps) + DECAYS[i] * x for a, b, x in zip(m, v, w, strict=True)]
            w_norm, r_norm = (math.sqrt(sum(x * x for x in xs)) for xs in (w, r))
            trust = w_norm / r_norm if ADAPTED[i] and w_norm > 0 and r_norm > 0 else 1.0
            w = [x - lr * trust * y for x, y in zip(w, r, strict=True)]
        found.append(w)
    return found


def run(
    optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], grads: Any, lrs: list[float]
) -> None:
    for lr, row in zip(lrs, grads, strict=True):
        for p, grad in zip(params, row, strict=True):
            p.grad = grad.clone()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()


@pytest.mark.parametrize("foreach", [False, True])
def test_a_hundred_updates_are_those_of_the_formula(foreach: bool) -> None:
    """Kills: bias correction, eps under the root, decay outside of the norm or twice, a scale for a bias, the norm of
    Adam's part alone, a norm of 0 that gives 0 or no number, beta1 and beta2 swapped, a rate that is read once.
    """
    params, grads, lrs = (
        parameters(),
        gradients(100),
        [polynomial_decay_from_start(step, 10, 110) * 0.1 for step in range(100)],
    )
    start = [p.flatten().tolist() for p in params]
    want = formula(start, [[g.flatten().tolist() for g in row] for row in grads], lrs)
    run(Lamb(groups(params), 1.0, (0.8, 0.95), 1e-5, foreach=foreach), params, grads, lrs)
    for p, row in zip(params, want, strict=True):
        assert torch.allclose(
            p.flatten(), torch.tensor(row, dtype=torch.float64), rtol=0, atol=1e-12
        )


def test_one_update_worked_out_by_hand() -> None:
    """Kills: other defaults than the paper's code has.

    The update of each number is 0.1 g / (sqrt(0.001 g g) + 1e-6) + 0.01 w; a first step from weights of norm 5.
    """
    p = torch.nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    p.grad = torch.tensor([[2.0, -2.0]], dtype=torch.float64)
    Lamb([p], lr=0.5).step()
    adam = 0.2 / (math.sqrt(0.004) + 1e-6)
    update = [adam + 0.03, -adam + 0.04]
    scale = 5 / math.hypot(*update)
    assert p[0].tolist() == pytest.approx(
        [3 - 0.5 * scale * update[0], 4 - 0.5 * scale * update[1]], abs=1e-14
    )


@pytest.mark.parametrize("foreach", [False, True])
def test_zero_weights_and_zero_gradients(foreach: bool) -> None:
    """Kills: weights of zero that can never leave it, a division of 0 by 0."""
    params = parameters()
    grads = gradients(1)
    grads[0][0].zero_()  # the decay alone is left: its norm is what scales it, to a shrinkage by lr
    before = params[0].detach().clone()
    run(Lamb(groups(params), 1.0, foreach=foreach), params, grads, [0.1])
    assert torch.allclose(params[0], before * 0.9, rtol=0, atol=1e-15)
    step = 0.1 * 0.1 * grads[0][2] / (math.sqrt(0.001) * grads[0][2].abs() + 1e-6)
    assert torch.allclose(params[2], -step, rtol=0, atol=1e-15)
    still = torch.nn.Parameter(torch.zeros(3, 2))
    still.grad = torch.zeros(3, 2)
    Lamb([still], lr=1.0, foreach=foreach).step()
    assert torch.equal(still, torch.zeros(3, 2))


def test_a_parameter_without_gradient_stays_and_closures_compute_them() -> None:
    """Kills: decay of what was not trained, a closure under no_grad, a loss that is lost."""
    used, unused = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Lamb([used, unused], lr=0.1)

    def closure() -> float:
        loss = used.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert used.max() < 1
    assert torch.equal(unused, torch.ones(2, 2))
    assert unused not in optimizer.state


@pytest.mark.parametrize("foreach", [False, True])
def test_a_state_dict_continues_identically(tmp_path: Path, foreach: bool) -> None:
    """Kills: moments or a group's options that are not saved, a float32 copy of float64 moments."""
    params, grads, lrs = parameters(), gradients(20), [0.01] * 20
    optimizer = Lamb(groups(params), 1.0, foreach=foreach)
    run(optimizer, params, grads[:10], lrs[:10])
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    again = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = Lamb([{"params": g["params"]} for g in groups(again)], 1.0, foreach=foreach)
    other.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    for each, its in ((optimizer, params), (other, again)):
        run(each, its, grads[10:], lrs[10:])
    assert all(torch.equal(a, b) for a, b in zip(params, again, strict=True))
    assert [g["adapt"] for g in other.param_groups] == [True, False, True]
    run(
        copy.deepcopy(other), again, grads[:1], lrs[:1]
    )  # what accelerate and others do with an optimizer


def test_both_ways_are_one_in_float32() -> None:
    """Kills: a fast path that rounds where the definition does not."""
    found = []
    for foreach in (False, True):
        torch.manual_seed(0)
        params = parameters(torch.float32)
        run(
            Lamb(groups(params), 1.0, foreach=foreach),
            params,
            gradients(20, torch.float32),
            [0.01] * 20,
        )
        found.append(params)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*found, strict=True))


def test_biases_and_layer_norms_are_neither_decayed_nor_adapted() -> None:
    """Kills: a LayerNorm among the decayed, a shared or tied weight twice, the recipe's values left out."""
    model = AlbertForPreTraining(AlbertConfig(**SHARED))
    model.albert.pooler.requires_grad_(False)
    recipe = PretrainingConfig(
        learning_rate=0.5, weight_decay=0.02, adam_beta1=0.7, adam_beta2=0.6, adam_eps=1e-3
    )
    optimizer = build_lamb(model, recipe)
    name_of = {p: name for name, p in model.named_parameters()}
    adapted, spared = ([name_of[p] for p in group["params"]] for group in optimizer.param_groups)
    assert all(name.endswith("weight") and "norm" not in name.lower() for name in adapted)
    assert all(name.endswith("bias") or "norm" in name.lower() for name in spared)
    assert sorted([*adapted, *spared]) == sorted(
        n for n, p in model.named_parameters() if p.requires_grad
    )
    options = [
        [g[k] for k in ("lr", "betas", "eps", "weight_decay", "adapt")]
        for g in optimizer.param_groups
    ]
    assert options == [[0.5, (0.7, 0.6), 1e-3, 0.02, True], [0.5, (0.7, 0.6), 1e-3, 0.0, False]]
    assert isinstance(OPTIMIZERS["adamw"](model, recipe), torch.optim.AdamW)
    assert OPTIMIZERS["lamb"] is build_lamb


def test_the_rate_rises_and_falls_as_in_the_papers_code() -> None:
    """Kills: a decay that starts anew after the warmup, a division by no warmup, a rate below 0 or of a power below."""
    assert [polynomial_decay_from_start(step, 4, 10) for step in range(11)] == pytest.approx(
        [0, 0.25, 0.5, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0]
    )
    assert [
        polynomial_decay_from_start(step, 0, 4, power=2.0) for step in range(5)
    ] == pytest.approx([1, 0.5625, 0.25, 0.0625, 0])
    assert polynomial_decay_from_start(12, 0, 10, power=0.5) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0 must be 0 or more"),
        ({"lr": 1.0, "weight_decay": math.nan}, "weight_decay=nan must be 0 or more"),
        ({"lr": 1.0, "eps": 0.0}, "eps=0.0 must be above 0"),
        (
            {"lr": 1.0, "betas": (0.9, 1.0)},
            r"betas=\(0.9, 1.0\) must be two numbers from 0 to below 1",
        ),
    ],
)
def test_impossible_values_are_refused(options: dict[str, Any], message: str) -> None:
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=message):
        Lamb([p], **options)
    with pytest.raises(ValueError, match=message):
        Lamb([{"params": [p], **options}], lr=1.0)


# What each of two processes does: updates of the pretraining objective in shards, the last of them after a resume.
WORKER = """
import sys
import torch
from torch.distributed import get_rank, init_process_group
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from albert_torch import AlbertConfig, AlbertForPreTraining
from albert_torch.training.optim import build_lamb
from albert_torch.pretraining.objective import PretrainingObjective
from albert_torch.training.distributed import leave_process_group_at_exit, shard_model

data, out = sys.argv[1:]
init_process_group("gloo")
given = torch.load(data, weights_only=False)
whole = StateDictOptions(full_state_dict=True)


def built():
    objective = PretrainingObjective(AlbertForPreTraining(AlbertConfig(**given["config"]), unpad=True).double().eval())
    objective.load_state_dict(given["start"])
    objective = shard_model(objective)
    return objective, build_lamb(objective, given["recipe"])


def update(objective, optimizer, batch):
    mine = {name: x[get_rank() :: 2] for name, x in batch.items()}
    sums = objective(**mine)
    masked, rows = (batch[name].ne(-100).sum() for name in ("labels", "sentence_order_label"))
    (2 * (sums.mlm_loss / masked + sums.sop_loss / rows)).backward()
    optimizer.step()
    optimizer.zero_grad()


objective, optimizer = built()
for batch in given["batches"][:3]:
    update(objective, optimizer, batch)
weights, moments = get_state_dict(objective, optimizer, options=whole)
objective, optimizer = built()
set_state_dict(objective, optimizer, model_state_dict=weights, optim_state_dict=moments, options=whole)
for batch in given["batches"][3:]:
    update(objective, optimizer, batch)
weights, moments = get_state_dict(objective, optimizer, options=whole)
if get_rank() == 0:
    torch.save((weights, moments), out)
leave_process_group_at_exit()
"""


def test_shards_get_the_updates_of_the_whole(tmp_path: Path) -> None:
    """Kills: the norm of a shard in place of the parameter's, moments of shards that are lost in a resume, a part that
    is divided by its own count, an objective that shards cannot wrap.
    """
    objective = PretrainingObjective(
        AlbertForPreTraining(AlbertConfig(**SHARED), unpad=True).double().eval()
    )
    recipe = PretrainingConfig(learning_rate=0.01)
    batches = [inputs_for("AlbertForPreTraining", SHARED, lengths=(9, 5, 1, 7)) for _ in range(6)]
    start = copy.deepcopy(objective.state_dict())
    given = {"config": SHARED, "start": start, "recipe": recipe, "batches": batches}
    torch.save(given, tmp_path / "given.pt")
    (tmp_path / "worker.py").write_text(WORKER)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command += [str(tmp_path / name) for name in ("worker.py", "given.pt", "found.pt")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    optimizer = build_lamb(objective, recipe)
    for batch in batches:
        sums = objective(**batch)
        (sums.mlm_loss / sums.masked + sums.sop_loss / sums.examples).backward()
        optimizer.step()
        optimizer.zero_grad()
    weights, moments = torch.load(tmp_path / "found.pt", weights_only=True)
    want = objective.state_dict()
    assert weights.keys() == want.keys()
    for name, value in weights.items():
        assert torch.allclose(value, want[name], rtol=0, atol=1e-12), name
        assert not torch.equal(value, start[name]), name
    for name, p in objective.named_parameters():
        for key, value in moments["state"][name].items():
            assert torch.allclose(value, optimizer.state[p][key], rtol=0, atol=1e-12), (name, key)
