"""Files of a tokenizer -> its model, added tokens and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer

from albert_torch.files import read_json
from albert_torch.hub import Source
from albert_torch.tokenization.sentencepiece import SentencePiece
from albert_torch.tokenization.settings import (
    DEFAULT_SETTINGS,
    PIPELINE_SETTINGS,
    SPECIAL_TOKEN_NAMES,
    WORDPIECE_SPECIAL_TOKENS,
    resolve_settings,
)
from albert_torch.tokenization.wordpiece import build_wordpiece

VOCABULARY_FILES = ("tokenizer.json", "spiece.model", "vocab.txt")  # in the order of search


class TokenizerParts(NamedTuple):
    """What the constructor of `AlbertTokenizer` takes.

    Attributes:
        model: A SentencePiece model, or a complete tokenizer of the Rust library.
        added_tokens: Tokens besides those of the model, in the order of their ids.
        settings: Settings by name, as far as they are known.
    """

    model: SentencePiece | Tokenizer
    added_tokens: list[AddedToken]
    settings: dict[str, Any]


def load_tokenizer_parts(
    source: Source, file_names: tuple[str, ...], overrides: Mapping[str, Any]
) -> TokenizerParts:
    """Read the first of some files that a source has, and its `tokenizer_config.json`.

    Args:
        source: Where the files are.
        file_names: Names of files, each like one of `VOCABULARY_FILES`.
        overrides: Settings that replace those of the files.

    Raises:
        FileNotFoundError: The source has none of the files.
        ValueError: A file is damaged, or a setting cannot be replaced.
        TypeError: There is no setting of that name.
    """
    file = _find_first(source, file_names)
    if file is None:
        raise source.missing_error(*file_names)
    settings = _read_tokenizer_config(source)
    if file.suffix == ".json":
        return _read_tokenizer_json(file, settings, overrides)
    settings.update(overrides)
    if file.suffix == ".txt":
        resolved = resolve_settings(settings, WORDPIECE_SPECIAL_TOKENS)
        return TokenizerParts(build_wordpiece(file, resolved), [], settings)
    model = SentencePiece.from_bytes(file.read_bytes(), str(file))
    return TokenizerParts(model, _read_added_tokens(source), settings)


def _find_first(source: Source, file_names: tuple[str, ...]) -> Path | None:
    for name in file_names:
        file = source.find(name)
        if file is not None:
            return file
    return None


def _read_tokenizer_json(
    file: Path, saved_settings: dict[str, Any], overrides: Mapping[str, Any]
) -> TokenizerParts:
    """Read a `tokenizer.json`.

    If it contains ALBERT's pipeline, only the model is taken from it, so that settings can change
    the pipeline. Any other pipeline is used as it is.
    """
    spec = read_json(file)
    try:
        model = SentencePiece.from_json(spec)
        if model is not None:
            pipeline_settings = _read_pipeline_settings(spec)
            added_tokens = [_read_added_token(fields) for fields in spec["added_tokens"]]
            settings = {**pipeline_settings, **saved_settings, **overrides}
            return TokenizerParts(model, added_tokens, settings)
        backend = Tokenizer.from_str(json.dumps(spec))
    except Exception as error:  # the Rust library raises plain Exception
        raise ValueError(
            f"{file} is valid JSON but not a tokenizer ({error!r}); save or download it again"
        ) from error
    fixed = sorted(overrides.keys() & set(PIPELINE_SETTINGS))
    if fixed:
        raise ValueError(
            f"{file} contains a pipeline of its own, so {', '.join(fixed)} cannot be set; "
            "leave it out"
        )
    return TokenizerParts(backend, [], {**saved_settings, **overrides})


def _read_pipeline_settings(spec: dict[str, Any]) -> dict[str, bool]:
    """Return the settings with which `SentencePiece.pipeline` has built a pipeline."""
    steps = [step["type"] for step in spec["normalizer"]["normalizers"]]
    return {"do_lower_case": "Lowercase" in steps, "keep_accents": "NFKD" not in steps}


def _read_added_token(fields: dict[str, Any]) -> AddedToken:
    """Return an entry of `added_tokens` in a `tokenizer.json`."""
    return AddedToken(**{name: value for name, value in fields.items() if name != "id"})


def _read_tokenizer_config(source: Source) -> dict[str, Any]:
    """Return the settings of `tokenizer_config.json` that this package knows."""
    file = source.find("tokenizer_config.json")
    if file is None:
        return {}
    settings = {}
    for name, value in read_json(file).items():
        if name in SPECIAL_TOKEN_NAMES or name in DEFAULT_SETTINGS:
            is_added_token = isinstance(value, dict) and "content" in value
            settings[name] = value["content"] if is_added_token else value
    return settings


def _read_added_tokens(source: Source) -> list[AddedToken]:
    """Return the tokens of `added_tokens.json`, which transformers 4 wrote, by id."""
    file = source.find("added_tokens.json")
    if file is None:
        return []
    id_by_token = read_json(file)
    tokens = sorted(id_by_token, key=id_by_token.__getitem__)
    return [AddedToken(token, normalized=False) for token in tokens]
