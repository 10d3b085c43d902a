"""Files -> state dict: reading what the Hub holds, and fitting it to a model by explicit moves."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from albert_torch.checkpoints.reader import DTYPES, CheckpointError

logger = logging.getLogger(__name__)

BACKBONE = ("albert.embeddings", "albert.encoder")
HEADS = (
    "albert.pooler",
    "predictions",
    "sop_classifier",
    "classifier",
    "qa_outputs",
    "seq_relationship",
    "cls",
)
TIED = {
    "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
    "predictions.decoder.bias": "predictions.bias",
}


# ---- reading ----


# ---- fitting ----


@dataclass
class Fit:
    """What a checkpoint gives a model: tensors by the model's names, and what did not match."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list
    )  # name, file, model
    unexpected: list[str] = field(default_factory=list)  # the file's names

    @property
    def new(self) -> list[str]:
        """The weights that are to be initialised."""
        return self.missing + [name for name, _, _ in self.mismatched]

    def info(self) -> dict[str, Any]:
        """What transformers gives for `output_loading_info=True`: `missing_keys` .. and `error_msgs`."""
        keys = {
            f"{kind}_keys": set(getattr(self, kind))
            for kind in ("missing", "unexpected", "mismatched")
        }
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


def by_canonical_name(raw: Mapping[str, Tensor], where: str) -> dict[str, tuple[str, Tensor]]:
    """Canonical name -> (the file's name, tensor), without `position_ids`.  Raises for two names of one weight."""
    found: dict[str, tuple[str, Tensor]] = {}
    for key, tensor in raw.items():
        name = canonical(key)
        if name.endswith("embeddings.position_ids"):
            continue
        if name in found:
            raise CheckpointError(
                f"{where} holds {name} twice, as {found[name][0]} and {key}; remove one of them"
            )
        found[name] = (key, tensor)
    return found


def untie(found: dict[str, tuple[str, Tensor]], tied: Mapping[str, str], where: str) -> None:
    """Take the tied copies (canonical names, copy -> original) out of `found`.  Raises when a copy is not equal."""
    for copy, original in tied.items():
        if copy not in found:
            continue
        moved = found.pop(copy)
        key, tensor = found.setdefault(original, moved)
        if key != moved[0] and not (
            tensor.dtype == moved[1].dtype and torch.equal(tensor, moved[1])
        ):
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
            faults.append(
                f"no weight  {key}: {_short(tensor.dtype)}; weights are {', '.join(map(_short, DTYPES))}"
            )
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
        faults += [
            f"mis-shaped {name}: file {file}, model {ours}"
            for name, file, ours in result.mismatched
        ]
        for name, file, ours in result.mismatched:
            if name.endswith("word_embeddings.weight") and file and file[0] != ours[0]:
                faults.append(
                    f"hint       the config has vocab_size={ours[0]}, the weights {file[0]}; correct config.json"
                )
    if faults:
        raise CheckpointError("\n  ".join([f"checkpoint does not fit {model} ({where}):", *faults]))
    if moved := [
        f"{key} -> {name}" for key in raw if (name := names.get(canonical(key), key)) != key
    ]:
        logger.debug("%s: renamed %s", where, ", ".join(moved))
    if dropped:
        logger.info("%s: left out %s, which %s has no place for", where, ", ".join(dropped), model)
    if junk:
        logger.warning("%s: left out unexpected %s", where, ", ".join(junk))
    if result.new:
        logger.warning(
            "%s: newly initialised, train before use: %s (not in %s)",
            model,
            ", ".join(result.new),
            where,
        )
    return result


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
