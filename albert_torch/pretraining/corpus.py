"""A corpus -> its sentences, one at a time: files and Hub data sets -> documents -> sentences.

The layers below are `text_files` (bytes -> text -> lines), `hub_datasets` and `sentence_splitting`
(lines -> sentences). A corpus is a stream: only one JSON record is ever held as a whole.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from albert_torch.pretraining.hub_datasets import HubDataset
from albert_torch.pretraining.sentence_splitting import sentences_of_lines, sentences_of_paragraphs
from albert_torch.pretraining.text_files import (
    BLOCK_BYTES,
    MAX_LINE_CHARACTERS,
    decode_blocks,
    read_json_lines,
    split_lines,
    text_of_record,
)
from albert_torch.readers import read_table

logger = logging.getLogger(__name__)

DOCUMENT_SEPARATORS = ("blank_line", "file")
SENTENCE_SPLITTINGS = ("lines", "sentences")
# Hashing fewer bytes than this takes a few seconds, so no progress bar is shown.
_MIN_BYTES_FOR_PROGRESS = 10**9


@dataclass(frozen=True)
class CorpusFormat:
    """How the text of a corpus is stored, and what separates its documents and sentences.

    Attributes:
        document_separator: What ends a document in a text file: "blank_line", an empty line (or
            the end of the file), or "file", only the end of the file. A record of a .jsonl or
            .parquet file or of a data set is always one document.
        sentence_splitting: "lines": every line is one sentence, as in the input files of Google's
            create_pretraining_data.py. "sentences": the lines of each paragraph (up to an empty
            line) are joined and cut where English sentences end.
        encoding: The encoding of text files.
        column: The column of .jsonl and .parquet files and of data sets that contains the text.

    Raises:
        ValueError: A value is not one of these, or there is no such encoding.
    """

    document_separator: str = "blank_line"
    sentence_splitting: str = "lines"
    encoding: str = "utf-8"
    column: str = "text"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("document_separator", DOCUMENT_SEPARATORS),
            ("sentence_splitting", SENTENCE_SPLITTINGS),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name}={value!r} must be {' or '.join(map(repr, allowed))}")
        try:
            "a".encode(self.encoding)
        except (LookupError, UnicodeError):  # the codec "undefined" raises the second one
            raise ValueError(
                f"encoding={self.encoding!r} is not a text encoding; "
                "common ones are utf-8, utf-16, cp1252 and latin-1"
            ) from None


class CorpusFile(NamedTuple):
    """One file of a corpus.

    Attributes:
        name: Its path relative to the directory that was given, or its own name.
        path: Where it is.
    """

    name: str
    path: Path


class _Source(NamedTuple):
    """One file or data set: the lines of its texts. Each text is a document if `are_records`."""

    name: str
    texts: Iterable[Iterator[str]]
    are_records: bool


def read_sentences(
    paths: Sequence[str | Path], corpus_format: CorpusFormat | None = None
) -> Iterator[str | None]:
    """Yield the sentences of a corpus in order, and None after the last one of each document.

    Lines and paragraphs of more than 65,536 characters are cut.

    A data set without a revision is read at its newest commit, so a run cannot be resumed once
    there is a newer one. A pinned data set ("org/name@<commit>") stays the same.

    Args:
        paths: Files, directories (all their files, sorted by name, hidden ones excepted) or data
            sets of the Hub (`org/name[:config][@revision]`, of which the split "train" is
            streamed). Files contain text or, with the suffix .jsonl, JSON lines; either may be
            compressed (.gz, .zst). Files with the suffix .parquet are tables.
        corpus_format: How the text is stored; `CorpusFormat()` by default.

    Raises:
        ValueError: A file is in another encoding or damaged, a column is missing, or there is no
            text at all.
        FileNotFoundError: A path does not exist.
    """
    corpus_format = corpus_format or CorpusFormat()
    corpus_has_text = False
    for path in map(str, paths):
        for source in _open_sources(path, corpus_format):
            source_has_text = False
            for sentence in _sentences_of_source(source, corpus_format):
                yield sentence
                source_has_text = True
            if not source_has_text:
                logger.warning("%s contains no text", source.name)
            corpus_has_text |= source_has_text
    if not corpus_has_text:
        names = ", ".join(map(str, paths)) or "an empty list of paths"
        raise ValueError(f"there is no text in {names}; give files that contain text")


def describe_corpus(
    paths: Sequence[str | Path],
    corpus_format: CorpusFormat | None = None,
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Return what identifies a corpus: its format, and the name, size and hash of each file.

    Names are relative to the directory that was given, so a corpus can be moved. A data set of
    the Hub has its commit in place of size and hash; if it is named with a full commit hash, no
    network is needed.

    Args:
        paths: As in `read_sentences`.
        corpus_format: As in `read_sentences`.
        progress: Show a progress bar in a terminal if there is more than a gigabyte to hash.

    Returns:
        The fields of `CorpusFormat`, and "sources", a list of dictionaries. All values can be
        written as JSON.

    Raises:
        FileNotFoundError: A path does not exist, or the Hub cannot be reached.
        ValueError: A directory contains no files.
    """
    corpus_format = corpus_format or CorpusFormat()
    contents: list[HubDataset | list[CorpusFile]] = [
        HubDataset.parse(path) or list_files(path) for path in map(str, paths)
    ]
    files = [file for content in contents if isinstance(content, list) for file in content]
    size = sum(file.path.stat().st_size for file in files)
    # tqdm's None means: shown in a terminal only.
    disable = None if progress and size > _MIN_BYTES_FOR_PROGRESS else True
    sources: list[dict[str, Any]] = []
    with tqdm(desc="hashing", total=size, unit="B", unit_scale=True, disable=disable) as bar:
        for content in contents:
            if isinstance(content, HubDataset):
                sources.append({"name": content.spec_without_revision, "revision": content.commit})
                continue
            for name, path in content:
                digest = _hash_file(path, bar)
                sources.append({"name": name, "bytes": path.stat().st_size, "hash": digest})
    return {**asdict(corpus_format), "sources": sources}


def list_files(path: str) -> list[CorpusFile]:
    """Return the files of a path in a fixed order: the file itself, or those of a directory.

    Hidden files, and files in hidden directories, are left out.

    Raises:
        FileNotFoundError: There is no such file or directory.
        ValueError: The directory contains no files.
    """
    root = Path(path)
    if root.is_file():
        return [CorpusFile(root.name, root)]
    if not root.exists():
        raise FileNotFoundError(
            f"there is no file or directory {path}, and it does not look like the name of a data "
            "set on the Hub (org/name)"
        )
    relative_paths = sorted(file.relative_to(root) for file in root.rglob("*") if file.is_file())
    files = [
        CorpusFile(relative.as_posix(), root / relative)
        for relative in relative_paths
        if not any(part.startswith(".") for part in relative.parts)
    ]
    if not files:
        raise ValueError(f"the directory {path} contains no files; give one that does")
    return files


def _open_sources(path: str, corpus_format: CorpusFormat) -> Iterator[_Source]:
    """Yield the texts of a path, file by file. Nothing is read before they are iterated over."""
    encoding, column = corpus_format.encoding, corpus_format.column
    dataset = HubDataset.parse(path)
    if dataset is not None:
        texts = _texts_of_records(dataset.records(), column, path)
        yield _Source(path, map(_lines_of_text, texts), are_records=True)
        return
    for file in list_files(path):
        name = str(file.path)
        if ".jsonl" in file.path.suffixes[-2:]:  # the last one may be .gz or .zst
            texts = read_json_lines(file.path, encoding, column)
            yield _Source(name, map(_lines_of_text, texts), are_records=True)
        elif file.path.suffix == ".parquet":
            texts = _texts_of_records(read_table(file.path, [column]), column, name)
            yield _Source(name, map(_lines_of_text, texts), are_records=True)
        else:
            lines = split_lines(decode_blocks(file.path, encoding))
            yield _Source(name, [lines], are_records=False)


def _texts_of_records(records: Iterable[Any], column: str, source: str) -> Iterator[str]:
    """Yield the text of each record; `source` is named in error messages."""
    for number, record in enumerate(records, 1):
        yield text_of_record(record, column, f"{source}, record {number}")


def _lines_of_text(text: str) -> Iterator[str]:
    return split_lines([text])


def _sentences_of_source(source: _Source, corpus_format: CorpusFormat) -> Iterator[str | None]:
    """Yield the sentences of one source, and None after each document."""
    by_blank_line = corpus_format.document_separator == "blank_line" and not source.are_records
    for lines in source.texts:
        if corpus_format.sentence_splitting == "lines":
            yield from sentences_of_lines(lines, by_blank_line)
        else:
            yield from sentences_of_paragraphs(lines, by_blank_line, MAX_LINE_CHARACTERS)


def _hash_file(file: Path, bar: Any) -> str:
    """Return a hash of the file's bytes, and advance the progress bar by their number."""
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as handle:
        while block := handle.read(BLOCK_BYTES):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
