"""Writing of weights as safetensors, in one file or in shards with an index, and of their config.

All files of a checkpoint are complete before the first one takes its place, so a process that is
killed while it saves leaves a checkpoint that can be read: the previous one or the new one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from albert_torch.config import AlbertConfig
from albert_torch.files import atomic_write_many, sync_directory

_SAVED_WEIGHTS = re.compile(r"model((-v\d+)?-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def save_state_dict(
    state: Mapping[str, Tensor],
    directory: str | os.PathLike[str],
    max_shard_size: int | str = "5GB",
    config: str | None = None,
) -> None:
    """Write weights as `model.safetensors`, or as shards and `model.safetensors.index.json`.

    The layout is that of transformers. Weight files of an earlier save are removed afterwards, and
    other files are left alone. A tensor that the state dict has under several names is stored once,
    under the first of them.

    Args:
        state: The tensors, on any device.
        directory: The directory to write to; it is created if necessary.
        max_shard_size: The largest size of a file: a number of bytes, or a text such as "5GB" or
            "200MiB". A tensor that is larger gets a file of its own.
        config: The text of `config.json`; None: leave that file as it is.

    Raises:
        OSError: The files cannot be written, for example because the disk is full. The previous
            files are unchanged in that case.
        ValueError: `max_shard_size` is not a size.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    shards = _split_into_shards(state, _number_of_bytes(max_shard_size))
    shard_names = _names_of_shards(len(shards), folder)
    contents: dict[str, dict[str, Tensor] | str] = dict(zip(shard_names, shards, strict=True))
    if len(shards) > 1:
        contents["model.safetensors.index.json"] = _index(shard_names, shards)
    if config is not None:
        contents["config.json"] = config
    with atomic_write_many(folder, contents) as temporary_paths:
        for name, content in contents.items():
            if isinstance(content, str):
                temporary_paths[name].write_text(content, encoding="utf-8")
            else:
                save_file(content, temporary_paths[name], metadata={"format": "pt"})
    _remove_earlier_weights(folder, contents)


def config_text(
    config: AlbertConfig, state: Mapping[str, Tensor], architecture: str | None = None
) -> str:
    """Return the text of the `config.json` that belongs to some weights.

    Args:
        config: The config of the model; it is not changed.
        state: The weights. The config names the dtype of the first one.
        architecture: The class of the model; None: keep what the config says.
    """
    config = deepcopy(config)
    vars(config).pop("torch_dtype", None)  # the older name of the key
    vars(config)["dtype"] = str(next(iter(state.values())).dtype).removeprefix("torch.")
    if architecture is not None:
        config.architectures = [architecture]
    return config.to_json_string()


def _split_into_shards(state: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """Distribute the tensors over shards of at most `limit` bytes, in order.

    safetensors refuses tensors that share memory: a tensor that was added before under another name
    is left out, and another view of the same memory is copied.
    """
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    views: set[tuple[torch.device, int, torch.Size, tuple[int, ...], torch.dtype]] = set()
    storages: set[int] = set()
    for key, tensor in state.items():
        tensor = tensor.detach()
        view = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and view in views:
            continue
        views.add(view)
        storage = tensor.untyped_storage().data_ptr()
        if storage in storages:
            tensor = tensor.clone()
        storages.add(storage)
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][key] = tensor.contiguous()
        size += tensor.nbytes
    return shards


def _names_of_shards(count: int, folder: Path) -> list[str]:
    """Return names that no shard in `folder` has: its index stays valid until it is replaced."""
    if count == 1:
        return ["model.safetensors"]
    version = 0
    while True:
        stem = f"model-v{version}" if version else "model"
        names = [f"{stem}-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
        if not any((folder / name).exists() for name in names):
            return names
        version += 1


def _index(shard_names: list[str], shards: list[dict[str, Tensor]]) -> str:
    """Return the text of the index: the shard of each tensor, and the size of all."""
    weight_map: dict[str, str] = {}
    total_size = 0
    for name, shard in zip(shard_names, shards, strict=True):
        weight_map.update(dict.fromkeys(shard, name))
        total_size += sum(tensor.nbytes for tensor in shard.values())
    index = {
        "metadata": {"total_size": total_size},
        "weight_map": dict(sorted(weight_map.items())),
    }
    return json.dumps(index, indent=2) + "\n"


def _remove_earlier_weights(folder: Path, current: Mapping[str, object]) -> None:
    """Remove the weight files of earlier saves. A reader would prefer a `model.safetensors`."""
    for path in folder.glob("model*"):
        if path.name not in current and _SAVED_WEIGHTS.fullmatch(path.name):
            path.unlink(missing_ok=True)
    sync_directory(folder)


def _number_of_bytes(size: int | str) -> int:
    match = re.fullmatch(r"(\d+) *([A-Z]*)", str(size).upper())
    if match is None or match[2] not in _UNITS or not int(match[1]):
        raise ValueError(
            f"max_shard_size={size!r} must be a number of bytes above 0, or a text such as '5GB' "
            "or '9MiB'"
        )
    return int(match[1]) * _UNITS[match[2]]
