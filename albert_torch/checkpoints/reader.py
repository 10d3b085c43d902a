"""Weight files -> a state dict: safetensors and pickled checkpoints, single or sharded."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from albert_torch.files import read_json
from albert_torch.hub import Source

logger = logging.getLogger(__name__)


WEIGHT_FILES = tuple(  # in the order of preference
    f"{name}{kind}"
    for name in ("model.safetensors", "pytorch_model.bin")
    for kind in ("", ".index.json")
)


DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class CheckpointError(ValueError):
    """Weight files that cannot be read, or that do not fit the model."""


def read_state_dict(source: Source) -> tuple[dict[str, Tensor], Path]:
    """The tensors of the first of `WEIGHT_FILES` that `source` holds, mapped into memory, and that file's path.

    Raises `FileNotFoundError` when it holds none, `CheckpointError` for a file that cannot be read or would run code.
    """
    for name in WEIGHT_FILES:
        if (path := source.find(name)) is not None:
            return _read_shards(source, path) if name.endswith(".json") else _read_file(path), path
    raise source.missing_error(*WEIGHT_FILES)


def _read_file(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        raise CheckpointError(f"{path} is empty; download or save it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a git-lfs pointer, not the weights; run `git lfs pull` in its repository"
        )
    if start.startswith(b"<"):
        raise CheckpointError(f"{path} is a web page, not weights; download the file itself")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # SafetensorError for a bad header; torch's own errors for what a header then asks of it
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); download or save it again"
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:  # torch does not look at checksums; one wrong byte in the pickle could name another tensor's bytes
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith("data.pkl"):
                        archive.read(name)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        broken = isinstance(error, pickle.UnpicklingError)
        if broken and (call := re.search(r"global:?\s+(\S+)", str(error), re.IGNORECASE)):
            raise CheckpointError(
                f"{path} is a pickle that asks to run {call[1]} and was not run; convert it to safetensors "
                "with a tool you trust, or get the weights elsewhere"
            ) from None
        reason = (
            "" if broken else f": {error}".splitlines()[0]
        )  # torch's text would advise to run the pickle
        raise CheckpointError(
            f"{path} is not a whole PyTorch checkpoint ({type(error).__name__}{reason}); download or save it again"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise CheckpointError(
            f"{path} holds a {type(state).__name__}, not a state dict of named tensors"
        )
    for key, value in state.items():
        if (
            not isinstance(value, Tensor)
            or value.layout is not torch.strided
            or value.device.type != "cpu"
        ):
            raise CheckpointError(
                f"{path}: {key} is no plain tensor; save model.state_dict() alone"
            )
    return {key: value.detach() for key, value in state.items()}


def _read_shards(source: Source, index: Path) -> dict[str, Tensor]:
    try:
        content = read_json(index, allow_duplicate_keys=False)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    weight_map = content.get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(v, str) for v in weight_map.values())
    ):
        raise CheckpointError(
            f'{index} must hold {{"weight_map": {{key: file name}}}}; save the checkpoint again'
        )
    state: dict[str, Tensor] = {}
    for shard in dict.fromkeys(weight_map.values()):
        if not shard or re.search(r"[/\\:\0]", shard) or shard == "..":
            raise CheckpointError(
                f"{index} points outside its directory: {shard!r}; shards lie beside the index"
            )
        if (path := source.find(shard)) is None:
            raise CheckpointError(f"{index} names {shard}, which is not there; download all shards")
        tensors = _read_file(path)
        promised = {key for key, name in weight_map.items() if name == shard}
        if lacking := sorted(promised - tensors.keys()):
            raise CheckpointError(
                f"{path} lacks {', '.join(lacking)}, which {index.name} places there"
            )
        if extra := sorted(tensors.keys() - promised):
            where = (
                "stands in two shards"
                if extra[0] in weight_map
                else f"is not named by {index.name}"
            )
            raise CheckpointError(f"{path}: {extra[0]} {where}; save the checkpoint again")
        state.update(tensors)
    return state


def dtype_named(value: torch.dtype | str | None) -> torch.dtype | None:
    """The dtype of a name such as "bfloat16"; None for "auto".  Raises `ValueError` for what no weight can be."""
    if value is None or value == "auto":
        return None
    dtype = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
    if dtype not in DTYPES:
        raise ValueError(
            f"dtype={value!r} must be 'auto' or one of {', '.join(str(dtype) for dtype in DTYPES)}"
        )
    return dtype
