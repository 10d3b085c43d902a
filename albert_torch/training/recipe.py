"""`Recipe`: everything that decides a fine-tuning run, from a TOML file and the command line, checked once."""

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
from typing import Any

DTYPES = ("float32", "bfloat16", "float64")
ORDERS = ("length", "random", "file")


def _key(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass
class Recipe:
    """One fine-tuning run. The defaults are the paper's (Table 14, appendix A.4) where it names one for all tasks.

    Raises `ValueError` at construction for an unknown key, a wrong type or an impossible value.
    """

    task: str = _key("", "what is learned, and from which files")
    model: str = _key("", "the checkpoint to start from: a directory or a Hub name; empty: random weights of `shape`")
    tokenizer: str = _key("", "where the tokenizer is, if not with the model")
    shape: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "keys of AlbertConfig that differ from the checkpoint's, or from an ALBERT-base"},
    )
    new_head: bool = _key(False, "draw a head anew that has another number of labels in the checkpoint")
    data: str = _key("", "the directory with the task's files, or a Hub data set")
    data_config: str = _key("", "the name of the subset of a Hub data set")
    train: str = _key("", "the training file, if not train.* of `data`")
    dev: str = _key("", "the file that chooses the best checkpoint, if not dev.* of `data`; 'none': no evaluation")
    test: str = _key("", "a file to predict at the end, into predictions.jsonl")
    text: str = _key("", "the column of the text")
    text_pair: str = _key("", "the column of the second text")
    label: str = _key("", "the column of the label")
    labels: list[str] = field(
        default_factory=list,
        metadata={"help": "the label names in the order of their numbers; empty: those of the training file"},
    )
    max_length: int = _key(512, "tokens in a row at most")
    max_qa_length: int = _key(128, "tokens of question and option at most (race)")
    doc_stride: int = _key(128, "tokens that neighbouring windows of a text share (squad)")
    answerability_head: bool = _key(False, "a head of its own for 'no answer' (squad2), as in the paper")
    mask_prob: float = _key(0.15, "share of the tokens to predict (mlm)")
    batch_size: int = _key(32, "rows an update, over all processes and accumulation parts")
    accumulate: int = _key(1, "parts that a batch is computed in, one after the other, on each process")
    steps: int = _key(1000, "updates in all")
    warmup_steps: int = _key(0, "updates in which the rate rises to learning_rate; it falls to 0 afterwards")
    learning_rate: float = _key(1e-5, "the highest rate")
    weight_decay: float = _key(0.01, "decoupled decay, of all weights but biases and LayerNorms")
    adam_beta1: float = _key(0.9, "decay of the first moment")
    adam_beta2: float = _key(0.999, "decay of the second moment")
    adam_eps: float = _key(1e-6, "added to the denominator")
    max_grad_norm: float = _key(1.0, "norm that gradients are clipped to; 0: not clipped")
    dropout: float | None = _key(None, "of hidden states and attention; None: as the checkpoint has it")
    classifier_dropout: float | None = _key(0.1, "before the classifier; None: as the checkpoint has it")
    ffn_dropout_prob: float | None = _key(None, "after the feed-forward, as in Google's code; None: as the checkpoint")
    order: str = _key("length", f"how batches are made, one of {', '.join(ORDERS)}: like lengths together, or not")
    unpad: bool = _key(True, "compute the real tokens alone")
    gradient_checkpointing: bool = _key(False, "compute activations again in the backward pass: less memory, slower")
    dtype: str = _key("float32", f"one of {', '.join(DTYPES)}; bfloat16: weights float32, products bfloat16")
    parallel: str = _key("ddp", "on several processes: 'ddp' copies the model, 'fsdp' shards it")
    eval_steps: int = _key(0, "updates between evaluations; 0: ten evaluations")
    save_steps: int = _key(0, "updates between checkpoints; 0: as eval_steps")
    log_steps: int = _key(10, "updates between lines in metrics.jsonl")
    tensorboard: bool = _key(False, "also write TensorBoard's files")
    patience: int = _key(0, "evaluations without a better result before stopping; 0: never stop early")
    metric: str = _key("", "what chooses the best checkpoint; empty: the task's own")
    seed: int = _key(1, "of initial weights, data order and dropout")
    seeds: int = _key(1, "runs, with seeds counted up from `seed`; reports median, spread and best")
    restarts: int = _key(0, "new starts after a collapse, each with half the rate and another seed")
    lora_rank: int = _key(0, "rank of low-rank deltas, trained in place of the encoder's weights; 0: none")
    lora_alpha: float = _key(16.0, "the deltas are scaled by lora_alpha / lora_rank")
    lora_per_depth: bool = _key(False, "a delta of its own for each run of the shared layer")

    def __post_init__(self) -> None:
        for name, annotation in _types().items():
            value = getattr(self, name)
            if annotation is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
                setattr(self, name, value)
            if not _fits(value, annotation):
                raise ValueError(f"{name}={value!r} must be {_name(annotation)}")
        for names, low, high in _RANGES:
            for name in names:
                value = getattr(self, name)
                if value is not None and not low <= value <= high:
                    raise ValueError(f"{name}={value!r} must be from {low} to {high}")
        for name, allowed in (("dtype", DTYPES), ("order", ORDERS), ("parallel", ("ddp", "fsdp"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; use one of {', '.join(allowed)}")
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps={self.warmup_steps} is more than steps={self.steps}: lower it")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size={self.batch_size} is not a multiple of accumulate={self.accumulate}")
        if self.lora_per_depth and not self.lora_rank:
            raise ValueError("lora_per_depth needs a lora_rank above 0")
        if self.lora_rank and self.parallel == "fsdp":
            raise ValueError(
                "parallel='fsdp' shards what is trained, and low-rank deltas are small: use parallel='ddp'"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], **overrides: Any) -> Recipe:
        """Read a TOML file; `overrides` replace single keys, text among them is read as the key's type."""
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no recipe {os.fspath(path)}; those that come with the source are in configs/finetune"
            )
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_dict({**values, **overrides})
        except ValueError as error:  # TOMLDecodeError is one
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe with these keys; text for a key that is no text is read as its type."""
        annotations = _types()
        for name in values.keys() - annotations.keys():
            near = difflib.get_close_matches(name, annotations, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"unknown key {name!r}; {hint}The keys are {', '.join(annotations)}")
        return cls(**{name: _read(name, value, annotations[name]) for name, value in values.items()})

    def scaled(self, scale: float) -> Recipe:
        """The same recipe with `scale` times the updates, warmup and intervals; at least one update."""
        if not 0 < scale <= 1000:
            raise ValueError(f"scale={scale} must be above 0, such as 0.01 for a run of a hundredth of the steps")
        counts = {name: getattr(self, name) for name in ("steps", "warmup_steps", "eval_steps", "save_steps")}
        return dataclasses.replace(self, **{name: max(int(n > 0), round(n * scale)) for name, n in counts.items()})

    def to_toml(self) -> str:
        """The text of a recipe file; what is None is left out."""
        values = {name: getattr(self, name) for name in _types() if getattr(self, name) not in (None, {})}
        shape = values.pop("shape", {})
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        if self.classifier_dropout is None:
            lines.append('classifier_dropout = "none"')
        return (
            "\n".join(lines + (["", "[shape]"] if shape else []) + [f"{k} = {json.dumps(v)}" for k, v in shape.items()])
            + "\n"
        )


def _types() -> dict[str, Any]:
    return typing.get_type_hints(Recipe)


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
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "'none'"}
    return names.get(annotation) or ("a list of texts" if typing.get_origin(annotation) is list else "a table of keys")


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


_BIG = 10**9
_RANGES: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("max_length", "batch_size", "accumulate", "steps", "log_steps", "seeds"), 1, _BIG),
    (
        ("max_qa_length", "warmup_steps", "eval_steps", "save_steps", "patience", "restarts", "lora_rank", "seed"),
        0,
        _BIG,
    ),
    (("doc_stride",), 0, _BIG),
    (("learning_rate", "weight_decay", "max_grad_norm", "lora_alpha"), 0, 1e6),
    (("adam_beta1", "adam_beta2", "dropout", "classifier_dropout", "ffn_dropout_prob", "mask_prob", "adam_eps"), 0, 1),
)
