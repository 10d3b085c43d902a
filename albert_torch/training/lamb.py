"""LAMB, the optimizer of pretraining (You et al. 2019, arXiv 1904.00962), as the paper's code has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from albert_torch.training.config import TrainingConfig
from albert_torch.training.optim import adamw


def lr_multiplier(step: int, warmup: int, steps: int, power: float = 1.0) -> float:
    """The learning rate's factor at an update, counted from 0: up over `warmup` updates, then down to 0.

    As in the paper's code the decay counts from the first update: after the warmup it is at (1 - warmup / steps).
    """
    factor: float = step / warmup if step < warmup else max(0.0, 1 - step / steps) ** power
    return factor


class Lamb(Optimizer):
    """Adam whose update of each parameter is scaled by the norm of the parameter: w -= lr * |w| / |update| * update.

    No bias correction. `update` holds the decoupled decay; a norm of 0 means a scale of 1. A group with
    `adapt=False` is not scaled. A parameter that layers share is one parameter, with one scale; so is one that is
    sharded over processes. `foreach`: all parameters of a group at once, None: on an accelerator; sharded parameters,
    or a group on several devices, are always updated one by one.

    Raises `ValueError` for an impossible value.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        adapt: bool = True,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "adapt": adapt,
        }
        super().__init__(params, {**defaults, "foreach": foreach})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Check a group's values, its own or the defaults, and take it."""
        values = {**self.defaults, **param_group}
        for name in ("lr", "weight_decay"):
            if not values[name] >= 0:
                raise ValueError(f"{name}={values[name]} must be 0 or more")
        if not values["eps"] > 0:
            raise ValueError(
                f"eps={values['eps']} must be above 0: it divides where there was no gradient yet"
            )
        if not all(0 <= beta < 1 for beta in values["betas"]):
            raise ValueError(f"betas={values['betas']} must be two numbers from 0 to below 1")
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update what has a gradient; returns what `closure`, which computes the gradients, does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for p in params:
                if not self.state[p]:
                    self.state[p] = {
                        "exp_avg": torch.zeros_like(p),
                        "exp_avg_sq": torch.zeros_like(p),
                    }
            if _together(params, group["foreach"]):
                self._update_all(params, group)
            else:
                for p in params:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        """The definition, for one parameter."""
        (beta1, beta2), grad, state = group["betas"], p.grad, self.state[p]
        assert grad is not None
        m = state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        update = m / v.sqrt().add_(group["eps"])
        if group["weight_decay"]:
            update.add_(p, alpha=group["weight_decay"])
        if group["adapt"]:
            update.mul_(_trust(_norm(p), _norm(update)))
        p.sub_(update, alpha=group["lr"])

    def _update_all(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """The same for all parameters of a group, in few calls."""
        (beta1, beta2), grads = group["betas"], [p.grad for p in params if p.grad is not None]
        m = [self.state[p]["exp_avg"] for p in params]
        v = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_mul_(m, beta1)
        torch._foreach_add_(m, grads, alpha=1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
        denominators = torch._foreach_sqrt(v)
        torch._foreach_add_(denominators, group["eps"])
        updates = torch._foreach_div(m, denominators)
        if group["weight_decay"]:
            torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        if group["adapt"]:
            norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (params, updates))
            torch._foreach_mul_(updates, list(_trust(*norms).unbind()))
        torch._foreach_sub_(params, updates, alpha=group["lr"])


def _together(params: list[Tensor], foreach: bool | None) -> bool:
    """Whether a group is updated at once: it can be, and is asked for or on an accelerator."""
    wanted = foreach if foreach is not None else any(p.device.type != "cpu" for p in params)
    alike = len({(p.device, p.dtype) for p in params}) == 1
    return wanted and alike and not any(hasattr(p, "full_tensor") for p in params)


def _trust(weight: Tensor, update: Tensor) -> Tensor:
    """How much an update is scaled, from the norms; 1 where one of them is 0."""
    return torch.where((weight > 0) & (update > 0), weight / update, 1.0)


def _norm(x: Tensor) -> Tensor:
    """The norm of a whole parameter, of which this process may hold a shard."""
    norm = torch.linalg.vector_norm(x)
    whole: Tensor = getattr(norm, "full_tensor", lambda: norm)()
    return whole


def lamb(model: nn.Module, recipe: TrainingConfig) -> Lamb:
    """LAMB on what is trained; biases and LayerNorms are neither decayed nor adapted, as in the paper's code."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1]},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0, "adapt": False},
    ]
    betas = (recipe.adam_beta1, recipe.adam_beta2)
    return Lamb(groups, recipe.learning_rate, betas, recipe.adam_eps, recipe.weight_decay)


OPTIMIZERS: dict[str, Callable[[nn.Module, TrainingConfig], Optimizer]] = {
    "lamb": lamb,
    "adamw": adamw,
}
