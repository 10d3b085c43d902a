"""Reading of weight files: safetensors and PyTorch pickles, in one file or in shards with an index.

Files from the Hub are not trusted: pickles are read without running code, file names in an index
must not lead out of the directory, and whatever is wrong with a file becomes a `CheckpointError`
that says what to do.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from albert_torch.files import read_json
from albert_torch.hub import Source

WEIGHT_FILES = (  # in order of preference
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
WEIGHT_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class CheckpointError(ValueError):
    """A weight file that cannot be read, or whose weights do not fit the model."""


def read_state_dict(source: Source) -> tuple[dict[str, Tensor], Path]:
    """Read the weights of a model from the first of `WEIGHT_FILES` that it contains.

    Args:
        source: The directory or Hub repository.

    Returns:
        The tensors under the names that the file has for them, on the CPU in the file's dtypes, and
        the path of the weight file or index. The tensors are mapped into memory where the format
        permits it, so they must not be written to.

    Raises:
        FileNotFoundError: There is no such model, or it contains no weight file.
        CheckpointError: A file is damaged, is not a weight file, or is a pickle that would run
            code.
    """
    for filename in WEIGHT_FILES:
        path = source.find(filename)
        if path is None:
            continue
        if filename.endswith(".index.json"):
            return _read_shards(source, path), path
        return _read_file(path), path
    raise source.missing_error(*WEIGHT_FILES)


def dtype_named(value: torch.dtype | str | None) -> torch.dtype | None:
    """Return the dtype that a user asked for.

    Args:
        value: A dtype, or its name such as "bfloat16" or "torch.bfloat16".

    Returns:
        The dtype; None for None and "auto", which mean the dtype of the file.

    Raises:
        ValueError: There is no such dtype, or weights cannot have it.
    """
    if value is None or value == "auto":
        return None
    dtype = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
    if dtype not in WEIGHT_DTYPES:
        raise ValueError(
            f"dtype={value!r} must be 'auto' or one of {', '.join(map(str, WEIGHT_DTYPES))}"
        )
    return dtype


def _read_file(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        raise CheckpointError(f"{path} is empty; download or save it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a pointer of git-lfs instead of the weights; run `git lfs pull` in its "
            "repository"
        )
    if start.startswith(b"<"):
        raise CheckpointError(f"{path} is a web page instead of weights; download the file itself")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # SafetensorError, or errors of torch for what a bad header asks for
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); download or save it again"
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        is_zip = zipfile.is_zipfile(path)  # the format of PyTorch since version 1.6
        if is_zip:
            _verify_checksum_of_names(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        # Without the cause: its text advises to switch off the protection against code.
        raise _unpickling_error(path, error) from None
    except Exception as error:  # damaged files make the unpickler raise almost any error
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise _incomplete_error(path, reason) from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise CheckpointError(
            f"{path} contains a {type(state).__name__} instead of a state dict with names; save "
            "model.state_dict() alone"
        )
    for key, value in state.items():
        if not _is_plain_tensor(value):
            raise CheckpointError(
                f"{path}: {key} is not a plain tensor; save model.state_dict() alone"
            )
    return {key: value.detach() for key, value in state.items()}


def _verify_checksum_of_names(path: Path) -> None:
    """Raise `zipfile.BadZipFile` if the part of the archive that names the tensors is damaged.

    `torch.load` does not verify checksums, and one wrong byte there can give a tensor the data of
    another. The data itself is not verified, since that would read the whole file.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                archive.read(name)


def _unpickling_error(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    forbidden_call = re.search(r"global:?\s+(\S+)", str(error), re.IGNORECASE)
    if forbidden_call is None:
        return _incomplete_error(path, type(error).__name__)
    return CheckpointError(
        f"{path} is a pickle that asks to run {forbidden_call[1]}, which was refused; convert it "
        "to safetensors with a tool that you trust, or get the weights from another place"
    )


def _incomplete_error(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a complete PyTorch checkpoint ({reason}); download or save it again"
    )


def _is_plain_tensor(value: object) -> bool:
    return (
        isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
    )


def _read_shards(source: Source, index: Path) -> dict[str, Tensor]:
    weight_map = _read_weight_map(index)
    state: dict[str, Tensor] = {}
    for filename in dict.fromkeys(weight_map.values()):
        if not filename or re.search(r"[/\\:\0]", filename) or filename == "..":
            raise CheckpointError(
                f"{index} points outside its directory: {filename!r}; shards must be in the "
                "directory of the index"
            )
        path = source.find(filename)
        if path is None:
            raise CheckpointError(
                f"{index} names {filename}, which does not exist; download all shards"
            )
        tensors = _read_file(path)
        _check_shard(path, tensors, index, weight_map)
        state.update(tensors)
    return state


def _read_weight_map(index: Path) -> dict[str, str]:
    try:
        content = read_json(index, allow_duplicate_keys=False)
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    weight_map = content.get("weight_map")
    filenames = weight_map.values() if isinstance(weight_map, dict) else ()
    if not filenames or not all(isinstance(filename, str) for filename in filenames):
        raise CheckpointError(
            f'{index} must contain {{"weight_map": {{key: file name}}}}; save the checkpoint again'
        )
    return dict(content["weight_map"])


def _check_shard(
    path: Path, tensors: dict[str, Tensor], index: Path, weight_map: dict[str, str]
) -> None:
    """Raise an error unless a shard contains exactly the tensors that the index places in it."""
    expected = {key for key, filename in weight_map.items() if filename == path.name}
    missing = sorted(expected - tensors.keys())
    if missing:
        raise CheckpointError(
            f"{path} lacks {', '.join(missing)}, which {index.name} places there; download or save "
            "the checkpoint again"
        )
    extra = sorted(tensors.keys() - expected)
    if extra:
        problem = "is in two shards" if extra[0] in weight_map else f"is not named by {index.name}"
        raise CheckpointError(f"{path}: {extra[0]} {problem}; save the checkpoint again")
