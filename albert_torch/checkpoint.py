"""Files -> state dict: reading what the Hub holds, and fitting it to a model by explicit moves."""

from __future__ import annotations

import json
import logging
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from albert_torch.hub import Source

logger = logging.getLogger(__name__)

WEIGHT_FILES = tuple(  # in the order of preference
    f"{name}{kind}" for name in ("model.safetensors", "pytorch_model.bin") for kind in ("", ".index.json")
)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
BACKBONE = ("albert.embeddings", "albert.encoder")
HEADS = ("albert.pooler", "predictions", "sop_classifier", "classifier", "qa_outputs", "seq_relationship", "cls")
TIED = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}


class CheckpointError(ValueError):
    """Weight files that cannot be read, or that do not fit the model."""


# ---- reading ----


def read_state_dict(source: Source) -> tuple[dict[str, Tensor], Path]:
    """The tensors of the first of `WEIGHT_FILES` that `source` holds, mapped into memory, and that file's path.

    Raises `FileNotFoundError` when it holds none, `CheckpointError` for a file that cannot be read or would run code.
    """
    for name in WEIGHT_FILES:
        if (path := source.find(name)) is not None:
            return _read_shards(source, path) if name.endswith(".json") else _read_file(path), path
    raise source.lacks(*WEIGHT_FILES)


def _read_file(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        raise CheckpointError(f"{path} is empty; download or save it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a git-lfs pointer, not the weights; run `git lfs pull` in its repository")
    if start.startswith(b"<"):
        raise CheckpointError(f"{path} is a web page, not weights; download the file itself")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:  # SafetensorError for a bad header; torch's own errors for what a header then asks of it
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}); download or save it again") from error


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
        reason = "" if broken else f": {error}".splitlines()[0]  # torch's text would advise to run the pickle
        raise CheckpointError(
            f"{path} is not a whole PyTorch checkpoint ({type(error).__name__}{reason}); download or save it again"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a state dict of named tensors")
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.device.type != "cpu":
            raise CheckpointError(f"{path}: {key} is no plain tensor; save model.state_dict() alone")
    return {key: value.detach() for key, value in state.items()}


def _read_shards(source: Source, index: Path) -> dict[str, Tensor]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]:
            raise CheckpointError(f"{index} names a key twice: {', '.join(twice)}")
        return dict(pairs)

    try:
        content = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{index} is not JSON ({error}); download or save it again") from None
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(f'{index} must hold {{"weight_map": {{key: file name}}}}; save the checkpoint again')
    state: dict[str, Tensor] = {}
    for shard in dict.fromkeys(weight_map.values()):
        if not shard or re.search(r"[/\\:\0]", shard) or shard == "..":
            raise CheckpointError(f"{index} points outside its directory: {shard!r}; shards lie beside the index")
        if (path := source.find(shard)) is None:
            raise CheckpointError(f"{index} names {shard}, which is not there; download all shards")
        tensors = _read_file(path)
        promised = {key for key, name in weight_map.items() if name == shard}
        if lacking := sorted(promised - tensors.keys()):
            raise CheckpointError(f"{path} lacks {', '.join(lacking)}, which {index.name} places there")
        if extra := sorted(tensors.keys() - promised):
            where = "stands in two shards" if extra[0] in weight_map else f"is not named by {index.name}"
            raise CheckpointError(f"{path}: {extra[0]} {where}; save the checkpoint again")
        state.update(tensors)
    return state


# ---- fitting ----


@dataclass
class Fit:
    """What a checkpoint gives a model: tensors by the model's names, and what did not match."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)  # name, file, model
    unexpected: list[str] = field(default_factory=list)  # the file's names

    @property
    def new(self) -> list[str]:
        """The weights that are to be initialised."""
        return self.missing + [name for name, _, _ in self.mismatched]

    def info(self) -> dict[str, Any]:
        """What transformers gives for `output_loading_info=True`: `missing_keys` .. and `error_msgs`."""
        keys = {f"{kind}_keys": set(getattr(self, kind)) for kind in ("missing", "unexpected", "mismatched")}
        return {**keys, "error_msgs": []}


def canonical(key: str) -> str:
    """The one name of a weight: without `module.`, with `albert.` before the backbone, no gamma or beta."""
    while key.startswith("module."):
        key = key.removeprefix("module.")
    if key.split(".")[0] in ("embeddings", "encoder", "pooler"):
        key = f"albert.{key}"
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", key))


def part_of(name: str) -> str:
    """The part of a model that a canonical name belongs to: "albert.encoder", "albert.pooler", "predictions" .."""
    return ".".join(name.split(".")[: 2 if name.startswith("albert.") else 1])


def classes_filled(parts: Set[str], architectures: Sequence[str] | None = None) -> list[str]:
    """The classes that a checkpoint of these parts (see `part_of`) fills wholly, those with the most heads first."""
    pooler, found = "albert.pooler" in parts, []
    if "predictions" in parts:
        found += ["AlbertForPreTraining"] if pooler and "sop_classifier" in parts else []
        found += ["AlbertForMaskedLM"]
    if "qa_outputs" in parts:
        found += ["AlbertForQuestionAnswering"]
    if "classifier" in parts:  # three classes have one of this name; only the config tells which
        kinds = ("SequenceClassification", "MultipleChoice") if pooler else ("TokenClassification",)
        names = [f"AlbertFor{kind}" for kind in kinds]
        found += [name for name in names if name in (architectures or ())] or names[:1]
    return [*found, "AlbertModel"]


def by_canonical_name(raw: Mapping[str, Tensor], where: str) -> dict[str, tuple[str, Tensor]]:
    """Canonical name -> (the file's name, tensor), without `position_ids`.  Raises for two names of one weight."""
    found: dict[str, tuple[str, Tensor]] = {}
    for key, tensor in raw.items():
        name = canonical(key)
        if name.endswith("embeddings.position_ids"):
            continue
        if name in found:
            raise CheckpointError(f"{where} holds {name} twice, as {found[name][0]} and {key}; remove one of them")
        found[name] = (key, tensor)
    return found


def untie(found: dict[str, tuple[str, Tensor]], tied: Mapping[str, str], where: str) -> None:
    """Take the tied copies (canonical names, copy -> original) out of `found`.  Raises when a copy is not equal."""
    for copy, original in tied.items():
        if copy not in found:
            continue
        moved = found.pop(copy)
        key, tensor = found.setdefault(original, moved)
        if key != moved[0] and not (tensor.dtype == moved[1].dtype and torch.equal(tensor, moved[1])):
            raise CheckpointError(
                f"{where}: {moved[0]} and {key} differ, but the config ties them; "
                "set tie_word_embeddings=False to keep both"
            )


def fit(
    raw: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    model: str,
    where: str,
    tied: Mapping[str, str],
    strict: bool = True,
    ignore_mismatched_sizes: bool = False,
) -> Fit:
    """Bring a file's tensors under a model's names; `expected` is the model's state dict, on any device.

    Moves, each logged: `albert.` and `module.` added or stripped, gamma and beta renamed, `position_ids`, tied copies
    and other classes' heads dropped. A pooler or head that is wholly missing is left to be initialised.
    Raises one `CheckpointError` that lists all that does not fit.
    """
    found = by_canonical_name(raw, where)
    tied = {canonical(copy): canonical(original) for copy, original in tied.items()}
    untie(found, tied, where)
    names = {canonical(name): name for name in expected if canonical(name) not in tied}
    parts = {part_of(name) for name in names.keys() & found.keys()}
    own_parts = {part_of(name) for name in names}
    result, faults = Fit(), []
    for name, target in names.items():
        want = expected[target]
        if name not in found:
            result.missing.append(target)
            if part_of(name) in parts or part_of(name) in BACKBONE:
                faults.append(f"missing    {target}")
            continue
        key, tensor = found.pop(name)
        if tensor.dtype not in DTYPES:
            faults.append(f"no weight  {key}: {_short(tensor.dtype)}; weights are {', '.join(map(_short, DTYPES))}")
        elif tensor.shape != want.shape:
            result.mismatched.append((target, tuple(tensor.shape), tuple(want.shape)))
        else:
            result.tensors[target] = tensor
    dropped = [key for name, (key, _) in found.items() if part_of(name) in set(HEADS) - own_parts]
    result.unexpected = [key for key, _ in found.values()]
    junk = [key for key in result.unexpected if key not in dropped]
    if strict:
        faults += [f"unexpected {key}" for key in junk]
    if not ignore_mismatched_sizes:
        faults += [f"mis-shaped {name}: file {file}, model {ours}" for name, file, ours in result.mismatched]
        for name, file, ours in result.mismatched:
            if name.endswith("word_embeddings.weight") and file and file[0] != ours[0]:
                faults.append(
                    f"hint       the config has vocab_size={ours[0]}, the weights {file[0]}; correct config.json"
                )
    if faults:
        raise CheckpointError("\n  ".join([f"checkpoint does not fit {model} ({where}):", *faults]))
    if moved := [f"{key} -> {name}" for key in raw if (name := names.get(canonical(key), key)) != key]:
        logger.debug("%s: renamed %s", where, ", ".join(moved))
    if dropped:
        logger.info("%s: left out %s, which %s has no place for", where, ", ".join(dropped), model)
    if junk:
        logger.warning("%s: left out unexpected %s", where, ", ".join(junk))
    if result.new:
        logger.warning("%s: newly initialised, train before use: %s (not in %s)", model, ", ".join(result.new), where)
    return result


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def dtype_named(value: torch.dtype | str | None) -> torch.dtype | None:
    """The dtype of a name such as "bfloat16"; None for "auto".  Raises `ValueError` for what no weight can be."""
    if value is None or value == "auto":
        return None
    dtype = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
    if dtype not in DTYPES:
        raise ValueError(f"dtype={value!r} must be 'auto' or one of {', '.join(str(dtype) for dtype in DTYPES)}")
    return dtype
