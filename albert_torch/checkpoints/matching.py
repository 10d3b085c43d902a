"""Matching of the tensors in a checkpoint with the weights of a model.

Checkpoints differ in small ways: in prefixes, in old names, in copies of tied weights, and in the
heads that they contain. Every difference that has one meaning is resolved here, and logged. All
others are reported together in one `CheckpointError`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from albert_torch.checkpoints.reader import WEIGHT_DTYPES, CheckpointError

logger = logging.getLogger(__name__)

# The parts of a checkpoint (see `part_of`) that every model needs.
BACKBONE = ("albert.embeddings", "albert.encoder")
POOLER = "albert.pooler"
# Heads in published checkpoints that belong to no class.
OBSOLETE_HEADS = ("seq_relationship", "cls")


class WrongShape(NamedTuple):
    """A weight whose shape in the file is not that in the model."""

    name: str
    shape_in_file: tuple[int, ...]
    shape_in_model: tuple[int, ...]


@dataclass(frozen=True)
class ExpectedWeights:
    """What a model expects from a checkpoint.

    Attributes:
        class_name: Name of the model's class, for messages.
        tensors: The model's state dict; only shapes are read, so tensors may be on the meta device.
        tied: Names of tied copies and of their originals. Empty if the config does not tie them.
        known_heads: Names of the head modules of all classes. Those that the model does not have
            are left out of the match instead of being unexpected.
    """

    class_name: str
    tensors: Mapping[str, Tensor]
    tied: Mapping[str, str] = field(default_factory=dict)
    known_heads: Set[str] = frozenset()


@dataclass
class Match:
    """The tensors of a checkpoint under a model's names, and everything that did not match.

    Attributes:
        tensors: Tensors by the model's names.
        missing: The model's names of weights that the file does not contain.
        wrong_shape: Weights whose shape differs.
        wrong_dtype: Names in the file and dtypes of tensors that cannot be weights.
        other_heads: Names in the file of tensors of heads that the model does not have.
        unknown: Names in the file of tensors that belong to no class.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    wrong_shape: list[WrongShape] = field(default_factory=list)
    wrong_dtype: list[tuple[str, torch.dtype]] = field(default_factory=list)
    other_heads: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def uninitialised(self) -> list[str]:
        """Names of the weights that must be initialised because the file does not provide them."""
        return self.missing + [weight.name for weight in self.wrong_shape]

    def loading_info(self) -> dict[str, Any]:
        """Return the dictionary that transformers returns for `output_loading_info=True`."""
        return {
            "missing_keys": set(self.missing),
            "unexpected_keys": {*self.other_heads, *self.unknown},
            "mismatched_keys": {tuple(weight) for weight in self.wrong_shape},
            "error_msgs": [],
        }


def canonical_name(key: str) -> str:
    """Return the one name that a weight has here, whatever its name in a file.

    `module.` is removed, `albert.` is added to the parts of the backbone, and the names gamma and
    beta of TensorFlow become weight and bias.
    """
    while key.startswith("module."):
        key = key.removeprefix("module.")
    if key.split(".")[0] in ("embeddings", "encoder", "pooler"):
        key = f"albert.{key}"
    key = re.sub(r"\.gamma$", ".weight", key)
    return re.sub(r"\.beta$", ".bias", key)


def part_of(name: str) -> str:
    """Return the part of a model that a canonical name belongs to.

    That is a part of the backbone, such as "albert.encoder" or "albert.pooler", or the name of a
    head module, such as "predictions".
    """
    depth = 2 if name.startswith("albert.") else 1
    return ".".join(name.split(".")[:depth])


def by_canonical_name(tensors: Mapping[str, Tensor], where: str) -> dict[str, tuple[str, Tensor]]:
    """Rename the tensors of a file.

    Args:
        tensors: Tensors by their names in the file.
        where: The file, for messages.

    Returns:
        Canonical name -> (name in the file, tensor), without `position_ids`, which are not weights.

    Raises:
        CheckpointError: If two tensors have the same canonical name.
    """
    renamed: dict[str, tuple[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name = canonical_name(key)
        if name.endswith("embeddings.position_ids"):
            continue
        if name in renamed:
            raise CheckpointError(
                f"{where} contains {name} twice, as {renamed[name][0]} and as {key}: remove one"
            )
        renamed[name] = (key, tensor)
    return renamed


def remove_tied_copies(
    weights: dict[str, tuple[str, Tensor]], tied: Mapping[str, str], where: str
) -> None:
    """Remove tied copies from the result of `by_canonical_name`, in place.

    A copy whose original is missing takes its place.

    Args:
        weights: What `by_canonical_name` returned.
        tied: Canonical names of the copies and of their originals.
        where: The file, for messages.

    Raises:
        CheckpointError: If a copy and its original are not equal.
    """
    for copy, original in tied.items():
        if copy not in weights:
            continue
        copy_key, copy_tensor = weights.pop(copy)
        if original not in weights:
            weights[original] = (copy_key, copy_tensor)
            continue
        key, tensor = weights[original]
        if tensor.dtype != copy_tensor.dtype or not torch.equal(tensor, copy_tensor):
            raise CheckpointError(
                f"{where}: {copy_key} and {key} differ, but the config says that they are tied: "
                "set tie_word_embeddings=False to keep both"
            )


def match_checkpoint(
    tensors: Mapping[str, Tensor],
    where: str,
    expected: ExpectedWeights,
    *,
    strict: bool = True,
    ignore_mismatched_sizes: bool = False,
) -> Match:
    """Find the tensor of a checkpoint for each weight of a model.

    A pooler or head of which the file contains nothing is left to be initialised, with a warning.

    Args:
        tensors: The tensors of the checkpoint by their names in the file.
        where: The file, for messages.
        expected: What the model expects.
        strict: Whether tensors that belong to no class are an error rather than a warning.
        ignore_mismatched_sizes: Whether weights of another shape are left to be initialised.

    Raises:
        CheckpointError: If something does not fit. The message lists everything that does not.
    """
    weights = by_canonical_name(tensors, where)
    tied = {canonical_name(copy): canonical_name(orig) for copy, orig in expected.tied.items()}
    remove_tied_copies(weights, tied, where)
    names = {canonical_name(name): name for name in expected.tensors}
    for copy in tied:
        names.pop(copy, None)
    match = _match_by_name(weights, names, expected)
    problems = [
        *_missing_by_mistake(match, weights.keys(), names),
        *(f"unexpected   {key}" for key in match.unknown if strict),
        *(_describe_shape(weight) for weight in match.wrong_shape if not ignore_mismatched_sizes),
        *(_describe_dtype(key, dtype) for key, dtype in match.wrong_dtype),
        *(_vocabulary_hint(match) if not ignore_mismatched_sizes else ()),
    ]
    if problems:
        title = f"checkpoint does not fit {expected.class_name} ({where}):"
        raise CheckpointError("\n  ".join([title, *problems]))
    _log_renamed(tensors, names, where)
    _log_match(match, expected.class_name, where)
    return match


def _match_by_name(
    weights: Mapping[str, tuple[str, Tensor]], names: Mapping[str, str], expected: ExpectedWeights
) -> Match:
    """Compare names, shapes and dtypes. `names`: canonical name -> the model's name."""
    match = Match()
    for canonical, name in names.items():
        if canonical not in weights:
            match.missing.append(name)
            continue
        key, tensor = weights[canonical]
        shape = expected.tensors[name].shape
        if tensor.dtype not in WEIGHT_DTYPES:
            match.wrong_dtype.append((key, tensor.dtype))
        elif tensor.shape != shape:
            match.wrong_shape.append(WrongShape(name, tuple(tensor.shape), tuple(shape)))
        else:
            match.tensors[name] = tensor
    own_parts = {part_of(canonical) for canonical in names}
    other_heads = {*expected.known_heads, POOLER, *OBSOLETE_HEADS} - own_parts
    for canonical, (key, _) in weights.items():
        if canonical not in names:
            keys = match.other_heads if part_of(canonical) in other_heads else match.unknown
            keys.append(key)
    return match


def _missing_by_mistake(match: Match, found: Set[str], names: Mapping[str, str]) -> Iterator[str]:
    """Weights of the backbone, and of heads of which the file contains something."""
    parts_in_file = {part_of(canonical) for canonical in names.keys() & found}
    canonical_names = {name: canonical for canonical, name in names.items()}
    for name in match.missing:
        part = part_of(canonical_names[name])
        if part in BACKBONE or part in parts_in_file:
            yield f"missing      {name}"


def _describe_shape(weight: WrongShape) -> str:
    return (
        f"wrong shape  {weight.name}: {weight.shape_in_file} in the file, "
        f"{weight.shape_in_model} in the model"
    )


def _describe_dtype(key: str, dtype: torch.dtype) -> str:
    allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in WEIGHT_DTYPES)
    return f"wrong dtype  {key}: {str(dtype).removeprefix('torch.')}; weights are {allowed}"


def _vocabulary_hint(match: Match) -> Iterator[str]:
    for weight in match.wrong_shape:
        shape, expected_shape = weight.shape_in_file, weight.shape_in_model
        if weight.name.endswith("word_embeddings.weight") and shape[:1] != expected_shape[:1]:
            yield (
                f"hint         the config says vocab_size={expected_shape[0]}, but the word "
                f"embeddings have shape {shape}: correct config.json"
            )


def _log_renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str], where: str) -> None:
    renamed = []
    for key in tensors:
        name = names.get(canonical_name(key), key)
        if name != key:
            renamed.append(f"{key} -> {name}")
    if renamed:
        logger.debug("%s: renamed %s", where, ", ".join(renamed))


def _log_match(match: Match, class_name: str, where: str) -> None:
    if match.other_heads:
        logger.info(
            "%s: ignored %s, which %s does not have",
            where,
            ", ".join(match.other_heads),
            class_name,
        )
    if match.unknown:
        logger.warning("%s: ignored unexpected %s", where, ", ".join(match.unknown))
    if match.uninitialised:
        logger.warning(
            "%s: newly initialised because %s does not contain them: %s. Train the model before "
            "you use it.",
            class_name,
            where,
            ", ".join(match.uninitialised),
        )
