"""Text files as streams: bytes -> text -> lines, and the text column of JSON lines.

Each layer is a generator over the one below it, and none holds more than one block, one line or
one JSON record in memory.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

BLOCK_BYTES = 2**20  # read at once
MAX_LINE_CHARACTERS = 2**16  # longer lines and paragraphs are cut
MAX_RECORD_CHARACTERS = 2**28  # longer lines of a .jsonl file are cut, and then are not valid JSON
# A Zstandard block can turn four bytes into 128 KiB, so this much becomes 32 MiB at most.
COMPRESSED_BLOCK_BYTES = 1024


def read_blocks(file: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks, decompressed if its name ends in .gz or .zst.

    Raises:
        ValueError: The compressed data are damaged or incomplete.
        ImportError: The file is a .zst file and zstandard is not installed.
    """
    try:
        with file.open("rb") as raw:
            if file.suffix == ".zst":
                yield from _decompress_zstandard(raw)
                return
            plain: Any = gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw
            while block := plain.read(BLOCK_BYTES):
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{file} is damaged or incomplete ({error}); download or copy the file again"
        ) from error


def _decompress_zstandard(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the decompressed bytes of all frames of a Zstandard file.

    Raises:
        EOFError: The data are damaged or end within a frame, as `gzip` reports it.
    """
    try:
        import zstandard
    except ImportError:
        raise ImportError("reading .zst files needs zstandard: pip install zstandard") from None
    decoder = zstandard.ZstdDecompressor().decompressobj()
    try:
        while compressed := raw.read(COMPRESSED_BLOCK_BYTES):
            while compressed:
                if decoder.eof:  # the previous frame has ended, and another one follows
                    decoder = zstandard.ZstdDecompressor().decompressobj()
                data = decoder.decompress(compressed)
                for start in range(0, len(data), BLOCK_BYTES):
                    yield data[start : start + BLOCK_BYTES]
                compressed = decoder.unused_data
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error
    if not decoder.eof:
        raise EOFError("it ends in the middle of a frame")


def decode_blocks(file: Path, encoding: str) -> Iterator[str]:
    r"""Yield the text of a file in blocks, with every line end as \n and no byte order mark.

    Raises:
        ValueError: The file is not text in this encoding, or it is damaged.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset = 0  # of the current block in the decompressed file
    at_start = True
    pending = 0  # bytes of a character whose end is in the current block
    try:
        for block in chain(read_blocks(file), [b""]):
            is_last = not block
            pending = len(decoder.getstate()[0])
            text = newlines.decode(decoder.decode(block, is_last), is_last)
            if text and at_start:
                at_start = False
                text = text.removeprefix("\ufeff")
                if "\0" in text:
                    raise ValueError(
                        f"{file} is not {encoding} text: it contains zero bytes; set the encoding, "
                        "or leave the file out"
                    )
            offset += len(block)
            yield text
    except UnicodeDecodeError as error:
        position = offset - pending + error.start
        raise ValueError(
            f"{file} is not {encoding} text: byte {error.object[error.start]:#04x} at {position} "
            f"({error.reason}); set the encoding ('cp1252' or 'latin-1' for older Western texts) "
            "or convert the file"
        ) from None
    except UnicodeError as error:  # utf-16 raises this one when there is no byte order mark
        raise ValueError(
            f"{file} is not {encoding} text: {error}; set the encoding, for example to 'utf-16-le'"
        ) from None


def split_lines(texts: Iterable[str], max_characters: int = MAX_LINE_CHARACTERS) -> Iterator[str]:
    """Yield the lines of a text that comes in blocks.

    Args:
        texts: The blocks. They may end anywhere, also within a line.
        max_characters: Longer lines are cut, at a space if they have one.
    """
    unfinished: list[str] = []  # the parts of a line whose end has not come yet
    size = 0  # their characters
    for text in texts:
        *lines, rest = text.split("\n")
        if lines:
            lines[0] = "".join([*unfinished, lines[0]])
            unfinished, size = [], 0
        for line in lines:
            if len(line) > max_characters:
                yield from _cut_line(line, max_characters)
            else:
                yield line
        unfinished.append(rest)
        size += len(rest)
        if size > max_characters:
            *pieces, rest = _cut_line("".join(unfinished), max_characters)
            yield from pieces
            unfinished, size = [rest], len(rest)
    yield "".join(unfinished)


def _cut_line(line: str, max_characters: int) -> Iterator[str]:
    """Cut a line into pieces of at most `max_characters`, before a space if there is one."""
    start = 0
    while len(line) - start > max_characters:
        space = line.rfind(" ", start + 1, start + max_characters)
        end = start + max_characters if space < 0 else space
        yield line[start:end]
        start = end
    yield line[start:]


def read_json_lines(file: Path, encoding: str, column: str) -> Iterator[str]:
    """Yield the text in `column` of each record of a JSON lines file.

    Raises:
        ValueError: A line is not valid JSON or has no text in `column`, or the file is damaged.
    """
    lines = split_lines(decode_blocks(file, encoding), MAX_RECORD_CHARACTERS)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            # A cut line has nearly the maximum length, not exactly: it was cut at a space.
            was_cut = len(line) > MAX_RECORD_CHARACTERS / 2
            hint = f" (or is longer than {MAX_RECORD_CHARACTERS} characters)" if was_cut else ""
            raise ValueError(f"{file}, line {number} is not valid JSON{hint}: {error}") from None
        yield text_of_record(record, column, f"{file}, line {number}")


def text_of_record(record: object, column: str, where: str) -> str:
    """Return the text in `column` of a record, "" if it is null.

    Args:
        record: A JSON value, or a record of a data set.
        column: The name of the column.
        where: The place of the record, for error messages.

    Raises:
        ValueError: The record has no such column, or something else than text in it.
    """
    if not isinstance(record, dict):
        raise ValueError(
            f"{where} is a {type(record).__name__}, not an object with a column {column!r}"
        )
    if column not in record:
        raise ValueError(
            f"{where} has the columns {', '.join(record)}, not {column!r}; set the column"
        )
    text = record[column] or ""  # some data sets have null for an empty text
    if not isinstance(text, str):
        raise ValueError(f"{where}: {column} is a {type(text).__name__}, not text; set the column")
    # JSON can contain lone surrogates, which are not characters and cannot be encoded.
    return text.encode("utf-8", "replace").decode("utf-8")
