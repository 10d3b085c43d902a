"""The settings of a tokenizer: their names, defaults and types, as in tokenizer_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SPECIAL_TOKEN_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
# The special tokens of ALBERT's SentencePiece vocabularies, and of BERT's WordPiece vocabularies.
SENTENCEPIECE_SPECIAL_TOKENS: dict[str, str | None] = {
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "unk_token": "<unk>",
    "sep_token": "[SEP]",
    "pad_token": "<pad>",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
WORDPIECE_SPECIAL_TOKENS: dict[str, str | None] = {
    "bos_token": None,
    "eos_token": None,
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
DEFAULT_SETTINGS: dict[str, Any] = {
    "do_lower_case": True,
    "keep_accents": False,
    "remove_space": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "model_max_length": 512,
    "padding_side": "right",
    "truncation_side": "right",
    "clean_up_tokenization_spaces": False,
}
# Settings that decide which ids a text gets. They cannot be changed once the pipeline is built.
PIPELINE_SETTINGS = (
    "do_lower_case",
    "keep_accents",
    "remove_space",
    "strip_accents",
    "tokenize_chinese_chars",
)
# transformers writes this number for a `model_max_length` that nobody has set.
_NO_MAX_LENGTH = 1e30


def resolve_settings(
    given: Mapping[str, Any], special_tokens: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return all settings: those given, and defaults for the others.

    Args:
        given: Settings by name. None counts as not given.
        special_tokens: The defaults of special tokens.

    Raises:
        TypeError: There is no setting of that name.
        ValueError: A value has the wrong type.
    """
    defaults = {**DEFAULT_SETTINGS, **special_tokens}
    unknown_names = given.keys() - defaults.keys()
    if unknown_names:
        raise TypeError(
            f"there is no setting {', '.join(sorted(unknown_names))}; "
            f"the settings are {', '.join(defaults)}"
        )
    settings = dict(defaults)
    for name, value in given.items():
        if value is None or value == _NO_MAX_LENGTH:
            continue
        expected_type = _type_of_setting(name)
        if not isinstance(value, expected_type):
            raise ValueError(f"{name}={value!r} must be of type {expected_type.__name__}")
        settings[name] = value
    return settings


def _type_of_setting(name: str) -> type:
    if name in PIPELINE_SETTINGS:
        return bool  # strip_accents may also be None
    if name in SPECIAL_TOKEN_NAMES:
        return str
    return type(DEFAULT_SETTINGS[name])


def resolve_choice(name: str, value: Any, choices: Mapping[Any, str]) -> str:
    """Return what the value of an argument stands for.

    Args:
        name: The name of the argument, for the error message.
        value: Its value.
        choices: The allowed values (texts, booleans or None), and what each stands for.

    Raises:
        ValueError: The value is not allowed.
    """
    if isinstance(value, (str, bool, type(None))) and value in choices:
        return choices[value]
    raise ValueError(f"{name}={value!r} must be one of {', '.join(map(repr, choices))}")
