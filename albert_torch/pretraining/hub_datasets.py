"""Data sets of the Hugging Face Hub as sources of text: their names, commits and records."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# org/name, then an optional ":config" and an optional "@revision". A name that ends like a text
# file is more likely a path with a spelling mistake than a data set.
_HUB_NAME = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?"
    r"(?<!\.txt)(?<!\.jsonl)(?<!\.parquet)(?<!\.gz)(?<!\.zst)",
    re.ASCII,
)
_FULL_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubDataset:
    """A data set of the Hub, as named by `org/name[:config][@revision]`.

    Attributes:
        spec: The whole name, as it was given.
        name: The repository, "org/name".
        config: The configuration, or None for the default one.
        revision: A branch, tag or commit, or None for the newest commit.
    """

    spec: str
    name: str
    config: str | None
    revision: str | None

    @classmethod
    def parse(cls, path: str) -> HubDataset | None:
        """Return the data set that `path` names, or None if `path` exists or is not such a name."""
        match = _HUB_NAME.fullmatch(path)
        if match is None or Path(path).exists():
            return None
        return cls(path, match["name"], match["config"], match["revision"])

    @property
    def spec_without_revision(self) -> str:
        """The part of the name before "@"."""
        return self.spec.partition("@")[0]

    @property
    def commit(self) -> str:
        """The full commit hash of the revision; see `resolve_commit`."""
        return resolve_commit(self.name, self.revision)

    def records(self) -> Iterator[Any]:
        """Stream the records of the split "train", at the commit that `commit` states.

        Raises:
            ImportError: The package `datasets` is not installed.
            FileNotFoundError: There is no such data set, or the Hub cannot be reached.
        """
        try:
            import datasets
        except ImportError:
            raise ImportError(
                f"reading the data set {self.spec} from the Hub needs the package datasets: "
                "pip install 'albert-torch[train]'"
            ) from None
        yield from datasets.load_dataset(
            self.name, self.config, split="train", streaming=True, revision=self.commit
        )


@functools.cache
def resolve_commit(name: str, revision: str | None) -> str:
    """Return the full commit hash of a data set on the Hub.

    The result is cached, so that the commit that describes a corpus is the one that is read. No
    network is needed when `revision` is a full commit hash already.

    Args:
        name: The repository, "org/name".
        revision: A branch, tag or commit, or None for the newest commit.

    Raises:
        FileNotFoundError: There is no such data set or revision, or the Hub cannot be reached.
    """
    if revision and _FULL_COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except Exception as error:  # depends on the network and on the version of huggingface_hub
        raise FileNotFoundError(
            f"{name} is neither a file or directory nor a data set on the Hub: {error}"
        ) from error
