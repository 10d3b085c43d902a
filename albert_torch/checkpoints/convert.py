"""Rewriting of checkpoints, old or of other tools, as clean safetensors with a `config.json`.

Weights are renamed and copied without building a model, so all heads of a checkpoint are kept.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from albert_torch.checkpoints.matching import (
    BACKBONE,
    OBSOLETE_HEADS,
    POOLER,
    by_canonical_name,
    part_of,
    remove_tied_copies,
)
from albert_torch.checkpoints.reader import CheckpointError, read_state_dict
from albert_torch.checkpoints.writer import config_text, save_state_dict
from albert_torch.config import AlbertConfig
from albert_torch.files import atomic_write
from albert_torch.heads import HEADS
from albert_torch.hub import Source

logger = logging.getLogger(__name__)

TOKENIZER_FILES = (
    "tokenizer.json",
    "spiece.model",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


def convert(
    source: Source | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
) -> None:
    """Rewrite a checkpoint as `model.safetensors` and `config.json`, and copy its tokenizer files.

    All heads are kept. The keys are those that transformers writes for the class that the config
    names in `architectures` or, if it names none, for the class that has these heads. A directory
    that fine-tuning with `lora_rank` wrote is accepted too: the adapter is merged into its base
    model. If the adapter has its own deltas for every layer, the result has unshared layers and is
    correspondingly larger.

    Args:
        source: The checkpoint: a directory, the name of a model on the Hub, or a `Source`.
        directory: The directory to write to; it is created if necessary. It may be that of the
            checkpoint itself, unless it contains an adapter.
        dtype: The dtype of the weights that are written; None: leave it unchanged.

    Raises:
        FileNotFoundError: There is no such checkpoint, or a file of it is missing.
        CheckpointError: The weights cannot be read, or contain what belongs to no ALBERT.
        ValueError: The config is wrong, or `directory` contains the adapter that is converted.
        OSError: The files cannot be written. Existing files are unchanged in that case.
    """
    from albert_torch.finetuning.lora import is_adapter_directory  # imports the fine-tuning package

    source = source if isinstance(source, Source) else Source(source)
    folder = Path(directory)
    if is_adapter_directory(source):
        _convert_adapter(source, folder, dtype)
    else:
        _convert_weights(source, folder, dtype)
    _copy_tokenizer_files(source, folder)


def filled_heads(parts: Set[str], architectures: Sequence[str] | None = None) -> list[str]:
    """Return the names in `HEADS` of the classes for which a checkpoint contains all weights.

    Several classes can have modules of the same names: three of ours call theirs "classifier".
    Then it is the class that `architectures` names, or else the one that needs the pooler if there
    is a pooler.

    Args:
        parts: The parts of the checkpoint, see `part_of`.
        architectures: The class names in the config.

    Returns:
        The names, those with the most modules first. The last one is always "Model", which can do
            without a pooler.
    """
    best: dict[frozenset[str], tuple[tuple[bool, bool], str]] = {}
    for name, head in HEADS.items():
        modules = frozenset(head.head_modules)
        lacks_pooler = head.uses_pooler and POOLER not in parts
        if name == "Model" or not modules <= parts or lacks_pooler:
            continue
        rank = (head.__name__ in (architectures or ()), head.uses_pooler == (POOLER in parts))
        if modules not in best or rank > best[modules][0]:
            best[modules] = rank, name
    most_modules_first = sorted(best, key=len, reverse=True)
    return [*(best[modules][1] for modules in most_modules_first), "Model"]


def _convert_weights(source: Source, folder: Path, dtype: torch.dtype | None) -> None:
    config = AlbertConfig.from_pretrained(**asdict(source))
    raw, path = read_state_dict(source)
    weights = by_canonical_name(raw, str(path))
    if config.tie_word_embeddings:
        remove_tied_copies(weights, _tied_names(), str(path))
    parts = {part_of(name) for name in weights}
    _check_parts(weights, path)
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, (_, tensor) in weights.items()
    }
    if not config.architectures:
        config.architectures = [HEADS[filled_heads(parts)[0]].__name__]
    if config.architectures == ["AlbertModel"] and parts <= {*BACKBONE, POOLER}:
        state = {name.removeprefix("albert."): tensor for name, tensor in state.items()}
    save_state_dict(state, folder, config=config_text(config, state))


def _tied_names() -> dict[str, str]:
    """The canonical names of the tied weights of all classes: copy -> original."""
    return {
        copy: original
        for head in HEADS.values()
        for copy, original in head._tied_weights_keys.items()
    }


def _check_parts(weights: Mapping[str, tuple[str, Tensor]], path: Path) -> None:
    known = {*BACKBONE, POOLER, *OBSOLETE_HEADS}
    for head in HEADS.values():
        known.update(head.head_modules)
    unknown = [key for name, (key, _) in weights.items() if part_of(name) not in known]
    if unknown:
        raise CheckpointError(
            f"{path} contains {', '.join(unknown)}, which belong to no known ALBERT class; remove "
            "them, or import the module that defines the class (on the command line: --plugin "
            "MODULE)"
        )
    if not any(part_of(name) in BACKBONE for name in weights):
        raise CheckpointError(
            f"{path} is not an ALBERT checkpoint: it has no embeddings and no encoder"
        )


def _convert_adapter(source: Source, folder: Path, dtype: torch.dtype | None) -> None:
    from albert_torch.finetuning.lora import is_adapter_directory, load_merged

    if is_adapter_directory(folder):
        raise ValueError(
            f"{folder} contains an adapter: write the converted model to another directory"
        )
    model = load_merged(source, dtype=dtype)
    model.save_pretrained(folder)
    if model.config.num_hidden_groups == model.config.num_hidden_layers > 1:
        logger.warning(
            "the %d layers of the model in %s share no weights",
            model.config.num_hidden_layers,
            folder,
        )


def _copy_tokenizer_files(source: Source, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        path = source.find(name)
        target = folder / name
        if path is None or path.resolve() == target.resolve():
            continue
        with atomic_write(target) as temporary:
            shutil.copyfile(path, temporary)
