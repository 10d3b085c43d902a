"""Text files and Hub data sets -> sentences, read as a stream: no corpus, file or document is ever held whole."""

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

logger = logging.getLogger(__name__)

BLOCK = 2**20  # bytes read at once
LONGEST = 2**16  # characters of a line or paragraph; longer ones are cut
LONGEST_RECORD = 2**28  # characters of a JSON record, the one thing that is held whole
HUB = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?<!\.txt)(?<!\.jsonl)(?<!\.gz)(?<!\.zst)", re.ASCII)
STOP = re.compile(r"[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[]*(\w))")
TITLES = "Mr Mrs Ms Messrs Mme Mlle Dr St Prof Rev Hon Gen Col Capt Lt Sgt Sen Rep Gov vs cf Fig Vol pp"
INITIALS = re.compile(r"(?!I$)([A-Za-z]\.)*[A-Za-z]")  # J. R. R. Tolkien, U.S. Senate; but: So do I. Then


def sentences(
    paths: Sequence[str | Path],
    *,
    documents: str = "blank",
    units: str = "lines",
    encoding: str = "utf-8",
    column: str = "text",
) -> Iterator[str | None]:
    """The sentences of a corpus in order; None after the last one of each document.

    `paths`: files, directories (all their files, sorted by name, hidden ones left out), or Hub data sets ("org/name",
    "org/name:config"; their split "train" is streamed). A file is text, or JSON lines (`.jsonl`) with the text in
    `column`, also compressed (`.gz`, `.zst`). A file, a record or a row ends a document, and so does a blank line of a
    text file unless `documents="file"`. `units="lines"`: a line is a sentence, as in Google's input files; "sentences":
    the lines of a paragraph (up to a blank line) are joined, and cut where English sentences end. Lines and paragraphs
    are cut after 65,536 characters.

    Raises `ValueError` for text in another encoding, a damaged file, a missing column, or no text at all;
    `FileNotFoundError` for what is not there.
    """
    check_options(documents, units, encoding)
    found = False
    for path in map(str, paths):
        for name, texts in _sources(path, encoding, column):
            empty = True
            for lines, is_record in texts:
                for sentence in _units(lines, units, blank_ends=documents == "blank" and not is_record):
                    yield sentence
                    empty = False
            if empty:
                logger.warning("%s holds no text", name)
            found |= not empty
    if not found:
        raise ValueError(f"no text in {', '.join(map(str, paths)) or 'an empty list of paths'}; name files with text")


def check_options(documents: str, units: str, encoding: str) -> None:
    """Raise `ValueError` for an option that `sentences` does not know."""
    for name, value, known in (("documents", documents, ("blank", "file")), ("units", units, ("lines", "sentences"))):
        if value not in known:
            raise ValueError(f"{name}={value!r} must be {' or '.join(map(repr, known))}")
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"{encoding=} is unknown; utf-8, utf-16, cp1252 and latin-1 are common ones") from None


def describe(
    paths: Sequence[str | Path],
    *,
    documents: str = "blank",
    units: str = "lines",
    encoding: str = "utf-8",
    column: str = "text",
) -> dict[str, Any]:
    """What identifies a corpus, as JSON can hold it: the options; name, size in bytes and hash of each file.

    Names are relative to the directory that was given, so a corpus may move. A Hub data set has its revision.
    """
    check_options(documents, units, encoding)
    sources: list[dict[str, Any]] = []
    for path in map(str, paths):
        if _on_hub(path):
            sources.append({"name": path, "revision": _revision(path)})
        else:
            sources += ({"name": name, "bytes": file.stat().st_size, "hash": _hash(file)} for name, file in files(path))
    return {"documents": documents, "units": units, "encoding": encoding, "column": column, "sources": sources}


def split(paragraph: str) -> Iterator[str]:
    """Cut after . ! ? and the quotes and brackets that close with them, where a space and no small letter follows.

    Not after titles (Mr. Mrs. Dr. St. ...) and initials.
    """
    start = 0
    for match in STOP.finditer(paragraph):
        word = paragraph[start : match.start()].split(" ")[-1].lstrip("\"'“‘([")
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


def _sources(path: str, encoding: str, column: str) -> Iterator[tuple[str, Iterator[tuple[Iterator[str], bool]]]]:
    """The name of each file, and its (lines, whether they are one record)."""
    if _on_hub(path):
        yield path, ((_lines([text]), True) for text in _rows(path, column))
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
        raise FileNotFoundError(f"no file or directory {path}, and it does not look like a Hub data set (org/name)")
    relative = sorted(file.relative_to(root) for file in root.rglob("*") if file.is_file())
    found = [(file.as_posix(), root / file) for file in relative if not any(part[0] == "." for part in file.parts)]
    if not found:
        raise ValueError(f"directory {path} holds no files; name one that does")
    return found


def _hash(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _lines(texts: Iterable[str], longest: int = LONGEST) -> Iterator[str]:
    """Lines of at most `longest` characters; longer ones are cut, at a space where there is one."""
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            if len(line) > longest:
                *pieces, line = _cut(line, longest)
                yield from pieces
            yield line
        *pieces, rest = _cut(rest, longest)
        yield from pieces
    yield rest


def _cut(line: str, longest: int) -> Iterator[str]:
    while len(line) > longest:
        at = line.rfind(" ", 1, longest)
        at = longest if at < 0 else at
        yield line[:at]
        line = line[at:]
    yield line


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
                        f"{file} is no {encoding} text: it holds zero bytes; leave it out, or set encoding"
                    )
            offset += len(block)
            yield text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not {encoding}: byte {error.object[error.start]:#04x} at {offset - held + error.start} "
            f"({error.reason}); set encoding, to 'cp1252' or 'latin-1' for older Western texts, or convert the file"
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
        while block := raw.read(BLOCK // 64):  # a small one: it may become a thousand times as large
            while block:
                if decoder.eof:  # a file may hold several frames
                    decoder = zstandard.ZstdDecompressor().decompressobj()
                yield decoder.decompress(block)
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
            except ValueError as error:
                long = " (or has more than 2**28 characters)" if len(line) > LONGEST_RECORD / 2 else ""
                raise ValueError(f"{file}, line {number} is not JSON{long}: {error}") from None
            yield _text(record, column, f"{file}, line {number}")


def _text(record: Any, column: str, where: str) -> str:
    if not isinstance(record, dict) or column not in record:
        has = f"the columns {', '.join(record)}" if isinstance(record, dict) else f"a {type(record).__name__}"
        raise ValueError(f"{where} has {has}, not {column!r}; set column")
    text = record[column] or ""  # some data sets have rows of null
    if not isinstance(text, str):
        raise ValueError(f"{where}: {column} is a {type(text).__name__}, not text; set column")
    return text.encode("utf-8", "replace").decode("utf-8")  # JSON can hold lone surrogates, which are no characters


def _on_hub(path: str) -> bool:
    return HUB.fullmatch(path) is not None and not Path(path).exists()


def _revision(path: str) -> str:
    """The commit of a Hub data set."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(path.partition(":")[0]).sha)
    except Exception as error:  # whatever the network and the library raise
        raise FileNotFoundError(f"no file or directory {path}, and no data set of the Hub: {error}") from error


def _rows(path: str, column: str) -> Iterator[str]:
    """The text of each row of a Hub data set, at the revision that `describe` names."""
    try:
        import datasets
    except ImportError:
        raise ImportError(
            f"{path} is no file, and Hub data sets need datasets: pip install 'albert-torch[train]'"
        ) from None
    name, _, config = path.partition(":")
    revision = _revision(path)
    rows = datasets.load_dataset(name, config or None, split="train", streaming=True, revision=revision)
    for number, row in enumerate(rows, 1):
        yield _text(row, column, f"{path}, row {number}")
