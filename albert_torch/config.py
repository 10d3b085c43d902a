"""`AlbertConfig`: the shape of a model, in the keys of a `config.json` on the Hub."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, ClassVar

from albert_torch.config_rules import PROBLEM_TYPES, check_fields, check_num_labels, similar_keys
from albert_torch.files import atomic_write_text, read_json
from albert_torch.hub import Source

__all__ = ["PRESETS", "PROBLEM_TYPES", "AlbertConfig"]

# The published models (table 1 of the paper): number of layers, hidden size, number of attention
# heads, feed-forward size. The embedding size is 128 for all of them.
_SHAPES = {
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
    "xlarge": (24, 2048, 16, 8192),
    "xxlarge": (12, 4096, 64, 16384),
}
PRESETS = tuple(f"albert-{size}-{version}" for version in ("v1", "v2") for size in _SHAPES)
_LABEL_KEYS = {"num_labels", "id2label", "label2id"}


@dataclass(init=False, eq=False)
class AlbertConfig:
    """The shape of an ALBERT and the settings of its heads, as in a `config.json` on the Hub.

    The constructor takes the fields below, and `num_labels`, as keyword arguments. The defaults
    describe xxlarge-v2. Keys that are not known are kept, can be read as attributes and are written
    back; a key that looks like a misspelling of a known one causes a warning. Fields can be changed
    later: a model reads `num_hidden_layers`, `output_hidden_states`, `output_attentions`,
    `return_dict`, `problem_type` and `chunk_size_feed_forward` again at each call.

    Attributes:
        vocab_size: Size V of the vocabulary.
        embedding_size: Size E of the embeddings.
        hidden_size: Size H of the hidden states.
        num_hidden_layers: Number L of times that a layer runs, one after the other.
        num_hidden_groups: Number G of groups of layers that do not share weights; 1 in ALBERT.
        num_attention_heads: Number N of attention heads. It must divide `hidden_size`.
        intermediate_size: Size F inside the feed-forward network.
        inner_group_num: Number of layers in a group; 1 in all published models.
        hidden_act: Name of the activation in the feed-forward network; see `ACTIVATIONS`.
        hidden_dropout_prob: Dropout rate of the embeddings and of the output of attention.
        attention_probs_dropout_prob: Dropout rate of the attention probabilities.
        ffn_dropout_prob: Dropout rate of the output of the feed-forward network. Google's code has
            it, with the rate of `hidden_dropout_prob`; transformers does not.
        classifier_dropout_prob: Dropout rate before a classifier; None for `hidden_dropout_prob`.
        max_position_embeddings: Largest number of tokens in a row.
        type_vocab_size: Number of segments that token types tell apart.
        initializer_range: Standard deviation of initial weights.
        layer_norm_eps: The epsilon of all LayerNorms.
        pad_token_id: Id of the padding token, whose embedding gets no gradient; None for no such.
        bos_token_id: Id of the token that starts a text, [CLS].
        eos_token_id: Id of the token that ends a text, [SEP], or several ids.
        tie_word_embeddings: Whether the decoder of masked tokens is the word embedding matrix.
        chunk_size_feed_forward: Number of tokens that go through the feed-forward network at a
            time, which saves memory; 0 for all.
        output_hidden_states: Whether models return all hidden states by default.
        output_attentions: Whether models return attention probabilities by default.
        return_dict: Whether models return an output object, rather than a tuple, by default.
        problem_type: The loss of sequence classification: "regression",
            "single_label_classification", "multi_label_classification", or None to infer it from
            the labels.
        architectures: Names of the classes that saved the checkpoint.
        id2label: Name of each label. Not None after construction; by default there are two labels.
        label2id: Number of each label.

    Raises:
        ValueError: If a value has a wrong type or is impossible, or two values contradict each
            other.
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
    ffn_dropout_prob: float = 0.0
    classifier_dropout_prob: float | None = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    tie_word_embeddings: bool = True
    chunk_size_feed_forward: int = 0
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True
    problem_type: str | None = None
    architectures: list[str] | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None

    model_type: ClassVar[str] = "albert"

    def __init__(self, **values: Any) -> None:
        num_labels = values.pop("num_labels", None)
        model_type = values.pop("model_type", self.model_type)
        if model_type != self.model_type:
            raise ValueError(
                f"model_type is {model_type!r}, must be 'albert': load this config with the "
                "library of that model"
            )
        defaults = {field.name: field.default for field in fields(self)}
        for name, default in defaults.items():
            setattr(self, name, copy.deepcopy(values.pop(name, default)))
        for name, value in values.items():
            self._add_unknown_key(name, value)
        check_fields(self)
        self._set_labels(num_labels)

    def _add_unknown_key(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise ValueError(
                f"config key {name!r} is the name of a method of AlbertConfig: rename it"
            )
        similar = similar_keys(name, (field.name for field in fields(self)))
        if similar:
            message = f"config key {name!r} does nothing; did you mean {' or '.join(similar)}?"
            warnings.warn(message, stacklevel=3)
        setattr(self, name, copy.deepcopy(value))

    def _set_labels(self, num_labels: Any) -> None:
        if num_labels is not None:
            check_num_labels(num_labels)
        if self.id2label is None:
            self.num_labels = num_labels or len(self.label2id or (0, 1))
            return
        try:
            self.id2label = {int(index): str(label) for index, label in self.id2label.items()}
        except (TypeError, ValueError):
            raise ValueError(
                f"id2label={self.id2label!r} must map the numbers of labels to their names"
            ) from None
        count = len(self.id2label)
        if sorted(self.id2label) != list(range(count)):
            raise ValueError(
                f"id2label has the numbers {sorted(self.id2label)}, must be 0 to {count - 1}"
            )
        if num_labels is not None and num_labels != count:
            raise ValueError(
                f"num_labels={num_labels}, but id2label names {count} labels: give one of them"
            )
        if self.label2id is None:
            self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def num_labels(self) -> int:
        """Number of labels. Setting another number names them LABEL_0, LABEL_1 and so on."""
        return len(self.id2label or ())

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        label2id = self.label2id or {}
        if sorted(label2id.values()) != list(range(count)):
            label2id = {f"LABEL_{index}": index for index in range(count)}
        self.label2id = label2id
        id2label = {index: label for label, index in label2id.items()}
        self.id2label = dict(sorted(id2label.items()))

    @property
    def use_return_dict(self) -> bool:
        """The name by which clients of transformers read `return_dict`."""
        return self.return_dict

    def get_text_config(self, decoder: bool = False) -> AlbertConfig:
        """Return this config. Clients ask for the config of the text part of a model."""
        return self

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> AlbertConfig:
        """Return the config of a published model.

        Args:
            name: One of `PRESETS`, such as "albert-base-v2" or "albert/albert-base-v2".
            **overrides: Values of fields to change.

        Raises:
            ValueError: If there is no such model, or an override is impossible.
        """
        short_name = name.removeprefix("albert/")
        if short_name not in PRESETS:
            raise ValueError(f"there is no preset {name!r}; use one of {', '.join(PRESETS)}")
        _, size, version = short_name.split("-")
        dropout = 0.1 if version == "v1" and size != "xxlarge" else 0.0
        num_layers, hidden_size, num_heads, intermediate_size = _SHAPES[size]
        values = {
            "num_hidden_layers": num_layers,
            "hidden_size": hidden_size,
            "num_attention_heads": num_heads,
            "intermediate_size": intermediate_size,
            "hidden_act": "gelu" if version == "v1" else "gelu_new",
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }
        return cls(**{**values, **overrides})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> AlbertConfig:
        """Return the config that a parsed `config.json` describes.

        Args:
            values: The keys and values of the file.
            **overrides: Values that replace those of the file. One that concerns labels replaces
                everything that the file says about labels.

        Raises:
            ValueError: If a value is impossible.
        """
        if _LABEL_KEYS & overrides.keys():
            values = {name: value for name, value in values.items() if name not in _LABEL_KEYS}
        return cls(**{**values, **overrides})

    @classmethod
    def from_pretrained(  # noqa: PLR0913 - the signature is that of transformers
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
        """Read the `config.json` of a checkpoint.

        Args:
            name_or_dir: A directory, or the name of a model on the Hub.
            revision: Branch, tag or commit on the Hub.
            subfolder: Directory inside the checkpoint.
            cache_dir: Where downloaded files are kept.
            token: Access token of the Hub; True for the saved one.
            local_files_only: Whether to use files that were downloaded before only.
            force_download: Whether to download files again.
            **overrides: Values of fields that replace those of the file.

        Raises:
            FileNotFoundError: If there is no `config.json`.
            ValueError: If it is not the config of an ALBERT, or a value is impossible.
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
        """Return all keys and values, including unknown ones, as in `config.json`."""
        return {**copy.deepcopy(vars(self)), "model_type": self.model_type}

    def to_json_string(self) -> str:
        """Return the text of `config.json`, without values that are None and default labels."""
        values = {name: value for name, value in self.to_dict().items() if value is not None}
        if self.id2label == {0: "LABEL_0", 1: "LABEL_1"}:
            del values["id2label"], values["label2id"]
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write `config.json` atomically into a directory, which is created if necessary.

        Raises:
            OSError: If the file cannot be written.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / "config.json", self.to_json_string())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AlbertConfig) and self.to_dict() == other.to_dict()


# What help() and completion show of the constructor.
AlbertConfig.__signature__ = Signature(  # type: ignore[attr-defined]
    [
        *(
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default)
            for field in fields(AlbertConfig)
        ),
        Parameter("num_labels", Parameter.KEYWORD_ONLY, default=None),
        Parameter("values", Parameter.VAR_KEYWORD),
    ]
)
