"""State dict -> files: atomic saving, and `convert`, which rewrites any checkpoint that can be read."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from albert_torch.config import AlbertConfig
from albert_torch.files import atomic_write_many, sync_directory

_WEIGHTS = re.compile(r"model((-v\d+)?-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def save_state_dict(
    state: Mapping[str, Tensor],
    directory: str | os.PathLike[str],
    max_shard_size: int | str = "5GB",
    config: str | None = None,
) -> None:
    """Write `model.safetensors`, or shards and their index, and `config.json` if its text is given.

    `max_shard_size` is in bytes, or text such as "200MB". All files are written and synced under hidden names first and
    then renamed one after the other, so a killed process leaves the old checkpoint or the new one. Names of one tensor
    are stored once, under the first. Raises `OSError` when the disk is full, with the old files as they were.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    shards = _split(state, _bytes(max_shard_size))
    files: dict[str, dict[str, Tensor] | str] = {"model.safetensors": shards[0]}
    if len(shards) > 1:
        for version in (
            itertools.count()
        ):  # names that no earlier save has taken: its index stays true until replaced
            stem = f"model-v{version}" if version else "model"
            files = {
                f"{stem}-{n:05}-of-{len(shards):05}.safetensors": shard
                for n, shard in enumerate(shards, 1)
            }
            if not any((folder / name).exists() for name in files):
                break
        size = sum(tensor.nbytes for shard in shards for tensor in shard.values())
        weight_map = {key: name for name, shard in files.items() for key in shard}
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
        files["model.safetensors.index.json"] = json.dumps(index, indent=2) + "\n"
    if config is not None:
        files["config.json"] = config
    with atomic_write_many(folder, files) as temporary_paths:
        for name, path in temporary_paths.items():
            _write(path, files[name])
    for path in folder.glob(
        "model*"
    ):  # what is left of an earlier save; a model.safetensors would be read first
        if path.name not in files and _WEIGHTS.fullmatch(path.name):
            path.unlink(missing_ok=True)
    sync_directory(folder)


def _write(path: Path, content: Mapping[str, Tensor] | str) -> None:
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        save_file(dict(content), path, metadata={"format": "pt"})


def _split(state: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    seen: set[tuple[Any, ...]] = set()
    storages: set[int] = set()
    size = 0
    for key, tensor in state.items():
        tensor = tensor.detach()
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        if (storage := tensor.untyped_storage().data_ptr()) in storages:
            tensor = tensor.clone()  # another view of what is saved already
        storages.add(storage)
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][key] = tensor.contiguous()
        size += tensor.nbytes
    return shards


def _bytes(size: int | str) -> int:
    text = re.fullmatch(r"(\d+) *([A-Z]*)", str(size).upper())
    if text is None or text[2] not in _UNITS or not int(text[1]):
        raise ValueError(
            f"max_shard_size={size!r} must be a number of bytes above 0, or text such as '5GB' or '9MiB'"
        )
    return int(text[1]) * _UNITS[text[2]]


def config_text(
    config: AlbertConfig, state: Mapping[str, Tensor], architecture: str | None = None
) -> str:
    """`config.json` for these weights: with their dtype, and the class that wrote them."""
    config = deepcopy(config)
    vars(config).pop("torch_dtype", None)  # the older name of the key
    vars(config)["dtype"] = str(next(iter(state.values())).dtype).removeprefix("torch.")
    if architecture is not None:
        config.architectures = [architecture]
    return config.to_json_string()
