"""Data sets of the Hub by name: their commit and their rows."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HUB = re.compile(
    r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?:@([\w./-]+))?(?<!\.txt)(?<!\.jsonl)(?<!\.gz)(?<!\.zst)",
    re.ASCII,
)


def on_hub(path: str) -> re.Match[str] | None:
    """The name, configuration and revision of a Hub data set; None: it is a path."""
    return None if Path(path).exists() else HUB.fullmatch(path)


@functools.cache
def commit(name: str, revision: str | None) -> str:
    """The full commit of a Hub data set; asked once, so that what is described is what is read."""
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except Exception as error:  # whatever the network and the library raise
        raise FileNotFoundError(
            f"no file or directory {name}, and no data set of the Hub: {error}"
        ) from error


def rows(found: re.Match[str]) -> Iterator[Any]:
    """The rows of a Hub data set, at the commit that `describe` names."""
    path, name, config, revision = found[0], *found.groups()
    try:
        import datasets
    except ImportError:
        raise ImportError(
            f"the Hub's {path} needs datasets: pip install 'albert-torch[train]'"
        ) from None
    yield from datasets.load_dataset(
        name, config, split="train", streaming=True, revision=commit(name, revision)
    )
