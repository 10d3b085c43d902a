"""Text files and Hub data sets -> sentences, read as a stream: only a JSON record or a row is ever held whole."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from albert_torch.pretraining.hub_datasets import commit, on_hub, rows

logger = logging.getLogger(__name__)

BLOCK = 2**20  # bytes read at once
LONGEST = 2**16  # characters of a line or paragraph; longer ones are cut
LONGEST_RECORD = 2**28  # characters of a JSON record
STOP = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]*(\w))")
TITLES = (
    "Mr Mrs Ms Messrs Mme Mlle Dr St Prof Rev Hon Gen Col Capt Lt Sgt Sen Rep Gov vs cf Fig Vol pp"
)
LONGEST_WORD = 64  # characters that are looked at before a stop
INITIALS = re.compile(
    r"(?!I$)([A-Za-z]\.)*[A-Za-z]"
)  # J. R. R. Tolkien, U.S. Senate; but: So do I. Then


def sentences(
    paths: Sequence[str | Path],
    *,
    documents: str = "blank",
    units: str = "lines",
    encoding: str = "utf-8",
    column: str = "text",
) -> Iterator[str | None]:
    """The sentences of a corpus in order; None after the last one of each document.

    `paths`: files, directories (all their files, sorted by name, hidden ones left out), or Hub data sets
    ("org/name[:config][@revision]"; their split "train" is streamed). A file is text, or JSON lines (`.jsonl`) with the
    text in `column`, also compressed (`.gz`, `.zst`). A file, a record or a row ends a document, and so does a blank
    line of a text file unless `documents="file"`. `units="lines"`: a line is a sentence, as in Google's input files;
    "sentences": the lines of a paragraph (up to a blank line) are joined, and cut where English sentences end. Lines
    and paragraphs are cut after 65,536 characters.

    A data set without a revision is read at its latest commit, so no run can resume after the next one; one that is
    pinned ("org/name@<commit>") stays as it is.

    Raises `ValueError` for text in another encoding, a damaged file, a missing column, or no text at all;
    `FileNotFoundError` for what is not there.
    """
    check_options(documents, units, encoding)
    found = False
    for path in map(str, paths):
        for name, texts in _sources(path, encoding, column):
            empty = True
            for lines, is_record in texts:
                for sentence in _units(
                    lines, units, blank_ends=documents == "blank" and not is_record
                ):
                    yield sentence
                    empty = False
            if empty:
                logger.warning("%s holds no text", name)
            found |= not empty
    if not found:
        raise ValueError(
            f"no text in {', '.join(map(str, paths)) or 'an empty list of paths'}; name files with text"
        )


def check_options(documents: str, units: str, encoding: str) -> None:
    """Raise `ValueError` for an option that `sentences` does not know."""
    for name, value, known in (
        ("documents", documents, ("blank", "file")),
        ("units", units, ("lines", "sentences")),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r} must be {' or '.join(map(repr, known))}")
    try:
        "a".encode(encoding)
    except (LookupError, UnicodeError):  # the second by the codec "undefined"
        raise ValueError(
            f"{encoding=} is no text encoding; utf-8, utf-16, cp1252, latin-1 are common ones"
        ) from None


def describe(
    paths: Sequence[str | Path],
    *,
    documents: str = "blank",
    units: str = "lines",
    encoding: str = "utf-8",
    column: str = "text",
    progress: bool = False,
) -> dict[str, Any]:
    """What identifies a corpus, as JSON can hold it: the options; name, size in bytes and hash of each file.

    Names are relative to the directory that was given, so a corpus may move. A Hub data set has its commit in place of
    size and hash, and no network is needed for one that is named with a full commit.
    """
    check_options(documents, units, encoding)
    found = [(path, on_hub(path)) for path in map(str, paths)]
    listed = {path: [] if hub else files(path) for path, hub in found}
    size = sum(file.stat().st_size for path, _ in found for _, file in listed[path])
    hidden = None if progress and size > 10**9 else True  # None: unless this is no terminal
    sources: list[dict[str, Any]] = []
    with tqdm(desc="hashing", total=size, unit="B", unit_scale=True, disable=hidden) as bar:
        for path, hub in found:
            if hub:
                sources.append({"name": path.partition("@")[0], "revision": commit(hub[1], hub[3])})
            for name, file in listed[path]:
                sources.append(
                    {"name": name, "bytes": file.stat().st_size, "hash": _hash(file, bar)}
                )
    return {
        "documents": documents,
        "units": units,
        "encoding": encoding,
        "column": column,
        "sources": sources,
    }


def split(paragraph: str) -> Iterator[str]:
    """Cut after . ! ? and the quotes and brackets that close with them, where a space and no small letter follows.

    Not after titles (Mr. Mrs. Dr. St. ...) and initials.
    """
    start = 0
    for match in STOP.finditer(paragraph):
        word = (
            paragraph[max(start, match.start() - LONGEST_WORD) : match.start()]
            .split(" ")[-1]
            .lstrip("\"'“‘([")
        )
        abbreviated = match[0][0] == "." and (word in TITLES.split() or INITIALS.fullmatch(word))
        if not match[1].islower() and not abbreviated:
            yield paragraph[start : match.end()].rstrip()
            start = match.end()
    yield paragraph[start:]


def _units(lines: Iterable[str], units: str, blank_ends: bool) -> Iterator[str | None]:
    """The sentences of one file or record, then None; nothing where there is no text."""
    paragraph: list[str] = []
    size, begun = 0, False
    for line in chain(lines, [""]):  # a blank line ends the last paragraph
        if line := line.strip():
            begun = True
            if units == "lines":
                yield line
                continue
            paragraph.append(line)
            size += len(line)
        if paragraph and (not line or size > LONGEST):
            yield from split(" ".join(paragraph))
            paragraph, size = [], 0
        if begun and not line and blank_ends:
            yield None
            begun = False
    if begun:
        yield None


def _sources(
    path: str, encoding: str, column: str
) -> Iterator[tuple[str, Iterator[tuple[Iterator[str], bool]]]]:
    """The name of each file, and its (lines, whether they are one record)."""
    if found := on_hub(path):
        yield (
            path,
            (
                (_lines([_text(row, column, f"{path}, row {i}")]), True)
                for i, row in enumerate(rows(found), 1)
            ),
        )
        return
    for _, file in files(path):
        if ".jsonl" in file.suffixes[-2:]:
            yield str(file), ((_lines([text]), True) for text in _records(file, encoding, column))
        else:
            yield str(file), iter([(_lines(_decoded(file, encoding)), False)])


def files(path: str) -> list[tuple[str, Path]]:
    """The files of a path and their names below it, in order."""
    root = Path(path)
    if root.is_file():
        return [(root.name, root)]
    if not root.exists():
        raise FileNotFoundError(
            f"no file or directory {path}, and it does not look like a Hub data set (org/name)"
        )
    relative = sorted(file.relative_to(root) for file in root.rglob("*") if file.is_file())
    found = [
        (file.as_posix(), root / file)
        for file in relative
        if not any(part[0] == "." for part in file.parts)
    ]
    if not found:
        raise ValueError(f"directory {path} holds no files; name one that does")
    return found


def _hash(file: Path, bar: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _lines(texts: Iterable[str], longest: int = LONGEST) -> Iterator[str]:
    """Lines of at most `longest` characters; longer ones are cut, at a space where there is one."""
    parts: list[str] = []  # of the line that has not ended
    size = 0
    for text in texts:
        *lines, rest = text.split("\n")
        if lines:
            lines[0] = "".join([*parts, lines[0]])
            parts, size = [], 0
        for line in lines:
            yield from _cut(line, longest) if len(line) > longest else (line,)
        parts.append(rest)
        size += len(rest)
        if size > longest:
            *pieces, rest = _cut("".join(parts), longest)
            yield from pieces
            parts, size = [rest], len(rest)
    yield "".join(parts)


def _cut(line: str, longest: int) -> Iterator[str]:
    start = 0
    while len(line) - start > longest:
        space = line.rfind(" ", start + 1, start + longest)
        end = start + longest if space < 0 else space
        yield line[start:end]
        start = end
    yield line[start:]


def _decoded(file: Path, encoding: str) -> Iterator[str]:
    """The text of a file in blocks, without a byte order mark, every line end as \\n."""
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, begun = 0, False
    try:
        for block in chain(_blocks(file), [b""]):
            held = len(decoder.getstate()[0])  # bytes of a character that the last block began
            text = newlines.decode(decoder.decode(block, not block), not block)
            if text and not begun:
                text, begun = text.removeprefix("\ufeff"), True
                if "\0" in text:
                    raise ValueError(
                        f"{file} is no {encoding} text: it holds zero bytes; set encoding or leave it out"
                    )
            offset += len(block)
            yield text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not {encoding}: byte {error.object[error.start]:#04x} at {offset - held + error.start} "
            f"({error.reason}); set encoding, to 'cp1252' or 'latin-1' for older Western texts, or convert the file"
        ) from None
    except UnicodeError as error:  # by utf-16, that there is no byte order mark
        raise ValueError(
            f"{file} is not {encoding}: {error}; set encoding, to 'utf-16-le' say"
        ) from None


def _blocks(file: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed."""
    try:
        with file.open("rb") as raw:
            if file.suffix == ".zst":
                yield from _zstandard(raw)
                return
            plain: Any = gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw
            while block := plain.read(BLOCK):
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged or cut off ({error}); get the file again") from error


def _zstandard(raw: BinaryIO) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise ImportError("reading .zst needs zstandard: pip install zstandard") from None
    decoder = zstandard.ZstdDecompressor().decompressobj()
    try:
        while block := raw.read(
            1024
        ):  # it becomes 32 MiB at most: four bytes can stand for 128 KiB
            while block:
                if decoder.eof:  # a file may hold several frames
                    decoder = zstandard.ZstdDecompressor().decompressobj()
                data = decoder.decompress(block)
                yield from (data[i : i + BLOCK] for i in range(0, len(data), BLOCK))
                block = decoder.unused_data
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error
    if not decoder.eof:
        raise EOFError("it ends in the middle of a frame")


def _records(file: Path, encoding: str, column: str) -> Iterator[str]:
    """The text of each line of JSON."""
    for number, line in enumerate(_lines(_decoded(file, encoding), LONGEST_RECORD), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                long = (
                    " (or has more than 2**28 characters)" if len(line) > LONGEST_RECORD / 2 else ""
                )
                raise ValueError(f"{file}, line {number} is not JSON{long}: {error}") from None
            yield _text(record, column, f"{file}, line {number}")


def _text(record: Any, column: str, where: str) -> str:
    if not isinstance(record, dict) or column not in record:
        has = (
            f"the columns {', '.join(record)}"
            if isinstance(record, dict)
            else f"a {type(record).__name__}"
        )
        raise ValueError(f"{where} has {has}, not {column!r}; set column")
    text = record[column] or ""  # some data sets have rows of null
    if not isinstance(text, str):
        raise ValueError(f"{where}: {column} is a {type(text).__name__}, not text; set column")
    return text.encode("utf-8", "replace").decode(
        "utf-8"
    )  # JSON can hold lone surrogates, which are no characters
