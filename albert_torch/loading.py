"""The steps of `from_pretrained` between reading a config and having a model with weights."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from albert_torch.checkpoints.matching import Match
from albert_torch.checkpoints.reader import CheckpointError
from albert_torch.config import AlbertConfig
from albert_torch.initialization import SkipInitialization

if TYPE_CHECKING:
    from albert_torch.pretrained import AlbertPreTrainedModel

Model = TypeVar("Model", bound="AlbertPreTrainedModel")


def split_overrides(
    model_class: type[AlbertPreTrainedModel], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate overrides of `from_pretrained` into arguments of the constructor and config fields.

    Raises:
        TypeError: If an override is neither.
    """
    parameters = inspect.signature(model_class).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    own = {p.name for p in parameters if p.kind not in variable} - {"config"}
    known = {field.name for field in fields(AlbertConfig)} | {"num_labels"} | own
    for name in overrides.keys() - known:
        similar = difflib.get_close_matches(name, known, n=1)
        hint = "it is no argument of from_pretrained and no field of AlbertConfig"
        if similar:
            hint = f"did you mean {similar[0]!r}?"
        raise TypeError(f"{model_class.__name__}.from_pretrained() got {name!r}: {hint}")
    arguments = {name: value for name, value in overrides.items() if name in own}
    config_fields = {name: value for name, value in overrides.items() if name not in own}
    return arguments, config_fields


def build_on_meta(
    model_class: type[Model],
    config: AlbertConfig,
    arguments: Mapping[str, Any],
    *,
    num_tensors: int,
    path: Path,
) -> Model:
    """Build a model on the meta device, where its weights have shapes and dtypes but no values.

    Args:
        model_class: The class of the model.
        config: Its config.
        arguments: Further arguments of the constructor.
        num_tensors: Number of tensors in the checkpoint. If the config asks for more layers than
            that, it is refused before a large number of modules is created.
        path: The file of weights, for messages.

    Raises:
        CheckpointError: If there are too few tensors.
        ValueError: If the model cannot be built, because a size is too large.
    """
    if config.num_hidden_groups * config.inner_group_num > num_tensors:
        raise CheckpointError(
            f"the config asks for {config.num_hidden_groups} groups of {config.inner_group_num} "
            f"layers, but {path} contains {num_tensors} tensors in all: correct num_hidden_groups "
            "or inner_group_num"
        )
    try:
        with torch.device("meta"), SkipInitialization():
            return model_class(config, **arguments)
    except (OverflowError, RuntimeError, TypeError) as error:  # sizes that need more than 64 bits
        raise ValueError(
            f"{model_class.__name__} cannot be built from this config: {error}"
        ) from error


def load_match(
    model: AlbertPreTrainedModel,
    match: Match,
    device: torch.device | str | int | None,
    dtype: torch.dtype | None,
) -> None:
    """Put the tensors of a checkpoint into a model on the meta device, and initialise the others.

    Args:
        model: The model; afterwards no weight of it is on the meta device.
        match: The tensors for its weights.
        device: Device of the weights; None for the CPU.
        dtype: Dtype of the weights; None for the widest one in `match`.
    """
    if dtype is None:
        dtypes = {tensor.dtype for tensor in match.tensors.values()} or {torch.float32}
        dtype = functools.reduce(torch.promote_types, dtypes)
    state = {
        name: tensor.to(device=device, dtype=dtype).contiguous()
        for name, tensor in match.tensors.items()
    }
    for name in match.uninitialised:
        shape = model.get_parameter(name).shape
        state[name] = torch.empty(shape, device=device, dtype=dtype)
    model.load_state_dict(state, strict=False, assign=True)
    model._init_parameters(match.uninitialised)
    model.tie_weights()
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
