"""A corpus as token ids on disk, in memory-mapped shards of whole sentences."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from albert_torch.files import read_json

INDEX_FILE = "index.json"  # written last: a folder with an index is complete
SHARD_FORMAT = 1  # the version of the files' layout
# Shards that a process keeps mapped. The examples of a group come from all shards of that group,
# so this should not be less than `ExampleOptions.shards_per_group`.
MAX_MAPPED_SHARDS = 32


@dataclass(frozen=True)
class Shard:
    """Part of a corpus.

    Sentence s consists of the tokens `ids[sentences[s] : sentences[s + 1]]`, and document d of
    the sentences `documents[d]` to `documents[d + 1]`, the last one excluded.

    Attributes:
        ids: The token ids without special tokens, int32, of shape (tokens,).
        sentences: Where each sentence begins in `ids`, and the end of the last one, int64, of
            shape (sentences + 1,).
        documents: The number of the sentence with which each document begins, and the number of
            sentences, int64, of shape (documents + 1,).
    """

    ids: Tensor
    sentences: Tensor
    documents: Tensor


class Shards:
    """The shards of a prepared corpus, by number.

    Shards are mapped into memory when they are first used. Pickling keeps only the folder's name,
    so every process maps the files for itself.

    Attributes:
        folder: The folder with the files.
        description: What the corpus was made from; see `prepare_shards`.
        entries: For each shard, its file name, size in bytes and counts.
        tokens: The number of tokens in all shards.
        sentence_count: The number of sentences in all shards.
        document_count: The number of documents in all shards. A document that goes on in the next
            shard counts in both.
    """

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self.folder = folder
        self.description: dict[str, Any] = index["description"]
        self.entries: list[dict[str, Any]] = index["shards"]
        self.tokens: int = sum(entry["tokens"] for entry in self.entries)
        self.sentence_count: int = sum(entry["sentences"] for entry in self.entries)
        self.document_count: int = sum(entry["documents"] for entry in self.entries)
        self._mapped: OrderedDict[int, Shard] = OrderedDict()  # the last used one at the end

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """Open the corpus that `prepare_shards` has written to `folder`.

        Raises:
            FileNotFoundError: There is no prepared corpus.
            ValueError: The corpus is damaged, or another version of this package has written it.
        """
        path = folder / INDEX_FILE
        if not path.exists():
            raise FileNotFoundError(
                f"{folder} contains no prepared corpus (there is no {INDEX_FILE}); prepare one"
            )
        try:
            index = read_json(path)
            shards = cls(folder, index)
            version = index["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not the index of a corpus ({error!r}); delete its folder and prepare "
                "the corpus again"
            ) from None
        if version != SHARD_FORMAT:
            raise ValueError(
                f"{path} has format {version}, but this version reads format {SHARD_FORMAT}; "
                "delete its folder and prepare the corpus again"
            )
        for entry in shards.entries:
            file = folder / entry["file"]
            size = file.stat().st_size if file.exists() else "no"
            if size != entry["bytes"]:
                raise ValueError(
                    f"{file} has {size} bytes instead of {entry['bytes']}; delete its folder and "
                    "prepare the corpus again"
                )
        return shards

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Shard:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no shard {number}; there are {len(self)}, from 0 on")
        if number not in self._mapped:
            with safe_open(self.folder / self.entries[number]["file"], "pt") as file:
                self._mapped[number] = Shard(
                    ids=file.get_tensor("ids"),
                    sentences=file.get_tensor("sentences"),
                    documents=file.get_tensor("documents"),
                )
        self._mapped.move_to_end(number)
        if len(self._mapped) > MAX_MAPPED_SHARDS:
            self._mapped.popitem(last=False)
        return self._mapped[number]

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards.open, (self.folder,)
