"""`TrainingConfig`: what every training run is decided by, from a TOML file and the command line, checked once."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

DTYPES = ("float32", "bfloat16", "float64")
PARALLEL = ("ddp", "fsdp")
Own = TypeVar("Own", bound="TrainingConfig")
Range = tuple[float, float]


def key(default: Any, help_text: str) -> Any:
    """A field with the text that `--help` shows."""
    return field(default=default, metadata={"help": help_text})


COUNT, MANY, SHARE = (0, 10**9), (1, 10**9), (0, 1)


@dataclass
class TrainingConfig:
    """The keys that fine-tuning and pretraining have in common. A subclass adds its own, and its defaults.

    Raises `ValueError` at construction for an unknown key, a wrong type or an impossible value.
    """

    model: str = key(
        "",
        "the checkpoint to start from: a directory or a Hub name; empty: random weights of `model_config`",
    )
    tokenizer: str = key("", "where the tokenizer is, if not with the model")
    model_config: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "keys of AlbertConfig that differ from the checkpoint's, or from an ALBERT-base"
        },
    )
    max_length: int = key(512, "tokens in a row at most")
    batch_size: int = key(32, "rows an update, over all processes and accumulation parts")
    gradient_accumulation_steps: int = key(
        1, "parts that a batch is computed in, one after the other, on each process"
    )
    steps: int = key(1000, "updates in all")
    warmup_steps: int = key(
        0, "updates in which the rate rises to learning_rate; it falls to 0 afterwards"
    )
    learning_rate: float = key(1e-5, "the highest rate")
    weight_decay: float = key(0.01, "decoupled decay, of all weights but biases and LayerNorms")
    adam_beta1: float = key(0.9, "decay of the first moment")
    adam_beta2: float = key(0.999, "decay of the second moment")
    adam_eps: float = key(1e-6, "added to the denominator")
    max_grad_norm: float = key(1.0, "norm that gradients are clipped to; 0: not clipped")
    dropout: float | None = key(
        None, "of hidden states and attention; None: as the checkpoint has it"
    )
    ffn_dropout_prob: float | None = key(
        None, "after the feed-forward, as in Google's code; None: as the checkpoint"
    )
    unpad: bool = key(True, "compute the real tokens alone")
    gradient_checkpointing: bool = key(
        False, "compute activations again in the backward pass: less memory, slower"
    )
    dtype: str = key(
        "float32", f"one of {', '.join(DTYPES)}; bfloat16: weights float32, products bfloat16"
    )
    parallel: str = key("ddp", "on several processes: 'ddp' copies the model, 'fsdp' shards it")
    eval_steps: int = key(0, "updates between evaluations; 0: ten evaluations")
    save_steps: int = key(0, "updates between checkpoints; 0: as eval_steps")
    log_steps: int = key(10, "updates between lines in metrics.jsonl")
    tensorboard: bool = key(False, "also write TensorBoard's files")
    seed: int = key(1, "of initial weights, data order and dropout")

    # A resumed run may differ in these: they change neither an update nor the order of the data.
    FREE: ClassVar[frozenset[str]] = frozenset(
        {"log_steps", "save_steps", "tensorboard", "parallel"}
    )
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"dtype": DTYPES, "parallel": PARALLEL}
    RANGES: ClassVar[dict[Range, tuple[str, ...]]] = {
        MANY: ("max_length", "batch_size", "gradient_accumulation_steps", "steps", "log_steps"),
        COUNT: ("warmup_steps", "eval_steps", "save_steps", "seed"),
        (0, 1e6): ("learning_rate", "weight_decay", "max_grad_norm"),
        SHARE: ("adam_beta1", "adam_beta2", "dropout", "ffn_dropout_prob", "adam_eps"),
    }

    def __post_init__(self) -> None:
        for name, annotation in self._types().items():
            value = getattr(self, name)
            if annotation is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
                setattr(self, name, value)
            if not _fits(value, annotation):
                raise ValueError(f"{name}={value!r} must be {_name(annotation)}")
        for (low, high), names in self.RANGES.items():
            for name in names:
                value = getattr(self, name)
                if value is not None and not low <= value <= high:
                    raise ValueError(f"{name}={value!r} must be from {low} to {high}")
        for name, allowed in self.CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not known; use one of {', '.join(allowed)}"
                )
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} is more than steps={self.steps}: lower it"
            )
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of gradient_accumulation_steps={self.gradient_accumulation_steps}"
            )

    @classmethod
    def load(cls: type[Own], path: str | os.PathLike[str], **overrides: Any) -> Own:
        """Read a TOML file; `overrides` replace single keys, text among them is read as the key's type."""
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no recipe {os.fspath(path)}; those that come with the source are in configs"
            )
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_dict({**values, **overrides})
        except ValueError as error:  # TOMLDecodeError is one
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    @classmethod
    def from_dict(cls: type[Own], values: Mapping[str, Any]) -> Own:
        """The recipe with these keys; text for a key that is no text is read as its type."""
        annotations = cls._types()
        for name in values.keys() - annotations.keys():
            near = difflib.get_close_matches(name, annotations, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"unknown key {name!r}; {hint}The keys are {', '.join(annotations)}")
        return cls(
            **{name: _read(name, value, annotations[name]) for name, value in values.items()}
        )

    def scaled(self: Own, scale: float) -> Own:
        """The same recipe with `scale` times the updates, warmup and intervals; at least one update."""
        if not 0 < scale <= 1000:
            raise ValueError(
                f"scale={scale} must be above 0, such as 0.01 for a run of a hundredth of the steps"
            )
        counts = {
            name: getattr(self, name)
            for name in ("steps", "warmup_steps", "eval_steps", "save_steps")
        }
        return dataclasses.replace(
            self, **{name: max(int(n > 0), round(n * scale)) for name, n in counts.items()}
        )

    def to_toml(self) -> str:
        """The text of a recipe file; what is the default is left out where TOML has no word for it."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        shape = values.pop("model_config")
        lines = []
        for name, value in values.items():
            if value is not None:
                lines.append(f"{name} = {json.dumps(value)}")
            elif defaults[name] is not None:
                lines.append(f'{name} = "none"')
        if shape:
            lines += [
                "",
                "[model_config]",
                *(f"{name} = {json.dumps(value)}" for name, value in shape.items()),
            ]
        return "\n".join(lines) + "\n"

    @classmethod
    def _types(cls) -> dict[str, Any]:
        hints = typing.get_type_hints(cls)
        return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _fits(value: Any, annotation: Any) -> bool:
    if isinstance(annotation, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(annotation))
    if typing.get_origin(annotation) is list:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if typing.get_origin(annotation) is dict:
        return isinstance(value, dict)
    return type(value) is annotation


def _name(annotation: Any) -> str:
    if isinstance(annotation, types.UnionType):
        return " or ".join(_name(part) for part in typing.get_args(annotation))
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "'none'",
    }
    return names.get(annotation) or (
        "a list of texts" if typing.get_origin(annotation) is list else "a table of keys"
    )


def _read(name: str, value: Any, annotation: Any) -> Any:
    """Text from the command line as the key's type; what is no text stays as it is."""
    if not isinstance(value, str) or annotation is str:
        return value
    if value.lower() == "none" and isinstance(annotation, types.UnionType):
        return None
    if typing.get_origin(annotation) is list:
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(f"{name}={value!r} must be {_name(annotation)}") from None
