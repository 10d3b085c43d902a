"""A corpus as token ids on disk: tokenized once, cut into shards, read memory-mapped."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from albert_torch.files import atomic_write, atomic_write_json, read_json
from albert_torch.pretraining.corpus import describe, sentences
from albert_torch.tokenization.base import PIPELINE
from albert_torch.tokenization.tokenizer import AlbertTokenizer

INDEX = "index.json"  # written last
FORMAT = 1
BATCH, BATCH_CHARACTERS = 2000, 2**20  # what is tokenized at once, at most
IDS_ONLY: dict[str, Any] = {
    "add_special_tokens": False,
    "return_token_type_ids": False,
    "return_attention_mask": False,
}
OPEN = 32  # shards that a process keeps mapped; the rows of a group come from all of its shards


@dataclass(frozen=True)
class Shard:
    """Part of a corpus. Sentence s is ids[sentences[s] : sentences[s + 1]]; so `documents` cuts the sentences."""

    ids: Tensor  # (tokens,), int32
    sentences: Tensor  # (sentences + 1,), int64: where each begins in `ids`, and the end
    documents: Tensor  # (documents + 1,), int64: where each begins among the sentences, and the end


class Shards:
    """The shards of a prepared corpus by number. Pickled as the folder's name, so every process maps its own.

    Attributes: `folder`; `description`, what the corpus was made of; the totals `tokens`, `sentence_count` and
    `document_count`.
    """

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self.folder, self.description = folder, index["description"]
        self.entries: list[dict[str, Any]] = index["shards"]
        self.tokens, self.sentence_count, self.document_count = (
            sum(entry[name] for entry in self.entries)
            for name in ("tokens", "sentences", "documents")
        )
        self._mapped: OrderedDict[int, Shard] = OrderedDict()

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """Raises `FileNotFoundError` when no corpus was prepared there, `ValueError` when it is damaged."""
        path = folder / INDEX
        if not path.exists():
            raise FileNotFoundError(
                f"{folder} holds no prepared corpus: there is no {INDEX}; prepare one"
            )
        try:
            index = read_json(path)
            shards = cls(folder, index)
            version = index["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no index of a corpus ({error!r}); remove its folder"
            ) from None
        if version != FORMAT:
            raise ValueError(
                f"{path} has format {version}, and this version reads {FORMAT}; prepare the corpus again"
            )
        for entry in shards.entries:
            file = folder / entry["file"]
            size = file.stat().st_size if file.exists() else "no"
            if size != entry["bytes"]:
                raise ValueError(
                    f"{file} has {size} bytes, not {entry['bytes']}; remove the folder and prepare again"
                )
        return shards

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, i: int) -> Shard:
        if not 0 <= i < len(self):
            raise IndexError(f"shard {i} is none of the {len(self)}")
        if i not in self._mapped:
            with safe_open(self.folder / self.entries[i]["file"], "pt") as file:
                self._mapped[i] = Shard(
                    *(file.get_tensor(name) for name in ("ids", "sentences", "documents"))
                )
        self._mapped.move_to_end(i)
        if len(self._mapped) > OPEN:
            self._mapped.popitem(last=False)
        return self._mapped[i]

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards.open, (self.folder,)


def prepare(
    folder: Path,
    paths: Sequence[str | Path],
    tokenizer: AlbertTokenizer,
    *,
    shard_tokens: int = 2**20,
    progress: bool = True,
    **options: str,
) -> Shards:
    """Tokenize a corpus (`paths` and `options` are those of `corpus.sentences`) into `folder`, unless it is there.

    A shard ends with the sentence that fills it, and a document that is not over by then goes on as another one in the
    next shard. What tokenizes to nothing is left out. Each process fills a hidden folder of its own beside `folder` and
    renames it at the end; of several at a time, the first one's is kept. Raises `ValueError` when `folder` holds
    something else, `OSError` when the disk is full.
    """
    if shard_tokens < 1:
        raise ValueError(f"{shard_tokens=} must be at least 1")
    sources = describe(paths, progress=progress, **options)
    description = {**sources, "tokenizer": fingerprint(tokenizer), "shard_tokens": shard_tokens}
    if not _is_there(folder):
        private = _private(folder)
        try:
            writer = _Writer(private, shard_tokens)
            _tokenize(sentences(paths, **options), tokenizer, writer, progress)
            if not writer.entries:
                raise ValueError(
                    f"{', '.join(map(str, paths))}: all of it tokenizes to nothing; check the tokenizer"
                )
            index = {"format": FORMAT, "description": description, "shards": writer.entries}
            atomic_write_json(private / INDEX, index, indent=1)
            _publish(private, folder)
        finally:
            shutil.rmtree(private, ignore_errors=True)
    shards = Shards.open(folder)
    check(shards, description)
    return shards


def _is_there(folder: Path) -> bool:
    """Whether a finished corpus is in `folder`; if not, what an older version left half-written there is removed."""
    parts = list(
        folder.glob("*shard-*.safetensors*")
    )  # before the look for an index: a finished folder comes at once
    if not (folder / INDEX).exists():
        for part in parts:
            part.unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError as error:
            if folder.exists() and not (folder / INDEX).exists():
                raise ValueError(
                    f"{folder} is no prepared corpus ({error}); give another `cache`"
                ) from error
    return (folder / INDEX).exists()


def _private(folder: Path) -> Path:
    """A new folder beside `folder`, of this process; those that killed processes of this machine left are removed."""
    stem = f".{folder.name}.{platform.node()}."
    for old in folder.parent.glob(f"{glob.escape(stem)}*"):
        number = old.name.removeprefix(stem)
        if number.isdecimal() and _has_ended(int(number)):
            shutil.rmtree(old, ignore_errors=True)
    private = folder.with_name(f"{stem}{os.getpid()}")
    private.mkdir(parents=True)
    return private


def _has_ended(process: int) -> bool:
    """Whether no other process has this number; False on Windows, where asking would stop it."""
    if process == os.getpid() or os.name != "posix":
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    return False


def _publish(private: Path, folder: Path) -> None:
    """Rename a finished folder, unless another process was first."""
    try:
        private.rename(folder)
    except OSError:
        if not (folder / INDEX).exists():
            raise


def _tokenize(
    corpus: Iterator[str | None], tokenizer: AlbertTokenizer, writer: _Writer, progress: bool
) -> None:
    """Write the ids of a corpus."""
    with tqdm(
        desc="tokenizing", unit=" tokens", unit_scale=True, disable=None if progress else True
    ) as bar:
        for batch in _batches(corpus):
            texts = [text for text in batch if text is not None]
            rows = iter(tokenizer(texts, **IDS_ONLY)["input_ids"] if texts else [])
            for text in batch:
                if text is None:
                    writer.end_document()
                else:
                    ids = next(rows)
                    writer.add(ids)
                    bar.update(len(ids))
    writer.flush()


def check(shards: Shards, description: dict[str, Any]) -> None:
    """Raise `ValueError` that shows the difference, when the shards were made of something else."""
    if shards.description == description:
        return
    found = list(differences(shards.description, description))
    more = f"; and {len(found) - 6} more" if len(found) > 6 else ""
    raise ValueError(
        f"{shards.folder} holds another corpus: {'; '.join(found[:6])}{more}. "
        "Undo that, use another folder, or remove this one"
    )


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What differs between two descriptions, a phrase each."""
    yield from (f"{name} was {old.get(name)!r}, is {new[name]!r}"
                for name in new if name != "sources" and old.get(name) != new[name])  # fmt: skip
    before, now = ([", ".join(f"{key} {value}" for key, value in source.items()) for source in side["sources"]]
                   for side in (old, new))  # fmt: skip
    yield from (f"gone: {source}" for source in sorted(set(before) - set(now)))
    yield from (f"new: {source}" for source in sorted(set(now) - set(before)))
    if before != now and set(before) == set(now):
        yield "the same files come in another order, or another number of times"
    for source in old["sources"]:
        if "revision" in source and source not in new["sources"]:
            yield f"to go on with the old rows, name {source['name']}@{source['revision']}"


def fingerprint(tokenizer: AlbertTokenizer) -> str:
    """A hash of what decides ids: pieces, their scores, the steps before them, and the settings."""
    settings = {name: tokenizer.settings[name] for name in PIPELINE}
    backend = {
        **json.loads(tokenizer.backend_tokenizer.to_str()),
        "padding": None,
        "truncation": None,
    }
    told = json.dumps([backend, settings], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _batches(corpus: Iterator[str | None]) -> Iterator[list[str | None]]:
    batch: list[str | None] = []
    characters = 0
    for text in corpus:
        batch.append(text)
        characters += len(text or "")
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


class _Writer:
    """The shard being filled; `entries` describe those written."""

    def __init__(self, folder: Path, shard_tokens: int) -> None:
        self.folder, self.shard_tokens = folder, shard_tokens
        self.entries: list[dict[str, Any]] = []
        self._begin()

    def _begin(self) -> None:
        self.ids, self.sentences, self.documents = array("i"), array("q", [0]), array("q", [0])

    def add(self, ids: list[int]) -> None:
        """Append a sentence."""
        if ids:
            self.ids.extend(ids)
            self.sentences.append(len(self.ids))
        if len(self.ids) >= self.shard_tokens:
            self.flush()

    def end_document(self) -> None:
        """End the document, if it has begun."""
        if len(self.sentences) - 1 > self.documents[-1]:
            self.documents.append(len(self.sentences) - 1)

    def flush(self) -> None:
        """Write the shard, if there is something in it, and begin the next."""
        self.end_document()
        if not self.ids:
            return
        tensors = {
            "ids": torch.frombuffer(self.ids, dtype=torch.int32),
            "sentences": torch.frombuffer(self.sentences, dtype=torch.int64),
            "documents": torch.frombuffer(self.documents, dtype=torch.int64),
        }
        file = self.folder / f"shard-{len(self.entries):05}.safetensors"
        with atomic_write(file) as temporary:
            save_file(tensors, temporary)
        counts = {
            "tokens": len(self.ids),
            "sentences": len(self.sentences) - 1,
            "documents": len(self.documents) - 1,
        }
        self.entries.append({"file": file.name, "bytes": file.stat().st_size, **counts})
        self._begin()
