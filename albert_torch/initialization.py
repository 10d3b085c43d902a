"""Initial values of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@torch.no_grad()
def init_parameter(module: nn.Module, name: str, std: float) -> None:
    """Set a parameter to its initial value, in place.

    Weights come from a normal distribution that is cut off at two standard deviations, as in
    Google's code (transformers does not cut it off). Biases are 0, the weights of LayerNorm are 1
    and the embedding of the padding token is 0.

    Args:
        module: The module that owns the parameter.
        name: The name of the parameter in the module.
        std: The standard deviation before the cut, `initializer_range` in the config.
    """
    parameter = module.get_parameter(name)
    if name == "bias":
        nn.init.zeros_(parameter)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(parameter)
    else:
        nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            parameter[module.padding_idx].zero_()


class SkipInitialization(TorchFunctionMode):
    """A context in which the functions of `torch.nn.init` do nothing.

    It is for models on the meta device, which have no values: torch would import its compiler
    for them, which takes 0.8 seconds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"]
        return func(*args, **kwargs)
