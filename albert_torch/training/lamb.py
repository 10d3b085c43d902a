"""LAMB, the optimizer of pretraining (You et al. 2019, arXiv 1904.00962), as in Google's code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """LAMB: Adam whose update of each parameter is scaled by `|parameter| / |update|`.

    The update contains the decoupled weight decay, and there is no bias correction. If one of the
    two norms is 0, the update is not scaled. A parameter that several layers share, or that is
    sharded over processes, is one parameter with one scale.

    Args:
        params: Parameters or parameter groups, as for every torch optimizer.
        lr: The learning rate.
        betas: The decay rates of the first and the second moment.
        eps: A constant added to the denominator.
        weight_decay: The factor of the decoupled weight decay.
        adapt: Whether updates are scaled; False turns the optimizer into Adam without bias
            correction. Usually set for a parameter group.
        foreach: Whether all parameters of a group are updated together, in few kernel calls; None:
            on accelerators only. Sharded parameters, and groups on several devices, are always
            updated one by one.

    Raises:
        ValueError: A value is impossible.
    """

    def __init__(  # noqa: PLR0913 - the signature of torch's optimizers, and two options of LAMB
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
        """Add a parameter group after checking its values."""
        values = {**self.defaults, **param_group}
        for name in ("lr", "weight_decay"):
            if not values[name] >= 0:
                raise ValueError(f"{name}={values[name]} must be 0 or more")
        if not values["eps"] > 0:
            raise ValueError(
                f"eps={values['eps']} must be above 0: it is the denominator without a gradient"
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
        """Update all parameters that have a gradient.

        Args:
            closure: A function that computes the gradients and returns the loss.

        Returns:
            The loss that `closure` returned, if it was given.
        """
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
            if _can_update_together(params, group["foreach"]):
                self._update_together(params, group)
            else:
                for p in params:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        """Update one parameter: algorithm 2 of the paper, without bias correction."""
        (beta1, beta2), grad, state = group["betas"], p.grad, self.state[p]
        assert grad is not None
        m = state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        update = m / v.sqrt().add_(group["eps"])
        if group["weight_decay"]:
            update.add_(p, alpha=group["weight_decay"])
        if group["adapt"]:
            update.mul_(_trust_ratio(_full_norm(p), _full_norm(update)))
        p.sub_(update, alpha=group["lr"])

    def _update_together(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """Update all parameters of a group, as `_update` does, in few kernel calls."""
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
            weight_norms = torch.stack(torch._foreach_norm(params))
            update_norms = torch.stack(torch._foreach_norm(updates))
            torch._foreach_mul_(updates, list(_trust_ratio(weight_norms, update_norms).unbind()))
        torch._foreach_sub_(params, updates, alpha=group["lr"])


def _can_update_together(params: list[Tensor], foreach: bool | None) -> bool:
    """Whether a group is updated together: if it was asked for, or is on an accelerator."""
    wanted = foreach if foreach is not None else any(p.device.type != "cpu" for p in params)
    same_kind = len({(p.device, p.dtype) for p in params}) == 1
    return wanted and same_kind and not any(_is_sharded(p) for p in params)


def _trust_ratio(weight_norm: Tensor, update_norm: Tensor) -> Tensor:
    """The factor of an update; 1 where one of the norms is 0."""
    return torch.where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)


def _full_norm(x: Tensor) -> Tensor:
    """The norm of a parameter or an update, including the shards of other processes."""
    norm = torch.linalg.vector_norm(x)
    whole: Tensor = norm.full_tensor() if _is_sharded(norm) else norm
    return whole


def _is_sharded(x: Tensor) -> bool:
    """Whether a tensor is a DTensor, as FSDP2 makes them (importing the class takes time)."""
    return hasattr(x, "full_tensor")
