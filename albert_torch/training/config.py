"""`TrainingConfig`: the recipe keys that fine-tuning and pretraining have in common."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from albert_torch.training.options import Options, option

TRAINING_DTYPES = ("float32", "bfloat16", "float64")
PARALLEL = ("ddp", "fsdp")
ConfigT = TypeVar("ConfigT", bound="TrainingConfig")


@dataclass
class TrainingConfig(Options):
    """Everything that fine-tuning and pretraining have in common about a training run.

    A subclass adds its own keys and may replace defaults. A config is read from a TOML file
    (`load`) or from a mapping (`from_dict`), and checked at construction.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type or is impossible.
    """

    model: str = option(
        "",
        "checkpoint to start from: a directory or a Hub name; empty: random weights, with the "
        "shape in model_config",
    )
    tokenizer: str = option("", "directory or Hub name of the tokenizer; empty: the model's")
    model_config: dict[str, Any] = option(
        {}, "keys of AlbertConfig that differ from those of the checkpoint, or of an ALBERT-base"
    )
    max_length: int = option(512, "tokens per example; longer ones are truncated", minimum=1)
    batch_size: int = option(
        32, "examples per update, over all processes and micro-batches", minimum=1
    )
    gradient_accumulation_steps: int = option(
        1, "micro-batches per process that an update is computed in, one after the other", minimum=1
    )
    steps: int = option(1000, "number of updates", minimum=1)
    warmup_steps: int = option(
        0, "updates in which the learning rate rises; it falls to 0 afterwards", minimum=0
    )
    learning_rate: float = option(1e-5, "highest learning rate", minimum=0, maximum=1e6)
    weight_decay: float = option(
        0.01,
        "decoupled weight decay of all parameters except biases and LayerNorms",
        minimum=0,
        maximum=1e6,
    )
    adam_beta1: float = option(0.9, "decay of the first moment", minimum=0, maximum=1)
    adam_beta2: float = option(0.999, "decay of the second moment", minimum=0, maximum=1)
    adam_eps: float = option(1e-6, "added to the denominator of the update", minimum=0, maximum=1)
    max_grad_norm: float = option(
        1.0, "norm to which gradients are clipped; 0: no clipping", minimum=0, maximum=1e6
    )
    dropout: float | None = option(
        None,
        "dropout of hidden states and attention; none: as in the checkpoint",
        minimum=0,
        maximum=1,
    )
    ffn_dropout_prob: float | None = option(
        None,
        "dropout after the feed-forward layer, as in Google's code; none: as in the checkpoint",
        minimum=0,
        maximum=1,
    )
    unpad: bool = option(True, "compute real tokens only, no padding")
    gradient_checkpointing: bool = option(
        False, "recompute activations in the backward pass: less memory, slower"
    )
    dtype: str = option(
        "float32",
        f"one of {', '.join(TRAINING_DTYPES)}; bfloat16: float32 weights, bfloat16 matrix products",
        choices=TRAINING_DTYPES,
    )
    parallel: str = option(
        "ddp",
        "with several processes, 'ddp' replicates the model and 'fsdp' shards it",
        choices=PARALLEL,
    )
    eval_steps: int = option(0, "updates between evaluations; 0: a tenth of steps", minimum=0)
    save_steps: int = option(0, "updates between checkpoints; 0: as eval_steps", minimum=0)
    log_steps: int = option(10, "updates between lines in metrics.jsonl", minimum=1)
    tensorboard: bool = option(False, "also write TensorBoard event files")
    seed: int = option(
        1, "seed of initial weights, data order and dropout", minimum=0, maximum=10**9
    )

    # A resumed run may change these: they affect neither an update nor the order of the data.
    FREE_ON_RESUME: ClassVar[frozenset[str]] = frozenset(
        {"log_steps", "save_steps", "tensorboard", "parallel"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} is more than steps={self.steps}: lower "
                "warmup_steps, or raise steps"
            )
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of "
                f"gradient_accumulation_steps={self.gradient_accumulation_steps}; change one of "
                "them"
            )

    @classmethod
    def load(cls: type[ConfigT], path: str | os.PathLike[str], **overrides: Any) -> ConfigT:
        """Read a recipe.

        Args:
            path: A TOML file.
            **overrides: Values that replace keys of the file, as `from_dict` reads them.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not TOML, or one of its keys or values is wrong.
        """
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"there is no recipe {os.fspath(path)}; `albert-torch recipes` lists those that "
                "come with the package"
            )
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_dict({**values, **overrides})
        except ValueError as error:  # includes TOMLDecodeError
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    def scaled(self: ConfigT, scale: float) -> ConfigT:
        """Return this config with all numbers of updates multiplied; each stays at least 1.

        Args:
            scale: The factor for `steps`, `warmup_steps`, `eval_steps` and `save_steps`.

        Raises:
            ValueError: `scale` is not above 0, or is above 1000.
        """
        if not 0 < scale <= 1000:
            raise ValueError(
                f"scale={scale} must be above 0; with 0.01, a run has a hundredth of the steps"
            )
        counts = {
            name: getattr(self, name)
            for name in ("steps", "warmup_steps", "eval_steps", "save_steps")
        }
        scaled: dict[str, Any] = {
            name: max(1, round(count * scale)) if count else 0 for name, count in counts.items()
        }
        return dataclasses.replace(self, **scaled)

    @property
    def steps_between_evaluations(self) -> int:
        """Number of updates from one evaluation to the next."""
        return self.eval_steps or max(1, self.steps // 10)

    @property
    def steps_between_checkpoints(self) -> int:
        """Number of updates from one checkpoint to the next."""
        return self.save_steps or self.steps_between_evaluations

    def to_dict(self) -> dict[str, Any]:
        """Return the value of every key of the recipe, as `from_dict` reads them."""
        return dataclasses.asdict(self)

    def defaults(self) -> dict[str, Any]:
        """Return the default of every key of the recipe; lists and tables have none."""
        return {spec.name: spec.default for spec in dataclasses.fields(self)}

    def to_toml(self) -> str:
        """Return the text of a recipe with these values."""
        defaults = self.defaults()
        lines, tables = [], []
        for name, value in self.to_dict().items():
            if isinstance(value, dict):
                tables += _toml_table(name, value)
            elif value is not None:
                lines.append(f"{name} = {json.dumps(value)}")
            elif defaults[name] is not None:  # TOML has no null
                lines.append(f'{name} = "none"')
        lines += tables  # a table must follow all other keys
        return "\n".join(lines) + "\n"


def _toml_table(name: str, values: dict[str, Any]) -> list[str]:
    """The lines of a table, none if it is empty."""
    if not values:
        return []
    return ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
