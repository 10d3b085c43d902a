"""The options of the parity check."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from albert_torch.heads import HEADS

PARITY_DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
PARITY_BACKENDS = {  # attention backend, unpad
    "eager": ("eager", False),
    "sdpa": ("sdpa", False),
    "unpad": ("sdpa", True),
}


@dataclass(frozen=True)
class ParityOptions:
    """What the parity check compares.

    Attributes:
        heads: Names in `HEADS`, such as "Model" or "MaskedLM". None: all for which the checkpoint
            contains the weights.
        dtypes: A selection of "float64", "float32", "bfloat16" and "float16".
        backends: A selection of "eager", "sdpa" and "unpad", which is "sdpa" without padding.
        tolerances: Replacements of `compare.TOLERANCES` by dtype. Where one is given, the
            reference's own error against float64 is not allowed in addition.
        texts: A file of texts to compare on, one per line, with a tab between the two of a pair.
            None: a few texts that come with the package.
        seed: The seed of generated weights, random token ids and labels.

    Raises:
        ValueError: A name is unknown, or a selection is empty.
    """

    heads: Sequence[str] | None = None
    dtypes: Sequence[str] = ("float64", "float32", "bfloat16")
    backends: Sequence[str] = ("eager", "sdpa", "unpad")
    tolerances: Mapping[str, float] = field(default_factory=dict)
    texts: str | os.PathLike[str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _check_names("head", self.heads or (), HEADS)
        _check_names("dtype", self.dtypes, PARITY_DTYPES)
        _check_names("dtype", self.tolerances, PARITY_DTYPES)
        _check_names("backend", self.backends, PARITY_BACKENDS)
        for name in ("heads", "dtypes", "backends"):
            selection = getattr(self, name)
            if selection is not None and not selection:
                raise ValueError(f"{name} is empty: name at least one, or leave it out")


def _check_names(kind: str, names: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {kind} {name!r}; choose from {', '.join(known)}")
