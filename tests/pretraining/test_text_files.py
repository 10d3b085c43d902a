"""Text files: decoding in blocks, decompression, cutting of long lines, JSON lines."""

import gzip
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from helpers.small_corpus import SENTENCES, TEXT, write

from albert_torch.pretraining import text_files
from albert_torch.pretraining.corpus import CorpusFormat, read_sentences


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "cp1252"]
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 7, 2**20])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_sentences_do_not_depend_on_blocks_encoding_or_line_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    block_bytes: int,
    line_end: str,
) -> None:
    """Catches: a character or line end cut by a block, a byte order mark in the first word."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block_bytes)
    text, expected = TEXT, SENTENCES
    if encoding == "cp1252":  # it has no Japanese
        text = text.replace("日本", "old")
        expected = [sentence and sentence.replace("日本", "old") for sentence in expected]
    mark = "\ufeff" if encoding in ("utf-8", "utf-16-le") else ""
    file = write(tmp_path / "a.txt", mark + text.replace("\n", line_end), encoding)
    corpus_format = CorpusFormat(encoding=encoding.removesuffix("-sig"))
    assert list(read_sentences([file], corpus_format)) == expected


def test_zstandard_files_may_have_several_frames(tmp_path: Path) -> None:
    """Catches: reading only the first frame, an incomplete file that is accepted."""
    zstandard = pytest.importorskip("zstandard")
    text = "\n".join(f"line {random.random()}" for _ in range(5000))
    data = zstandard.compress(text.encode()) + zstandard.compress(b"\nmore")
    file = tmp_path / "a.txt.zst"
    file.write_bytes(data)
    assert list(read_sentences([file])) == [*text.split("\n"), "more", None]
    for size in (3, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"a\.txt\.zst is damaged or incomplete"):
            list(read_sentences([file]))


def test_memory_does_not_grow_with_the_compression_ratio(tmp_path: Path) -> None:
    """Catches: a small file of much text that is decompressed as a whole."""
    zstandard = pytest.importorskip("zstandard")
    file = tmp_path / "a.txt.zst"
    data = zstandard.compress(b" \n" * 2**25, 19)
    file.write_bytes(data)
    assert len(data) < 2**14
    tracemalloc.start()
    sizes = [len(block) for block in text_files.read_blocks(file)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sum(sizes), max(sizes)) == (2**26, text_files.BLOCK_BYTES)
    assert peak < 2**25


def test_error_without_zstandard_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a ModuleNotFoundError without advice."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match="pip install zstandard"):
        list(read_sentences([write(tmp_path / "a.zst", "x")]))


def test_an_endless_line_is_cut_at_spaces_and_never_held(tmp_path: Path) -> None:
    """Catches: memory that grows with a file without line ends, a word that is cut."""
    file = tmp_path / "a.txt.gz"
    with gzip.open(file, "wb", compresslevel=1) as handle:
        for _ in range(40):
            handle.write(b"word " * 40_000)
    tracemalloc.start()
    characters = 0
    for sentence in read_sentences([file]):
        if sentence is not None:
            assert len(sentence) <= text_files.MAX_LINE_CHARACTERS
            assert (sentence[:5], sentence[-5:]) == ("word ", " word")
            characters += len(sentence) + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert characters == 8_000_000
    assert peak < 7 * text_files.BLOCK_BYTES  # whatever the length of the line
    without_spaces = write(tmp_path / "b.txt", "x" * 150_000)
    lengths = [len(sentence) for sentence in read_sentences([without_spaces]) if sentence]
    assert lengths == [65536, 65536, 150_000 - 2 * 65536]


class CountingStr(str):
    """Text that counts the characters that are copied out of it or joined to it."""

    copied = 0

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        CountingStr.copied += len(part)
        return CountingStr(part)

    def __add__(self, other: str) -> str:
        CountingStr.copied += len(self) + len(other)
        return CountingStr(super().__add__(other))

    def __radd__(self, other: str) -> str:
        CountingStr.copied += len(self) + len(other)
        return CountingStr(other + str(self))

    def split(self, *args: Any) -> list[str]:
        return list(map(CountingStr, super().split(*args)))


def test_a_long_line_is_copied_only_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: copying what remains at every cut, or at every block of a huge record."""
    monkeypatch.setattr(CountingStr, "copied", 0)
    text = "a b" * 100_000
    assert "".join(text_files.split_lines([CountingStr(text)], 100)) == text
    assert CountingStr.copied < 3 * len(text)
    blocks: list[str] = [CountingStr("word ")] * 60_000
    assert "".join(text_files.split_lines(blocks, 2**20)) == "word " * 60_000
    assert CountingStr.copied < 6 * len(text)


@pytest.mark.parametrize("max_characters", [1, 2, 5, 7])
@pytest.mark.parametrize("block_characters", [1, 2, 3, 11])
def test_cuts_of_long_lines_do_not_depend_on_blocks(
    max_characters: int, block_characters: int
) -> None:
    """Catches: a line that is cut where a block ends, or that is too long."""
    text = ("a b" * 70)[:200]
    blocks = [text[i : i + block_characters] for i in range(0, len(text), block_characters)]
    lines = list(text_files.split_lines([*blocks, "\n", *blocks], max_characters))
    assert max(map(len, lines)) <= max_characters
    assert lines == list(text_files.split_lines([text + "\n" + text], max_characters))


@pytest.mark.parametrize("bytes_before", [0, 1, 20, 21, 22])
def test_the_error_for_another_encoding_names_byte_and_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_before: int
) -> None:
    """Catches: a bare UnicodeDecodeError, a position within the block instead of the file."""
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 7)
    before = "é".encode() * (bytes_before // 2) + b"x" * (bytes_before % 2)
    (tmp_path / "old.txt").write_bytes(before + b"\xe9 later")
    match = rf"old\.txt is not utf-8 text: byte 0xe9 at {bytes_before} \(.*set the encoding \('cp1"
    with pytest.raises(ValueError, match=match):
        list(read_sentences([tmp_path]))
    first = next(read_sentences([tmp_path], CorpusFormat(encoding="latin-1")))
    assert first is not None
    assert first.endswith("é later")


def test_errors_for_damaged_files_name_the_file(tmp_path: Path) -> None:
    """Catches: an incomplete download of which half is used, an error without the file's name."""
    data = gzip.compress(random.Random(0).randbytes(1000).hex().encode())
    for content in (data[:-1], data[:200], b"plain"):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.gz is damaged or incomplete"):
            list(read_sentences([tmp_path]))
    (tmp_path / "a.gz").unlink()
    write(tmp_path / "b.txt", "text", "utf-16-be")
    with pytest.raises(ValueError, match=r"b\.txt is not utf-8 text: it contains zero bytes"):
        list(read_sentences([tmp_path]))
    match = (
        r"b\.txt is not utf-16 text: UTF-16 stream does not start with BOM; "
        "set the encoding, for example to 'utf-16-le'"
    )
    with pytest.raises(ValueError, match=match):
        list(read_sentences([tmp_path], CorpusFormat(encoding="utf-16")))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"text": "a"}\n{"text"', r"a\.jsonl, line 2 is not valid JSON"),
        ('{"text": "a"}\n' + "[" * 200_000, r"line 2 is not valid JSON: maximum recursion"),
        ('{"body": "a", "n": 1}', r"line 1 has the columns body, n, not 'text'; set the column"),
        ("\n[1]", r"a\.jsonl, line 2 is a list, not an object with a column 'text'"),
        ('{"text": ["a"]}', r"a\.jsonl, line 1: text is a list, not text"),
    ],
)
def test_errors_for_bad_json_lines_name_the_line(tmp_path: Path, text: str, match: str) -> None:
    """Catches: a KeyError, a record that is left out silently."""
    with pytest.raises(ValueError, match=match):
        list(read_sentences([write(tmp_path / "a.jsonl", text)]))
