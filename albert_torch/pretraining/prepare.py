"""Preparing a corpus: its text is tokenized once and written as shards, which all runs share."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from albert_torch.files import atomic_write_json
from albert_torch.pretraining.corpus import CorpusFormat, describe_corpus, read_sentences
from albert_torch.pretraining.shard_writer import ShardWriter
from albert_torch.pretraining.shards import INDEX_FILE, SHARD_FORMAT, Shards
from albert_torch.tokenization.settings import PIPELINE_SETTINGS
from albert_torch.tokenization.tokenizer import AlbertTokenizer

# The most that the tokenizer gets in one call.
MAX_BATCH_SENTENCES = 2000
MAX_BATCH_CHARACTERS = 2**20
# Differences that an error message lists.
MAX_LISTED_DIFFERENCES = 6


def prepare_shards(
    folder: Path,
    paths: Sequence[str | Path],
    tokenizer: AlbertTokenizer,
    corpus_format: CorpusFormat | None = None,
    *,
    shard_tokens: int = 2**20,
    progress: bool = True,
) -> Shards:
    """Tokenize a corpus into shards in `folder`, unless they are there already, and open them.

    A shard ends with the sentence that makes it large enough. A document that has not ended by
    then continues as another document in the next shard. Sentences without any token are left
    out.

    Several processes may prepare the same folder at the same time: each fills a hidden folder of
    its own and renames it at the end; the first one is kept.

    Args:
        folder: Where the shards are kept. It is created together with its parents.
        paths: Files, directories and data sets, as in `corpus.read_sentences`.
        tokenizer: The tokenizer of the model that will be trained.
        corpus_format: How the text is stored; `CorpusFormat()` by default.
        shard_tokens: The number of tokens from which on a shard is complete.
        progress: Show progress bars in a terminal.

    Raises:
        ValueError: `folder` contains something else, for example the shards of another corpus, or
            the corpus contains no text.
        FileNotFoundError: A path of the corpus does not exist.
        OSError: The files cannot be written, for example because the disk is full.
    """
    if shard_tokens < 1:
        raise ValueError(f"{shard_tokens=} must be at least 1")
    corpus_format = corpus_format or CorpusFormat()
    description = {
        **describe_corpus(paths, corpus_format, progress=progress),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "shard_tokens": shard_tokens,
    }
    if not _has_complete_corpus(folder):
        private_folder = _create_private_folder(folder)
        try:
            writer = ShardWriter(private_folder, shard_tokens)
            write_sentences(read_sentences(paths, corpus_format), tokenizer, writer, progress)
            if not writer.entries:
                raise ValueError(
                    f"the text of {', '.join(map(str, paths))} contains nothing that the tokenizer "
                    "turns into tokens; check the tokenizer"
                )
            index = {"format": SHARD_FORMAT, "description": description, "shards": writer.entries}
            atomic_write_json(private_folder / INDEX_FILE, index, indent=1)
            _publish(private_folder, folder)
        finally:
            shutil.rmtree(private_folder, ignore_errors=True)
    shards = Shards.open(folder)
    check_same_corpus(shards, description)
    return shards


def write_sentences(
    sentences: Iterator[str | None],
    tokenizer: AlbertTokenizer,
    writer: ShardWriter,
    progress: bool,
) -> None:
    """Tokenize sentences in batches and write them.

    Args:
        sentences: As `corpus.read_sentences` yields them: None ends a document.
        tokenizer: The tokenizer.
        writer: Where the ids go.
        progress: Show a progress bar in a terminal.
    """
    disable = None if progress else True  # tqdm's None means: shown in a terminal only
    with tqdm(desc="tokenizing", unit=" tokens", unit_scale=True, disable=disable) as bar:
        for batch in _batches_of_sentences(sentences):
            texts = [sentence for sentence in batch if sentence is not None]
            ids_by_text = iter(_token_ids(texts, tokenizer))
            for sentence in batch:
                if sentence is None:
                    writer.end_document()
                    continue
                ids = next(ids_by_text)
                writer.add_sentence(ids)
                bar.update(len(ids))
    writer.flush()


def _token_ids(texts: list[str], tokenizer: AlbertTokenizer) -> list[list[int]]:
    """Return the ids of each text, without special tokens."""
    if not texts:  # the tokenizer refuses an empty batch
        return []
    ids: list[list[int]] = tokenizer(
        texts,
        add_special_tokens=False,
        return_token_type_ids=False,
        return_attention_mask=False,
    )["input_ids"]
    return ids


def _batches_of_sentences(sentences: Iterator[str | None]) -> Iterator[list[str | None]]:
    """Group sentences and ends of documents, so that a batch stays below both limits."""
    batch: list[str | None] = []
    characters = 0
    for sentence in sentences:
        batch.append(sentence)
        if sentence is not None:
            characters += len(sentence)
        if len(batch) == MAX_BATCH_SENTENCES or characters >= MAX_BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


def check_same_corpus(shards: Shards, description: dict[str, Any]) -> None:
    """Check that shards were made from the corpus that `description` describes.

    Raises:
        ValueError: They were not; the message lists the differences.
    """
    if shards.description == description:
        return
    differences = list(corpus_differences(shards.description, description))
    listed = "; ".join(differences[:MAX_LISTED_DIFFERENCES])
    unlisted = len(differences) - MAX_LISTED_DIFFERENCES
    more = f"; and {unlisted} more" if unlisted > 0 else ""
    raise ValueError(
        f"{shards.folder} contains another corpus: {listed}{more}. "
        "Undo the change, use another folder, or delete this one"
    )


def corpus_differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Yield a phrase for each difference between two descriptions of a corpus."""
    for name in new:
        if name != "sources" and old.get(name) != new[name]:
            yield f"{name} was {old.get(name)!r}, is {new[name]!r}"
    old_sources = [_source_as_text(source) for source in old["sources"]]
    new_sources = [_source_as_text(source) for source in new["sources"]]
    for source in sorted(set(old_sources) - set(new_sources)):
        yield f"removed: {source}"
    for source in sorted(set(new_sources) - set(old_sources)):
        yield f"new: {source}"
    if old_sources != new_sources and set(old_sources) == set(new_sources):
        yield "the same files come in another order, or another number of times"
    for entry in old["sources"]:
        if "revision" in entry and entry not in new["sources"]:
            yield f"to continue with the old data set, name {entry['name']}@{entry['revision']}"


def _source_as_text(source: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in source.items())


def tokenizer_fingerprint(tokenizer: AlbertTokenizer) -> str:
    """Return a hash of everything that determines the ids of a text.

    These are the pieces and their scores, the steps before them, the added tokens and the
    settings; not padding and truncation.
    """
    settings = {name: tokenizer.settings[name] for name in PIPELINE_SETTINGS}
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend.update(padding=None, truncation=None)
    content = json.dumps([backend, settings], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


# ---- folders: several processes may prepare the same corpus, and any of them may be killed ----


def _has_complete_corpus(folder: Path) -> bool:
    """Whether a complete corpus is in `folder`.

    If there is an incomplete one, its files are removed.

    Raises:
        ValueError: There is something else in the folder.
    """
    # The files are listed before the index is looked for, because another process may put a
    # complete corpus in place at any moment, whose shards must not be removed.
    shard_files = list(folder.glob("*shard-*.safetensors*"))
    if (folder / INDEX_FILE).exists():
        return True
    for file in shard_files:
        file.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        if folder.exists() and not (folder / INDEX_FILE).exists():
            raise ValueError(
                f"{folder} is not a prepared corpus ({error}); give another `cache`"
            ) from error
    return (folder / INDEX_FILE).exists()


def _create_private_folder(folder: Path) -> Path:
    """Create a hidden folder for this process next to `folder`.

    Those that killed processes of this machine have left are removed.
    """
    prefix = f".{folder.name}.{platform.node()}."
    for old_folder in folder.parent.glob(f"{glob.escape(prefix)}*"):
        process = old_folder.name.removeprefix(prefix)
        if process.isdecimal() and _can_be_reused(int(process)):
            shutil.rmtree(old_folder, ignore_errors=True)
    private_folder = folder.with_name(f"{prefix}{os.getpid()}")
    private_folder.mkdir(parents=True)
    return private_folder


def _can_be_reused(process: int) -> bool:
    """Whether no other running process has this number.

    On Windows this returns False for all others, because there os.kill would end the process.
    """
    if process == os.getpid():
        return True
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    return False


def _publish(private_folder: Path, folder: Path) -> None:
    """Rename a complete folder, unless another process has done so before."""
    try:
        private_folder.rename(folder)
    except OSError:
        if not (folder / INDEX_FILE).exists():
            raise
