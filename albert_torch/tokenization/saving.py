"""A tokenizer -> files that this package and transformers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from albert_torch.files import atomic_write_many


def write_tokenizer_files(
    directory: Path,
    backend: Tokenizer,
    config: Mapping[str, Any],
    special_tokens: Mapping[str, str],
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    Args:
        directory: Where the files go. It is created if necessary.
        backend: The tokenizer of the Rust library.
        config: The settings for tokenizer_config.json.
        special_tokens: The special tokens by name.

    Raises:
        OSError: The files cannot be written, for example because the disk is full.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # The AlbertTokenizer of transformers would build its own pipeline, whose ids differ for rare
    # characters. PreTrainedTokenizerFast uses the pipeline of tokenizer.json.
    config = {**config, "tokenizer_class": "PreTrainedTokenizerFast"}
    content_by_file = {
        "tokenizer.json": backend.to_str(pretty=True),
        "tokenizer_config.json": _to_json(config),
        "special_tokens_map.json": _to_json(special_tokens),
    }
    with atomic_write_many(directory, content_by_file) as temporary_paths:
        for name, content in content_by_file.items():
            temporary_paths[name].write_text(content, encoding="utf-8", newline="")


def _to_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
