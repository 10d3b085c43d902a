"""`AlbertConfig`: the names and defaults of a Hub `config.json`, the eight published shapes, and the checks."""

from __future__ import annotations

import copy
import difflib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from albert_torch.files import atomic_write_text, read_json
from albert_torch.hub import Source

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Table 1 of the paper. The embedding size is 128 for all four.
_SHAPE_FIELDS = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
_SHAPES = {
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
    "xlarge": (24, 2048, 16, 8192),
}
_SHAPES["xxlarge"] = (12, 4096, 64, 16384)
_LABELS = {"num_labels", "id2label", "label2id"}
PRESETS = tuple(f"albert-{size}-{version}" for version in ("v1", "v2") for size in _SHAPES)


@dataclass(init=False, eq=False)
class AlbertConfig:
    """The shape of an ALBERT and what its heads need (§3.1), under the names of a Hub `config.json`.

    The defaults describe xxlarge-v2, as on the Hub. Every field may be changed later: `forward` reads
    `num_hidden_layers`, `output_*`, `return_dict`, `problem_type` and `chunk_size_feed_forward` anew at each call.
    Keys that are not known here are kept, readable as attributes, and written back.

    Raises `ValueError` at construction for a wrong type, an impossible number, or two values that contradict.
    """

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 4096
    num_hidden_layers: int = 12
    num_hidden_groups: int = 1
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    inner_group_num: int = 1
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    ffn_dropout_prob: float = (
        0.0  # after the feed-forward: in Google's code, never called in transformers
    )
    classifier_dropout_prob: float | None = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    tie_word_embeddings: bool = True
    chunk_size_feed_forward: int = 0  # tokens a chunk; 0: the whole row at once
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True
    problem_type: str | None = None
    architectures: list[str] | None = None
    id2label: dict[int, str] | None = None  # never None after construction; absent means two labels
    label2id: dict[str, int] | None = None

    model_type = "albert"

    def __init__(self, **values: Any) -> None:
        known = {field.name: field.default for field in fields(self)}
        num_labels = values.pop("num_labels", None)
        for name, default in known.items():
            setattr(self, name, copy.deepcopy(values.pop(name, default)))
        if (model_type := values.pop("model_type", self.model_type)) != self.model_type:
            raise ValueError(
                f"model_type is {model_type!r}, must be 'albert': load it with the library of that model"
            )
        for name, value in values.items():
            if hasattr(type(self), name):
                raise ValueError(
                    f"config key {name!r} is the name of a method of AlbertConfig: rename it"
                )
            if near := _misspelt(name, known):
                warnings.warn(
                    f"config key {name!r} does nothing; did you mean {' or '.join(near)}?",
                    stacklevel=2,
                )
            setattr(self, name, copy.deepcopy(value))
        self._check()
        self._set_labels(num_labels)

    def _check(self) -> None:
        for names, holds, rule in _RULES:
            for name in names:
                if not holds(value := getattr(self, name)):
                    raise ValueError(f"{name}={value!r} must be {rule}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}: "
                f"change one of them (the published models have heads of 64 or 128)"
            )
        if self.num_hidden_layers % self.num_hidden_groups:
            raise ValueError(
                f"num_hidden_groups={self.num_hidden_groups} does not divide "
                f"num_hidden_layers={self.num_hidden_layers}: each group must run equally often"
            )
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id={self.pad_token_id} is outside the vocabulary (vocab_size={self.vocab_size}): "
                f"give an id from 0 to {self.vocab_size - 1}, or None"
            )

    def _set_labels(self, num_labels: Any) -> None:
        if num_labels is not None and not (_is_int(num_labels) and 0 < num_labels <= 1_000_000):
            raise ValueError(
                f"num_labels={num_labels!r} must be a whole number from 1 to 1,000,000"
            )
        if self.id2label is None:
            self.num_labels = num_labels or len(self.label2id or (0, 1))
            return
        try:
            self.id2label = {int(index): str(label) for index, label in self.id2label.items()}
        except (TypeError, ValueError):
            raise ValueError(
                f"id2label={self.id2label!r} must map label numbers to names"
            ) from None
        if sorted(self.id2label) != list(range(len(self.id2label))):
            raise ValueError(
                f"id2label has the numbers {sorted(self.id2label)}, must be 0 to {len(self.id2label) - 1}"
            )
        if num_labels is not None and num_labels != len(self.id2label):
            raise ValueError(
                f"num_labels={num_labels}, but id2label names {len(self.id2label)} labels: give one of them"
            )
        if self.label2id is None:
            self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def num_labels(self) -> int:
        """How many labels the classifiers have: the length of `id2label`."""
        return len(self.id2label or ())

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        names = self.label2id or {}
        if sorted(names.values()) != list(range(count)):
            names = {f"LABEL_{index}": index for index in range(count)}
        self.label2id = names
        self.id2label = {
            index: label for label, index in sorted(names.items(), key=lambda item: item[1])
        }

    @property
    def use_return_dict(self) -> bool:
        """The name transformers' clients read `return_dict` by."""
        return self.return_dict

    def get_text_config(self, decoder: bool = False) -> AlbertConfig:
        """This config: clients ask for the text part of a model, which may have others."""
        return self

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> AlbertConfig:
        """One of the eight published shapes: `albert-base-v2`, or `albert/albert-base-v2`, and so on."""
        short = name.removeprefix("albert/")
        if short not in PRESETS:
            raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
        _, size, version = short.split("-")
        dropout = 0.1 if version == "v1" and size != "xxlarge" else 0.0
        shape = dict(zip(_SHAPE_FIELDS, _SHAPES[size], strict=True))
        dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        return cls(
            **{
                **shape,
                **dropouts,
                "hidden_act": "gelu" if version == "v1" else "gelu_new",
                **overrides,
            }
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> AlbertConfig:
        """The config that a `config.json` spells, some keys replaced.  Raises `ValueError` for what does not fit."""
        if _LABELS & overrides.keys():  # new labels replace all that the file says of them
            values = {name: value for name, value in values.items() if name not in _LABELS}
        return cls(**{**values, **overrides})

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | os.PathLike[str],
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        **overrides: Any,
    ) -> AlbertConfig:
        """Read `config.json` from a directory or a Hub repository; `overrides` replace single keys.

        Raises `FileNotFoundError` when there is none, `ValueError` when it is not the config of an ALBERT.
        """
        source = Source(
            name_or_dir, revision, subfolder, cache_dir, token, local_files_only, force_download
        )
        path = source.get("config.json")
        values = read_json(path)
        try:
            return cls.from_dict(values, **overrides)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Every key and value, unknown ones included, as `config.json` has them."""
        return {**copy.deepcopy(vars(self)), "model_type": self.model_type}

    def to_json_string(self) -> str:
        """The text of `config.json`: `to_dict` without what is None, and without labels that nobody named."""
        values = {name: value for name, value in self.to_dict().items() if value is not None}
        if self.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
            del values["id2label"], values["label2id"]
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write `config.json` into `directory`, made if need be; the old file stays whole until the new one is."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / "config.json", self.to_json_string())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AlbertConfig) and self.to_dict() == other.to_dict()


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300
    )


def _is_rate(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_id(value: Any) -> bool:
    return value is None or _is_int(value)


def _misspelt(name: str, known: Iterable[str]) -> list[str]:
    """The known keys that `name` may stand for: those that hold all its words, or one spelt nearly so."""
    if name.startswith("_"):
        return []
    words = set(name.split("_"))
    return [key for key in known if words < set(key.split("_"))] or difflib.get_close_matches(
        name, known, 1, 0.85
    )


_SIZES = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "type_vocab_size",
)
_COUNTS = ("num_hidden_layers", "num_hidden_groups", "inner_group_num", "max_position_embeddings")
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "ffn_dropout_prob")
_SWITCHES = ("tie_word_embeddings", "output_hidden_states", "output_attentions", "return_dict")
_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (_SIZES + _COUNTS, lambda v: _is_int(v) and v > 0, "a whole number above 0"),
    (_RATES, _is_rate, "a number from 0 to 1"),
    (
        ("classifier_dropout_prob",),
        lambda v: v is None or _is_rate(v),
        "a number from 0 to 1, or None",
    ),
    (
        ("initializer_range", "layer_norm_eps"),
        lambda v: _is_number(v) and v >= 0,
        "a finite number, 0 or more",
    ),
    (
        ("chunk_size_feed_forward",),
        lambda v: _is_int(v) and v >= 0,
        "a number of tokens, 0 for no chunks",
    ),
    (_SWITCHES, lambda v: isinstance(v, bool), "true or false"),
    (("hidden_act",), lambda v: isinstance(v, str), "the name of an activation"),
    (
        ("problem_type",),
        lambda v: v in (None, *PROBLEM_TYPES),
        f"None or one of {', '.join(PROBLEM_TYPES)}",
    ),
    (
        ("architectures",),
        lambda v: v is None or (isinstance(v, list) and all(isinstance(name, str) for name in v)),
        "a list of class names",
    ),
    (("pad_token_id", "bos_token_id"), _is_id, "a token id or None"),
    (
        ("eos_token_id",),
        lambda v: all(_is_id(token) for token in (v if isinstance(v, list) else [v])),
        "a token id, a list of them, or None",
    ),
    (("id2label", "label2id"), lambda v: v is None or isinstance(v, dict), "a map"),
)
