"""LAMB equals its formula, number by number; updated one by one or together, and after a resume."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from albert_torch.training.lamb import Lamb
from albert_torch.training.schedules import polynomial_decay_from_start

SHAPES = ((5, 3), (4,), (2, 6), (7,), (3, 3))
Group = dict[str, Any]


def parameters(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    """Parameters of several shapes; one matrix and one vector are zero at the start."""
    made = [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]
    with torch.no_grad():
        made[2].zero_()
        made[3].zero_()
    return made


def gradients(steps: int, dtype: torch.dtype = torch.float64) -> list[list[torch.Tensor]]:
    """Gradients of each update; those of the last parameter are zero, as for an unused
    embedding.
    """
    generator = torch.Generator().manual_seed(1)
    updates = []
    for _ in range(steps):
        made = [torch.randn(shape, dtype=dtype, generator=generator) for shape in SHAPES]
        updates.append([*made[:-1], torch.zeros_like(made[-1])])
    return updates


def groups(params: list[torch.nn.Parameter]) -> list[Group]:
    """Matrices with decay and scaling, vectors with neither, and a matrix that is only scaled."""
    return [
        {"params": [params[0], params[4]], "weight_decay": 0.03},
        {"params": [params[1], params[3]], "weight_decay": 0.0, "adapt": False},
        {"params": [params[2]], "weight_decay": 0.0},
    ]


DECAYS, ADAPTED = (0.03, 0.0, 0.0, 0.0, 0.03), (True, False, True, False, True)


def formula(
    values: list[list[float]], grads: list[list[list[float]]], lrs: list[float]
) -> list[list[float]]:
    """Algorithm 2 of You et al. without bias correction, in Python floats."""
    beta1, beta2, eps = 0.8, 0.95, 1e-5
    results = []
    for i, w in enumerate(values):
        m, v = [0.0] * len(w), [0.0] * len(w)
        for lr, grad in zip(lrs, grads, strict=True):
            m = [beta1 * a + (1 - beta1) * g for a, g in zip(m, grad[i], strict=True)]
            v = [beta2 * a + (1 - beta2) * g * g for a, g in zip(v, grad[i], strict=True)]
            r = [a / (math.sqrt(b) + eps) + DECAYS[i] * x for a, b, x in zip(m, v, w, strict=True)]
            w_norm, r_norm = (math.sqrt(sum(x * x for x in xs)) for xs in (w, r))
            trust = w_norm / r_norm if ADAPTED[i] and w_norm > 0 and r_norm > 0 else 1.0
            w = [x - lr * trust * y for x, y in zip(w, r, strict=True)]
        results.append(w)
    return results


def run(
    optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], grads: Any, lrs: list[float]
) -> None:
    """Do one update for each learning rate."""
    for lr, update_grads in zip(lrs, grads, strict=True):
        for p, grad in zip(params, update_grads, strict=True):
            p.grad = grad.clone()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()


@pytest.mark.parametrize("foreach", [False, True])
def test_a_hundred_updates_are_those_of_the_formula(foreach: bool) -> None:
    """Kills: bias correction, eps under the root, decay outside the norm or applied twice, a scaled
    bias, the norm of Adam's part alone, a norm of 0 that results in 0 or NaN, beta1 and beta2
    swapped, a learning rate that is read only once.
    """
    params, grads = parameters(), gradients(100)
    lrs = [polynomial_decay_from_start(step, 10, 110) * 0.1 for step in range(100)]
    start = [p.flatten().tolist() for p in params]
    grads_as_lists = [[g.flatten().tolist() for g in update] for update in grads]
    expected = formula(start, grads_as_lists, lrs)
    run(Lamb(groups(params), 1.0, (0.8, 0.95), 1e-5, foreach=foreach), params, grads, lrs)
    for p, values in zip(params, expected, strict=True):
        wanted = torch.tensor(values, dtype=torch.float64)
        assert torch.allclose(p.flatten(), wanted, rtol=0, atol=1e-12)


def test_one_update_worked_out_by_hand() -> None:
    """Kills: defaults that differ from those of Google's code.

    The first update of a weight w with gradient g is 0.1 g / (sqrt(0.001 g g) + 1e-6) + 0.01 w,
    before it is scaled; the norm of the weights is 5.
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
    """Kills: weights that stay zero forever, a division of 0 by 0."""
    params = parameters()
    grads = gradients(1)
    grads[0][
        0
    ].zero_()  # only the decay is left; scaled by its own norm it shrinks the weights by lr
    before = params[0].detach().clone()
    run(Lamb(groups(params), 1.0, foreach=foreach), params, grads, [0.1])
    assert torch.allclose(params[0], before * 0.9, rtol=0, atol=1e-15)
    step = 0.1 * 0.1 * grads[0][2] / (math.sqrt(0.001) * grads[0][2].abs() + 1e-6)
    assert torch.allclose(params[2], -step, rtol=0, atol=1e-15)
    zero = torch.nn.Parameter(torch.zeros(3, 2))
    zero.grad = torch.zeros(3, 2)
    Lamb([zero], lr=1.0, foreach=foreach).step()
    assert torch.equal(zero, torch.zeros(3, 2))


def test_a_closure_computes_gradients_and_unused_parameters_stay() -> None:
    """Kills: decay of a parameter without gradient, a closure under no_grad, a loss that is
    lost.
    """
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
    """Kills: moments or options of a group that are not saved, float64 moments kept in float32."""
    params, grads, lrs = parameters(), gradients(20), [0.01] * 20
    optimizer = Lamb(groups(params), 1.0, foreach=foreach)
    run(optimizer, params, grads[:10], lrs[:10])
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    resumed_params = [torch.nn.Parameter(p.detach().clone()) for p in params]
    resumed = Lamb([{"params": g["params"]} for g in groups(resumed_params)], 1.0, foreach=foreach)
    resumed.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    run(optimizer, params, grads[10:], lrs[10:])
    run(resumed, resumed_params, grads[10:], lrs[10:])
    assert all(torch.equal(a, b) for a, b in zip(params, resumed_params, strict=True))
    assert [group["adapt"] for group in resumed.param_groups] == [True, False, True]
    run(copy.deepcopy(resumed), resumed_params, grads[:1], lrs[:1])  # as accelerate does


def test_updates_together_equal_updates_one_by_one_in_float32() -> None:
    """Kills: a fast path that rounds where the definition does not."""
    results = []
    for foreach in (False, True):
        torch.manual_seed(0)
        params = parameters(torch.float32)
        optimizer = Lamb(groups(params), 1.0, foreach=foreach)
        run(optimizer, params, gradients(20, torch.float32), [0.01] * 20)
        results.append(params)
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*results, strict=True))


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
    """Kills: a value of a parameter group that is not checked, a NaN that passes a comparison."""
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=message):
        Lamb([p], **options)
    with pytest.raises(ValueError, match=message):
        Lamb([{"params": [p], **options}], lr=1.0)
