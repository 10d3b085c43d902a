"""What each field of an `AlbertConfig` may be, and which fields must agree with each other."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from albert_torch.config import AlbertConfig

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MAX_LABELS = 1_000_000  # a hostile file could ask for more names than fit into memory


def is_int(value: object) -> bool:
    """Return whether a value is an integer, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive_int(value: object) -> bool:
    return isinstance(value, int) and is_int(value) and value > 0


def _is_non_negative_int(value: object) -> bool:
    return isinstance(value, int) and is_int(value) and value >= 0


def _is_finite_number(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -1e300 < value < 1e300  # type: ignore[operator]  # it is a number


def _is_non_negative_number(value: object) -> bool:
    return _is_finite_number(value) and value >= 0  # type: ignore[operator]


def _is_rate(value: object) -> bool:
    return _is_finite_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_rate_or_none(value: object) -> bool:
    return value is None or _is_rate(value)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_problem_type(value: object) -> bool:
    return value is None or value in PROBLEM_TYPES


def _is_list_of_names_or_none(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_string, value)))


def _is_token_id(value: object) -> bool:
    return value is None or is_int(value)


def _is_token_id_or_list(value: object) -> bool:
    return all(map(_is_token_id, value)) if isinstance(value, list) else _is_token_id(value)


def _is_dict_or_none(value: object) -> bool:
    return value is None or isinstance(value, dict)


class _Rule(NamedTuple):
    """What the values of some fields must be."""

    fields: tuple[str, ...]
    holds: Callable[[object], bool]
    description: str  # completes "... must be"


_RULES = (
    _Rule(
        (
            "vocab_size",
            "embedding_size",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "type_vocab_size",
            "num_hidden_layers",
            "num_hidden_groups",
            "inner_group_num",
            "max_position_embeddings",
        ),
        _is_positive_int,
        "a whole number above 0",
    ),
    _Rule(
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "ffn_dropout_prob"),
        _is_rate,
        "a number from 0 to 1",
    ),
    _Rule(("classifier_dropout_prob",), _is_rate_or_none, "a number from 0 to 1, or None"),
    _Rule(
        ("initializer_range", "layer_norm_eps"),
        _is_non_negative_number,
        "a finite number, 0 or more",
    ),
    _Rule(
        ("chunk_size_feed_forward",),
        _is_non_negative_int,
        "a number of tokens, or 0 for no chunks",
    ),
    _Rule(
        ("tie_word_embeddings", "output_hidden_states", "output_attentions", "return_dict"),
        _is_bool,
        "true or false",
    ),
    _Rule(("hidden_act",), _is_string, "the name of an activation"),
    _Rule(("problem_type",), _is_problem_type, f"None or one of {', '.join(PROBLEM_TYPES)}"),
    _Rule(("architectures",), _is_list_of_names_or_none, "a list of class names"),
    _Rule(("pad_token_id", "bos_token_id"), _is_token_id, "a token id or None"),
    _Rule(("eos_token_id",), _is_token_id_or_list, "a token id, a list of them, or None"),
    _Rule(("id2label", "label2id"), _is_dict_or_none, "a dictionary"),
)


def check_fields(config: AlbertConfig) -> None:
    """Check every field of a config, and that the fields do not contradict each other.

    Raises:
        ValueError: The message states the value, the rule and what to change.
    """
    for rule in _RULES:
        for name in rule.fields:
            value = getattr(config, name)
            if not rule.holds(value):
                raise ValueError(f"{name}={value!r} must be {rule.description}")
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size={config.hidden_size} is not a multiple of num_attention_heads="
            f"{config.num_attention_heads}: change one of them (the heads of the published models "
            "have 64 or 128 features)"
        )
    if config.num_hidden_layers % config.num_hidden_groups:
        raise ValueError(
            f"num_hidden_groups={config.num_hidden_groups} does not divide num_hidden_layers="
            f"{config.num_hidden_layers}: each group must run equally often"
        )
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise ValueError(
            f"pad_token_id={config.pad_token_id} is outside the vocabulary (vocab_size="
            f"{config.vocab_size}): give an id from 0 to {config.vocab_size - 1}, or None"
        )


def check_num_labels(num_labels: object) -> None:
    """Check the argument `num_labels` of a config.

    Raises:
        ValueError: If it is not a whole number in the allowed range.
    """
    if not _is_positive_int(num_labels) or num_labels > MAX_LABELS:  # type: ignore[operator]
        raise ValueError(
            f"num_labels={num_labels!r} must be a whole number from 1 to {MAX_LABELS:,}"
        )


def similar_keys(key: str, known: Iterable[str]) -> list[str]:
    """Return the known keys that a key of a config probably stands for.

    Those are all keys that contain its words, such as "hidden_dropout_prob" for "dropout", or else
    a key that is spelt almost the same way.
    """
    if key.startswith("_"):
        return []
    known = list(known)
    words = set(key.split("_"))
    with_all_words = [name for name in known if words < set(name.split("_"))]
    return with_all_words or difflib.get_close_matches(key, known, n=1, cutoff=0.85)
