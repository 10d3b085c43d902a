"""Rewrite any checkpoint that can be read as clean safetensors."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from albert_torch.checkpoints.matching import (
    BACKBONE,
    HEADS,
    TIED,
    by_canonical_name,
    classes_filled,
    part_of,
    untie,
)
from albert_torch.checkpoints.reader import CheckpointError, read_state_dict
from albert_torch.checkpoints.writer import config_text, save_state_dict
from albert_torch.config import AlbertConfig
from albert_torch.files import atomic_write
from albert_torch.hub import Source

TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json")  # fmt: skip


def convert(
    source: Source | str | os.PathLike[str],
    directory: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
) -> None:
    """Rewrite any checkpoint that can be read as `model.safetensors` and `config.json`, with its tokenizer files.

    All heads are kept, and the dtype, unless `dtype` asks for another. Names are those that transformers writes for the
    class in `architectures` or, when the config names none, for the class that has these heads. Raises as
    `from_pretrained` does.
    """
    source = source if isinstance(source, Source) else Source(source)
    config = AlbertConfig.from_pretrained(**asdict(source))
    raw, path = read_state_dict(source)
    found = by_canonical_name(raw, str(path))
    if config.tie_word_embeddings:
        untie(found, TIED, str(path))
    parts = {part_of(name) for name in found}
    if junk := [key for name, (key, _) in found.items() if part_of(name) not in BACKBONE + HEADS]:
        raise CheckpointError(
            f"{path} holds {', '.join(junk)}, which is in no ALBERT; remove what is not ALBERT's"
        )
    if parts.isdisjoint(BACKBONE):
        raise CheckpointError(
            f"{path} is no ALBERT checkpoint: it has no embeddings and no encoder"
        )
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, (_, tensor) in found.items()
    }
    config.architectures = config.architectures or classes_filled(parts)[:1]
    if config.architectures == ["AlbertModel"] and parts <= {*BACKBONE, "albert.pooler"}:
        state = {name.removeprefix("albert."): tensor for name, tensor in state.items()}
    save_state_dict(state, directory, config=config_text(config, state))
    for name in TOKENIZER_FILES:
        if (file := source.find(name)) is not None and file.resolve() != (
            Path(directory) / name
        ).resolve():
            with atomic_write(Path(directory) / name) as temporary:
                shutil.copyfile(file, temporary)
