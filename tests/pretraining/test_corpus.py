"""Corpora: which files are read, what sentences and documents are, what identifies a corpus."""

import gzip
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.small_corpus import SENTENCES, TEXT, write

from albert_torch.pretraining import corpus
from albert_torch.pretraining.corpus import CorpusFormat, describe_corpus, read_sentences


def test_a_line_is_a_sentence_and_a_blank_line_ends_a_document(tmp_path: Path) -> None:
    """Catches: an empty document, a last line that is lost, two files in one document."""
    first, second = write(tmp_path / "a.txt", TEXT), write(tmp_path / "b", "One\n")
    assert list(read_sentences([first, second])) == [*SENTENCES, "One", None]
    whole_file = [sentence for sentence in SENTENCES if sentence is not None]
    assert list(read_sentences([second, first], CorpusFormat(document_separator="file"))) == [
        "One",
        None,
        *whole_file,
        None,
    ]


def test_paragraphs_are_joined_and_cut_into_sentences(tmp_path: Path) -> None:
    """Catches: a sentence that ends with its line, a paragraph that runs into the next one."""
    file = write(tmp_path / "a.txt", "He met Mr.\nBrown. It\nwas late.\n\nA title\n\nThe end.")
    met, late, title, end = "He met Mr. Brown.", "It was late.", "A title", "The end."
    by_file = CorpusFormat(document_separator="file", sentence_splitting="sentences")
    assert list(read_sentences([file], by_file)) == [met, late, title, end, None]
    by_blank_line = CorpusFormat(sentence_splitting="sentences")
    expected = [met, late, None, title, None, end, None]
    assert list(read_sentences([file], by_blank_line)) == expected


def test_directories_and_compressed_files(tmp_path: Path) -> None:
    """Catches: an order that depends on the disk, hidden files that are read, unknown suffixes."""
    write(tmp_path / "b.txt", "b")
    write(tmp_path / "a" / "z.txt", "z")
    write(tmp_path / ".cache" / "x.txt", "hidden")
    write(tmp_path / "a" / ".x", "hidden")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"c1\n") + gzip.compress(b"c2"))
    records = [{"text": "d1\n\nd2", "n": 1}, {"text": None}, {"text": "d3\ud800"}]
    json_lines = "\n".join(map(json.dumps, records))
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(json_lines.encode()))
    (tmp_path / "e.jsonl").write_text('\n{"text": "é"}\n\n', encoding="utf-8")
    expected = ["z", None, "b", None, "c1", "c2", None, "d1", "d2", None, "d3?", None, "é", None]
    assert list(read_sentences([tmp_path])) == expected
    names = ["a/z.txt", "b.txt", "c.txt.gz", "d.jsonl.gz", "e.jsonl"]
    assert [source["name"] for source in describe_corpus([tmp_path])["sources"]] == names


def test_every_record_of_a_parquet_file_is_a_document(tmp_path: Path) -> None:
    """Catches: a Parquet file that is read as text, a blank line in a record that ends it."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"body": ["one\n\ntwo", None, "three"], "text": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "a.parquet")
    sentences = read_sentences([tmp_path], CorpusFormat(column="body"))
    assert list(sentences) == ["one", "two", None, "three", None]
    with pytest.raises(ValueError, match=r"a\.parquet, record 1: text is a int, not text"):
        list(read_sentences([tmp_path]))
    with pytest.raises(FileNotFoundError, match=r"no file or directory data/missing\.parquet"):
        list(read_sentences(["data/missing.parquet"]))


def test_files_without_text_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Catches: training on nothing, an empty file that is ignored silently."""
    empty, text = write(tmp_path / "empty.txt", " \n\n"), write(tmp_path / "text.txt", "text")
    with caplog.at_level(logging.WARNING):
        assert list(read_sentences([empty, text])) == ["text", None]
    assert [record.getMessage() for record in caplog.records] == [f"{empty} contains no text"]
    with pytest.raises(ValueError, match=r"no text in .*empty\.txt; give files that contain text"):
        list(read_sentences([empty]))
    with pytest.raises(ValueError, match="an empty list"):
        list(read_sentences([]))


def test_paths_without_files_are_refused(tmp_path: Path) -> None:
    """Catches: a misspelt path that is taken for an empty corpus or a data set."""
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match="d contains no files"):
        list(read_sentences([tmp_path / "d"]))
    for missing in ("nowhere", "data/missing.txt", "/a/b/c", "some/corpus.jsonl.gz"):
        match = f"no file or directory {missing}, and it does not look like"
        with pytest.raises(FileNotFoundError, match=match):
            list(read_sentences([missing]))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"document_separator": "line"}, "document_separator='line' must be 'blank_line' or 'fi"),
        ({"sentence_splitting": "words"}, "sentence_splitting='words' must be 'lines' or 'senten"),
        *(
            ({"encoding": name}, f"encoding='{name}' is not a text encoding; common ones are utf-8")
            for name in ("utf-9", "hex", "rot13")
        ),
    ],
)
def test_unknown_values_are_refused(options: dict[str, str], match: str) -> None:
    """Catches: a misspelt value that means the same as another one."""
    with pytest.raises(ValueError, match=match):
        CorpusFormat(**options)


def test_a_description_depends_on_contents_and_not_on_places(tmp_path: Path) -> None:
    """Catches: a run that continues on an edited corpus, a corpus that cannot be moved."""
    first = write(tmp_path / "1" / "a" / "x.txt", "some")
    second = write(tmp_path / "2" / "a" / "x.txt", "some")
    description = describe_corpus([tmp_path / "1"])
    assert description == describe_corpus([tmp_path / "2"])
    assert description == json.loads(json.dumps(description))
    by_sentences = describe_corpus([first], CorpusFormat(sentence_splitting="sentences"))
    assert by_sentences != describe_corpus([first])
    second.write_text("same")
    assert describe_corpus([first]) != describe_corpus([second])


def test_a_progress_bar_is_shown_when_hashing_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: minutes of silence before the first step, a progress bar for a short moment."""
    options_of_bars: list[Any] = []
    updates: list[float] = []

    class RecordingBar(corpus.tqdm):  # type: ignore[name-defined, misc]
        def __init__(self, **options: Any) -> None:
            options_of_bars.append(options)
            disable = options["disable"] is True
            super().__init__(**{**options, "disable": disable, "file": io.StringIO()})

        def update(self, n: float = 1) -> Any:
            updates.append(n)
            return super().update(n)

    monkeypatch.setattr(corpus, "tqdm", RecordingBar)
    file = write(tmp_path / "a.txt", "some")
    describe_corpus([file, file], progress=True)
    assert (options_of_bars[0]["total"], options_of_bars[0]["disable"]) == (8, True)
    assert updates == [4, 4]
    monkeypatch.setattr(corpus, "_hash_file", lambda file, bar: "0")
    for size, progress, disable in (
        (10**9, True, True),
        (10**9, False, True),
        (10**9 + 1, True, None),
        (10**9 + 1, False, True),
    ):
        with file.open("r+b") as handle:
            handle.truncate(size)  # the file has a hole, and needs no space on the disk
        describe_corpus([file], progress=progress)
        assert options_of_bars[-1]["disable"] is disable


@pytest.mark.assets
def test_speeches_are_read_to_the_last_word(assets: Path) -> None:
    """Catches: an encoding error without a way out, a document that is cut in two."""
    speeches = assets / "data" / "state_union" / "state_union"
    match = r"1954-Eisenhower\.txt is not utf-8 text: byte 0xbd at 27596"
    with pytest.raises(ValueError, match=match):
        list(read_sentences([speeches]))
    corpus_format = CorpusFormat("file", "sentences", encoding="latin-1")
    sentences = list(read_sentences([speeches], corpus_format))
    files = sorted(speeches.iterdir())
    assert sentences.count(None) == len(files)
    text = " ".join(file.read_text(encoding="latin-1") for file in files)
    assert " ".join(" ".join(filter(None, sentences)).split()) == " ".join(text.split())
