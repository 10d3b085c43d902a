"""Corpora: what is a sentence and a document, what is refused; shards against sentences tokenized one by one."""

import errno
import gzip
import io
import json
import logging
import os
import pickle
import platform
import random
import shutil
import subprocess
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from tokenizers import Tokenizer

from albert_torch.pretraining import corpus, shards
from albert_torch.pretraining import hub_datasets as hub_module
from albert_torch.pretraining.corpus import describe, sentences, split
from albert_torch.pretraining.shards import Shards, fingerprint, prepare
from albert_torch.tokenization.sentencepiece import SentencePiece
from albert_torch.tokenization.tokenizer import AlbertTokenizer

TEXT = "Émile came .\nHe saw £5 .\n\n\n  A 日本 tale .  \n \t\nThe end"
SENTENCES = ["Émile came .", "He saw £5 .", None, "A 日本 tale .", None, "The end", None]
SPECIAL = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def tokenizer() -> AlbertTokenizer:
    """Letters and some longer pieces."""
    pieces = [(piece, 0.0) for piece in SPECIAL] + [
        ("▁", -2.0),
        ("▁the", -1.0),
        ("an", -1.5),
        ("▁sentence", -1.0),
    ]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz.,0123456789"]
    return AlbertTokenizer(SentencePiece(pieces, 1, frozenset(SPECIAL), b""))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def test_a_line_is_a_sentence_and_a_blank_line_ends_a_document(tmp_path: Path) -> None:
    """Kills: an empty document, a last line lost for want of a line end, two files run into one document."""
    first, second = write(tmp_path / "a.txt", TEXT), write(tmp_path / "b", "One\n")
    assert list(sentences([first, second])) == [*SENTENCES, "One", None]
    assert list(sentences([second, first], documents="file")) == [
        "One", None, *(text for text in SENTENCES if text is not None), None
    ]  # fmt: skip


def test_paragraphs_are_joined_and_cut_into_sentences(tmp_path: Path) -> None:
    """Kills: a sentence that ends with its line, a paragraph that runs into the next."""
    file = write(tmp_path / "a.txt", "He met Mr.\nBrown. It\nwas late.\n\nA title\n\nThe end.")
    whole = ["He met Mr. Brown.", "It was late.", "A title", "The end."]
    assert list(sentences([file], units="sentences", documents="file")) == [*whole, None]
    assert list(sentences([file], units="sentences")) == [
        *whole[:2],
        None,
        whole[2],
        None,
        whole[3],
        None,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "He came.|She went!|Why?|No.",
        'He said "Go."|Then "Stop!"|"Why?"|(Nobody knew.)|[None.]',
        "“Oh!” he said.|‘Well.’|Fine.",
        "Mr. and Mrs. Hill, Dr. Oz and St. Paul (Prof. Moriarty) met Gen. Lee.|They left.",
        "J. R. R. Tolkien of the U.S. Army, e.g. Him.|So did I.|Then we left.",
        "It cost 3.5 pounds.|Really...|Then 5.|7 more.|wait. no",
        "no end",
        "Ends here.",
        "École.|Étude ... petit.|Ça va?!|Oui",
    ],
)
def test_where_a_sentence_ends(text: str) -> None:
    """Kills: a cut after a title or initials, at a decimal point, a quotation mark on the wrong side."""
    assert list(split(text.replace("|", " "))) == text.replace("|wait", " wait").split("|")


def test_a_long_paragraph_is_looked_at_a_few_times_only() -> None:
    """Kills: a search that begins anew at each stop of a run, or looks back to the last cut: minutes, not seconds."""
    n = 2**16
    texts = {
        "." * n: 1,
        "a. " * n: 1,
        "word. " * n: 1,
        "Why?! " * n: n,
        "a. " * n + "No. 5": 2,
        "." + " " * n + "(": 1,
    }
    texts |= {"x" * n + ". The end": 2, ". " * n + "(" * n: 1, '."' * n: 1}
    code = (
        "import json, sys; from albert_torch.pretraining.corpus import split;"
        "print(json.dumps([list(split(text)) for text in json.load(sys.stdin)]))"
    )
    given = json.dumps(list(texts))
    found = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, text=True, timeout=60
    )
    for (text, count), cut in zip(texts.items(), json.loads(found.stdout), strict=True):
        assert (len(cut), " ".join(cut)) == (count, text), text[:9]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "cp1252"]
)
@pytest.mark.parametrize("block", [1, 2, 3, 7, 2**20])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blocks_and_encodings_cannot_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, block: int, end: str
) -> None:
    """Kills: a character or a line end cut by a block, a byte order mark in the first word."""
    monkeypatch.setattr(corpus, "BLOCK", block)
    text, expected = TEXT, SENTENCES
    if encoding == "cp1252":
        text, expected = (
            text.replace("日本", "old"),
            [s and s.replace("日本", "old") for s in expected],
        )
    mark = "\ufeff" if encoding in ("utf-8", "utf-16-le") else ""
    file = write(tmp_path / "a.txt", mark + text.replace("\n", end), encoding)
    assert list(sentences([file], encoding=encoding.removesuffix("-sig"))) == expected


def test_directories_and_compressed_files(tmp_path: Path) -> None:
    """Kills: an order that depends on the disk, a hidden file that is read, a suffix that is not understood."""
    write(tmp_path / "b.txt", "b")
    write(tmp_path / "a" / "z.txt", "z")
    write(tmp_path / ".cache" / "x.txt", "hidden")
    write(tmp_path / "a" / ".x", "hidden")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"c1\n") + gzip.compress(b"c2"))
    rows = [{"text": "d1\n\nd2", "n": 1}, {"text": None}, {"text": "d3\ud800"}]
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (tmp_path / "e.jsonl").write_text('\n{"text": "é"}\n\n', encoding="utf-8")
    expected = ["z", None, "b", None, "c1", "c2", None, "d1", "d2", None, "d3?", None, "é", None]
    assert list(sentences([tmp_path])) == expected
    names = ["a/z.txt", "b.txt", "c.txt.gz", "d.jsonl.gz", "e.jsonl"]
    assert [source["name"] for source in describe([tmp_path])["sources"]] == names


def test_zstandard(tmp_path: Path) -> None:
    """Kills: only the first frame is read, a cut file that passes for a whole one."""
    zstandard = pytest.importorskip("zstandard")
    text = "\n".join(f"line {random.random()}" for _ in range(5000))
    data = zstandard.compress(text.encode()) + zstandard.compress(b"\nmore")
    file = tmp_path / "a.txt.zst"
    file.write_bytes(data)
    assert list(sentences([file])) == [*text.split("\n"), "more", None]
    for cut in (3, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"a\.txt\.zst is damaged or cut off"):
            list(sentences([file]))


def test_a_small_zstandard_file_of_much_text_is_never_held(tmp_path: Path) -> None:
    """Kills: memory that grows with how well a file was compressed."""
    zstandard = pytest.importorskip("zstandard")
    file = tmp_path / "a.txt.zst"
    data = zstandard.compress(b" \n" * 2**25, 19)
    file.write_bytes(data)
    assert len(data) < 2**14
    tracemalloc.start()
    sizes = [len(block) for block in corpus._blocks(file)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sum(sizes), max(sizes)) == (2**26, corpus.BLOCK)
    assert peak < 2**25


def test_zstandard_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a bare ModuleNotFoundError."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match="pip install zstandard"):
        list(sentences([write(tmp_path / "a.zst", "x")]))


def test_an_endless_line_is_cut_at_spaces_and_never_held(tmp_path: Path) -> None:
    """Kills: a file without line ends that fills the memory, a word cut where there is a space."""
    file = tmp_path / "a.txt.gz"
    with gzip.open(file, "wb", compresslevel=1) as handle:
        for _ in range(40):
            handle.write(b"word " * 40_000)
    tracemalloc.start()
    characters = 0
    for sentence in sentences([file]):
        if sentence is not None:
            assert len(sentence) <= corpus.LONGEST
            assert (sentence[:5], sentence[-5:]) == ("word ", " word")
            characters += len(sentence) + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert characters == 8_000_000
    assert peak < 7 * corpus.BLOCK  # and it stays there, however long the line
    solid = write(tmp_path / "b.txt", "x" * 150_000)
    assert list(map(len, filter(None, sentences([solid])))) == [65536, 65536, 150_000 - 2 * 65536]


class Counted(str):
    """Text that counts the characters that are copied out of it or joined to it."""

    copied = 0

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        Counted.copied += len(part)
        return Counted(part)

    def __add__(self, other: str) -> str:
        Counted.copied += len(self) + len(other)
        return Counted(super().__add__(other))

    def __radd__(self, other: str) -> str:
        Counted.copied += len(self) + len(other)
        return Counted(other + str(self))

    def split(self, *args: Any) -> list[str]:
        return list(map(Counted, super().split(*args)))


def test_a_long_line_is_copied_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a rest that is copied at each cut, or at each block of a record of hundreds of megabytes."""
    monkeypatch.setattr(Counted, "copied", 0)
    text = "a b" * 100_000
    assert "".join(corpus._lines([Counted(text)], 100)) == text
    assert Counted.copied < 3 * len(text)
    assert "".join(corpus._lines([Counted("word ")] * 60_000, 2**20)) == "word " * 60_000
    assert Counted.copied < 6 * len(text)
    for longest in (1, 2, 5, 7):
        for size in (1, 2, 3, 11):
            blocks = [text[i : i + size] for i in range(0, 200, size)]
            lines = list(corpus._lines([*blocks, "\n", *blocks], longest))
            assert max(map(len, lines)) <= longest
            assert lines == list(corpus._lines(["".join(blocks) + "\n" + "".join(blocks)], longest))


@pytest.mark.parametrize("before", [0, 1, 20, 21, 22])
def test_another_encoding_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Kills: a bare UnicodeDecodeError, an offset within a block, an offset that forgets what was held over."""
    monkeypatch.setattr(corpus, "BLOCK", 7)
    data = "é".encode() * (before // 2) + b"x" * (before % 2) + b"\xe9 later"
    (tmp_path / "old.txt").write_bytes(data)
    match = rf"old\.txt is not utf-8: byte 0xe9 at {before} \(.*set encoding, to 'cp1252'"
    with pytest.raises(ValueError, match=match):
        list(sentences([tmp_path]))
    assert next(sentences([tmp_path], encoding="latin-1")).endswith("é later")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """Kills: a cut download that trains on half of the corpus, an error without the file's name."""
    data = gzip.compress(random.Random(0).randbytes(1000).hex().encode())
    for content in (data[:-1], data[:200], b"plain"):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.gz is damaged or cut off"):
            list(sentences([tmp_path]))
    (tmp_path / "a.gz").unlink()
    write(tmp_path / "b.txt", "text", "utf-16-be")
    with pytest.raises(ValueError, match=r"b\.txt is no utf-8 text: it holds zero bytes"):
        list(sentences([tmp_path]))
    with pytest.raises(
        ValueError,
        match=r"b\.txt is not utf-16: UTF-16 stream does not start with BOM; set encoding",
    ):
        list(sentences([tmp_path], encoding="utf-16"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"text": "a"}\n{"text"', r"a\.jsonl, line 2 is not JSON"),
        ('{"text": "a"}\n' + "[" * 200_000, r"a\.jsonl, line 2 is not JSON: maximum recursion"),
        (
            '{"body": "a", "n": 1}',
            r"a\.jsonl, line 1 has the columns body, n, not 'text'; set column",
        ),
        ("\n[1]", r"a\.jsonl, line 2 has a list, not 'text'"),
        ('{"text": ["a"]}', r"a\.jsonl, line 1: text is a list, not text"),
    ],
)
def test_bad_json_lines(tmp_path: Path, text: str, match: str) -> None:
    """Kills: a KeyError, a record that is left out in silence."""
    with pytest.raises(ValueError, match=match):
        list(sentences([write(tmp_path / "a.jsonl", text)]))


def test_what_holds_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Kills: training on nothing, an empty file that nobody hears of."""
    empty, text = write(tmp_path / "empty.txt", " \n\n"), write(tmp_path / "text.txt", "text")
    with caplog.at_level(logging.WARNING):
        assert list(sentences([empty, text])) == ["text", None]
    assert [record.getMessage() for record in caplog.records] == [f"{empty} holds no text"]
    with pytest.raises(ValueError, match=r"no text in .*empty\.txt; name files with text"):
        list(sentences([empty]))
    with pytest.raises(ValueError, match="an empty list"):
        list(sentences([]))
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match="d holds no files"):
        list(sentences([tmp_path / "d"]))
    for missing in ("nowhere", "data/missing.txt", "/a/b/c", "some/corpus.jsonl.gz"):
        with pytest.raises(
            FileNotFoundError, match=f"no file or directory {missing}, and it does not look like"
        ):
            list(sentences([missing]))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"documents": "line"}, "documents='line' must be 'blank' or 'file'"),
        ({"units": "words"}, "units='words' must be 'lines' or 'sentences'"),
        *(
            ({"encoding": name}, f"encoding='{name}' is no text encoding; utf-8")
            for name in ("utf-9", "hex", "rot13")
        ),
    ],
)
def test_unknown_options(tmp_path: Path, options: dict[str, str], match: str) -> None:
    """Kills: a misspelt option that falls back to another."""
    file = write(tmp_path / "a.txt", "a")
    for function in (sentences, describe):
        with pytest.raises(ValueError, match=match):
            list(function([file], **options))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A Hub whose data sets get a commit between any two questions; returns what was asked."""
    asked: list[Any] = []

    def load_dataset(*args: object, **kwargs: object) -> Iterator[dict[str, str]]:
        asked.append((args, kwargs))
        return iter([{"body": "one\n\ntwo"}, {"body": ""}, {"body": "three"}])

    def dataset_info(self: object, name: str, revision: str | None = None) -> types.SimpleNamespace:
        asked.append((name, revision))
        return types.SimpleNamespace(sha=f"commit {len(asked)}")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
    hub_module.commit.cache_clear()
    return asked


def test_a_hub_data_set_is_streamed_at_the_commit_that_describes_it(
    hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a corpus that changes under a run, a configuration or revision that is not passed on."""
    assert list(sentences(["org/name:config"], column="body")) == [
        "one",
        "two",
        None,
        "three",
        None,
    ]
    read = {"split": "train", "streaming": True}
    assert hub == [("org/name", None), (("org/name", "config"), {**read, "revision": "commit 1"})]
    assert describe(["org/name:config"])["sources"] == [
        {"name": "org/name:config", "revision": "commit 1"}
    ]
    assert describe(["org/name@v1.0"])["sources"] == [{"name": "org/name", "revision": "commit 3"}]
    list(sentences(["org/name@v1.0"], column="body"))
    assert hub[2:] == [("org/name", "v1.0"), (("org/name", None), {**read, "revision": "commit 3"})]
    with pytest.raises(ValueError, match=r"org/name, row 1 has the columns body, not 'text'"):
        list(sentences(["org/name"]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ImportError, match="the Hub's org/name needs datasets: pip install 'albert-torch"
    ):
        list(sentences(["org/name"]))


def test_a_pinned_data_set_needs_no_network_and_is_the_same_later(
    hub: list[Any], tmp_path: Path, tokenizer: AlbertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a run that nothing can resume once the data set has a new commit."""
    commit, later = "0123456789" * 4, "f" * 40
    made = prepare(
        tmp_path / "c", [f"org/name:x@{commit}"], tokenizer, progress=False, column="body"
    )
    assert [entry for entry in hub if isinstance(entry[0], str)] == []
    monkeypatch.setattr(
        "huggingface_hub.HfApi.dataset_info",
        lambda self, name, revision: types.SimpleNamespace(sha=later),
    )
    with pytest.raises(
        ValueError, match=f"to go on with the old rows, name org/name:x@{commit}. Undo that"
    ):
        prepare(tmp_path / "c", ["org/name:x"], tokenizer, progress=False, column="body")
    again = prepare(
        tmp_path / "c", [f"org/name:x@{commit}"], tokenizer, progress=False, column="body"
    )
    assert again.description == made.description
    monkeypatch.undo()
    hub_module.commit.cache_clear()


def test_a_description_follows_content_and_not_place(tmp_path: Path) -> None:
    """Kills: a resume on an edited corpus, a corpus that may not move."""
    one, two = (
        write(tmp_path / "1" / "a" / "x.txt", "some"),
        write(tmp_path / "2" / "a" / "x.txt", "some"),
    )
    assert (
        describe([tmp_path / "1"])
        == describe([tmp_path / "2"])
        == json.loads(json.dumps(describe([tmp_path / "1"])))
    )
    assert describe([one], units="sentences") != describe([one])
    two.write_text("same")
    assert describe([one]) != describe([two])


# ---- shards


def test_hashing_is_shown_when_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: minutes of silence before the first step, a bar for a moment's work."""
    bars: list[Any] = []

    class Bar(corpus.tqdm):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            bars.append(options)
            super().__init__(
                **{**options, "disable": options["disable"] is True, "file": io.StringIO()}
            )

        def update(self, n: float = 1) -> bool | None:
            bars.append(n)
            return super().update(n)

    monkeypatch.setattr(corpus, "tqdm", Bar)
    file = write(tmp_path / "a.txt", "some")
    describe([file, file], progress=True)
    assert (bars[0]["total"], bars[0]["disable"], bars[1:]) == (8, True, [4, 4])
    with file.open("r+b") as handle:
        handle.truncate(10**9)  # a hole on the disk
    monkeypatch.setattr(corpus, "_hash", lambda file, bar: "0")
    for progress, disable in ((True, True), (False, True)):
        describe([file], progress=progress)
        assert bars[-1]["disable"] is disable
    with file.open("r+b") as handle:
        handle.truncate(10**9 + 1)
    for progress, disabled in ((True, None), (False, True)):
        describe([file], progress=progress)
        assert bars[-1]["disable"] is disabled


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Documents of 1 to 30 sentences, one of them empty once it is tokenized, and a document of nothing else."""
    draw = random.Random(0)
    lines = []
    for document in range(12):
        lines += [
            f"the sentence {draw.randrange(10**6)} of {document}"
            for _ in range(draw.randint(1, 30))
        ] + [""]
    lines[3] = "\u0301\u0300"
    return write(tmp_path / "text.txt", "\n".join([*lines, "\u0301", "", "the end"]))


def naive(file: Path, tokenizer: AlbertTokenizer) -> list[list[list[int]]]:
    """Documents of sentences of ids, as one would write it without a thought of memory."""
    documents = file.read_text(encoding="utf-8").split("\n\n")
    rows = [
        [tokenizer.encode(s, add_special_tokens=False) for s in document.split("\n")]
        for document in documents
    ]
    rows = [[row for row in document if row] for document in rows]
    return [document for document in rows if document]


def restored(corpus: Shards) -> Iterator[list[list[list[int]]]]:
    for i in range(len(corpus)):
        shard = corpus[i]
        ids, starts, documents = (
            shard.ids.tolist(),
            shard.sentences.tolist(),
            shard.documents.tolist(),
        )
        rows = [ids[a:b] for a, b in pairwise(starts)]
        assert (starts[-1], documents[-1]) == (len(ids), len(rows))
        yield [rows[a:b] for a, b in pairwise(documents)]


@pytest.mark.parametrize("shard_tokens", [1, 50, 333, 2**20])
@pytest.mark.parametrize("batch", [1, 7, 2000])
def test_shards_hold_every_sentence(
    tmp_path: Path,
    text: Path,
    tokenizer: AlbertTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    shard_tokens: int,
    batch: int,
) -> None:
    """Kills: a sentence lost at a batch's or shard's end, an empty sentence or document, an offset off by one."""
    monkeypatch.setattr(shards, "BATCH", batch)
    made = prepare(tmp_path / "c", [text], tokenizer, shard_tokens=shard_tokens, progress=False)
    parts, whole = list(restored(made)), naive(text, tokenizer)
    flat = [sentence for document in whole for sentence in document]
    assert [sentence for part in parts for document in part for sentence in document] == flat
    assert all(document and all(document) for part in parts for document in part)
    assert (made.tokens, made.sentence_count) == (sum(map(len, flat)), len(flat))
    assert made.document_count == sum(map(len, parts))
    if shard_tokens == 2**20:
        assert parts == [whole]
    sizes = [made[i].ids.numel() for i in range(len(made))]
    longest = max(map(len, flat))
    assert all(shard_tokens <= size < shard_tokens + longest for size in sizes[:-1])
    ends = set(accumulate(len(document) for part in parts for document in part))
    cuts = set(accumulate(sum(map(len, part)) for part in parts))
    assert ends == cuts | set(
        accumulate(map(len, whole))
    )  # a shard's end ends a document, and nothing else does


def test_a_prepared_corpus_is_used_again_unread(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: tokenizing for an hour at every start, training on the cache of another corpus or tokenizer."""
    folder = tmp_path / "c"
    made = prepare(folder, [text], tokenizer, progress=False)
    monkeypatch.setattr(
        shards, "sentences", lambda *args, **options: pytest.fail("it was read again")
    )
    assert prepare(folder, [text], tokenizer, progress=False).tokens == made.tokens
    tokenizer.save_pretrained(tmp_path / "t")
    again = AlbertTokenizer.from_pretrained(tmp_path / "t")
    assert fingerprint(again) == fingerprint(tokenizer)
    assert prepare(folder, [text], again, progress=False).entries == made.entries
    again([["a"]], padding=True, truncation=True, max_length=3, is_split_into_words=True)
    again.backend_tokenizer.enable_padding()
    again.backend_tokenizer.enable_truncation(5)
    assert fingerprint(again) == fingerprint(tokenizer)
    cased = AlbertTokenizer.from_pretrained(tmp_path / "t", do_lower_case=False)
    with pytest.raises(
        ValueError, match=r"c holds another corpus: tokenizer was '\w+', is '\w+'\. Undo that"
    ):
        prepare(folder, [text], cased, progress=False)
    with pytest.raises(
        ValueError, match="units was 'lines', is 'sentences'; shard_tokens was 1048576, is 5"
    ):
        prepare(folder, [text], tokenizer, progress=False, units="sentences", shard_tokens=5)
    with pytest.raises(
        ValueError, match="the same files come in another order, or another number of times"
    ):
        prepare(folder, [text, text], tokenizer, progress=False)
    text.write_text("changed")
    match = r"gone: name text\.txt, bytes \d+, hash \w+; new: name text\.txt, bytes 7, hash \w+"
    with pytest.raises(ValueError, match=match):
        prepare(folder, [text], tokenizer, progress=False)


@pytest.mark.parametrize("part", ["normalizer", "scores", "added"])
def test_a_fingerprint_follows_all_that_decides_ids(tokenizer: AlbertTokenizer, part: str) -> None:
    """Kills: the cache of a tokenizer with the same pieces and other ids."""
    other = pickle.loads(pickle.dumps(tokenizer))
    assert fingerprint(other) == fingerprint(tokenizer)
    state = json.loads(other.backend_tokenizer.to_str())
    if part == "normalizer":
        state["normalizer"] = None
    elif part == "scores":
        state["model"]["vocab"][7][1] -= 0.25
    else:
        state["added_tokens"][0]["lstrip"] = True
    other.backend_tokenizer = Tokenizer.from_str(json.dumps(state))
    assert other.get_vocab() == tokenizer.get_vocab()
    assert fingerprint(other) != fingerprint(tokenizer)


@pytest.mark.parametrize("failing", ["shard-00003", "index"])
def test_a_full_disk_says_what_to_do_and_leaves_nothing(
    tmp_path: Path,
    text: Path,
    tokenizer: AlbertTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
) -> None:
    """Kills: an error about an old file that there never was, a disk that stays full, a part taken for the whole."""
    folder, kept, kept_text = tmp_path / "c", shards.save_file, Path.write_text

    def fill(tensors: Any, path: Path) -> None:
        if failing in path.name:
            raise SafetensorError("No space left on device")
        kept(tensors, path)

    def fill_text(path: Path, *args: Any, **kwargs: Any) -> int:
        if failing in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return kept_text(path, *args, **kwargs)

    monkeypatch.setattr(shards, "save_file", fill)
    monkeypatch.setattr(Path, "write_text", fill_text)
    with pytest.raises(
        OSError,
        match=r"could not save \(.*No space left on device\).*Free disk space",
    ):
        prepare(folder, [text], tokenizer, shard_tokens=100, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    with pytest.raises(
        FileNotFoundError, match=r"holds no prepared corpus: there is no index\.json"
    ):
        Shards.open(folder)


def test_a_half_written_corpus_is_begun_anew(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Kills: a killed preparation taken for a finished one, its shards left among the new ones."""
    folder = tmp_path / "c"
    for name in (
        "shard-00000.safetensors",
        "shard-00007.safetensors",
        ".shard-00008.safetensors.partial",
    ):
        write(folder / name, "x")
    made = prepare(folder, [text], tokenizer, progress=False)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.json",
        "shard-00000.safetensors",
    ]
    assert list(restored(made)) == [naive(text, tokenizer)]


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Kills: somebody's files removed, an hour of work before it turns out that it has no place."""
    mine = write(tmp_path / "c" / "mine.txt", "x")
    with pytest.raises(ValueError, match=r"c is no prepared corpus \(.*\); give another `cache`"):
        prepare(tmp_path / "c", [tmp_path / "c"], tokenizer, progress=False)
    assert mine.read_text() == "x"


def test_what_killed_preparations_left_is_removed(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Kills: a disk that each killed preparation fills further, the work of a living process or somebody's folder."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    host = platform.node()
    gone = [f".c.{host}.{ended.pid}", f".c.{host}.{os.getpid()}"]
    kept = [
        f".c.{host}.{os.getppid()}",
        f".c.elsewhere.{ended.pid}",
        f".d.{host}.{ended.pid}",
        f"{ended.pid}",
    ]
    for name in [*gone, *kept]:
        write(tmp_path / name / "shard-00009.safetensors", "x")
    prepare(tmp_path / "c", [text], tokenizer, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "c", "text.txt"])
    assert all((tmp_path / name / "shard-00009.safetensors").exists() for name in kept)
    assert not (tmp_path / "c" / "shard-00009.safetensors").exists()


RACE = """
import sys, time
from pathlib import Path
from albert_torch.pretraining import shards
from albert_torch.tokenization import AlbertTokenizer
folder, rival, tokenize = Path(sys.argv[1]), Path(sys.argv[3]), shards._tokenize
def meet(*args):  # both fill their folders before either publishes
    tokenize(*args)
    Path(sys.argv[2]).touch()
    for _ in range(6000):
        if not rival.exists():
            time.sleep(0.01)
shards._tokenize = meet
tokenizer = AlbertTokenizer.from_pretrained(sys.argv[4])
made = shards.prepare(folder, sys.argv[5:], tokenizer, shard_tokens=100, progress=False)
print(made.tokens, sum(made[i].ids.numel() for i in range(len(made))))
"""


def test_two_processes_prepare_one_folder(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Kills: shards of one process removed or replaced by the other, an error for the one that comes second."""
    tokenizer.save_pretrained(tmp_path / "t")
    folder, flags, other = (
        tmp_path / "cache" / "c",
        [tmp_path / "1", tmp_path / "2"],
        write(tmp_path / "b", "the end"),
    )

    def race(mine: Path, theirs: Path, *paths: Path) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", RACE, folder, mine, theirs, tmp_path / "t", *paths]
        return subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    first, second = race(*flags, text), race(*flags[::-1], text)
    found = [process.communicate(timeout=100) for process in (first, second)]
    total = sum(len(sentence) for document in naive(text, tokenizer) for sentence in document)
    assert [out for out, _ in found] == [f"{total} {total}\n"] * 2, found
    assert [path.name for path in folder.parent.iterdir()] == ["c"]
    rows = [row for part in restored(Shards.open(folder)) for document in part for row in document]
    assert rows == [row for document in naive(text, tokenizer) for row in document]

    shutil.rmtree(folder)
    for flag in flags:
        flag.unlink()
    found = [
        process.communicate(timeout=100)
        for process in (race(*flags, text), race(*flags[::-1], other))
    ]
    assert sorted(bool(out) for out, _ in found) == [
        False,
        True,
    ]  # and of another corpus, the second one says so
    assert sum("holds another corpus: gone: " in error for _, error in found) == 1, found
    assert [path.name for path in folder.parent.iterdir()] == ["c"]


def damage_index(folder: Path) -> None:
    (folder / "index.json").write_text("{")


def cut_shard(folder: Path) -> None:
    file = folder / "shard-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def lose_shard(folder: Path) -> None:
    (folder / "shard-00001.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (damage_index, r"index\.json is no index of a corpus"),
        (cut_shard, r"shard-00001\.safetensors has \d+ bytes, not \d+; remove the folder"),
        (lose_shard, r"shard-00001\.safetensors has no bytes, not \d+; remove the folder"),
    ],
)
def test_a_damaged_corpus_is_named(
    tmp_path: Path,
    text: Path,
    tokenizer: AlbertTokenizer,
    damage: Callable[[Path], None],
    match: str,
) -> None:
    """Kills: an error in the middle of training."""
    prepare(tmp_path / "c", [text], tokenizer, shard_tokens=100, progress=False)
    damage(tmp_path / "c")
    with pytest.raises(ValueError, match=match):
        Shards.open(tmp_path / "c")


def test_shards_are_mapped_and_few_at_a_time(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a corpus that is read into memory, a worker that gets a copy of it."""
    monkeypatch.setattr(shards, "OPEN", 4)
    made = prepare(tmp_path / "c", [text], tokenizer, shard_tokens=100, progress=False)
    assert len(made) > 2 * shards.OPEN
    for i in range(len(made)):
        assert made[i] is made[i]
    assert len(made._mapped) == shards.OPEN
    assert len(pickle.dumps(made)) < 500
    again = pickle.loads(pickle.dumps(made))
    assert again[1].ids.equal(made[1].ids)
    with pytest.raises(IndexError, match=f"shard {len(made)} is none of the {len(made)}"):
        made[len(made)]
    if (maps := Path("/proc/self/maps")).exists():
        assert str(tmp_path / "c" / "shard-00001.safetensors") in maps.read_text()


def test_text_that_tokenizes_to_nothing(tmp_path: Path, tokenizer: AlbertTokenizer) -> None:
    """Kills: an index without shards."""
    file = write(tmp_path / "a.txt", "\u0301\n")
    with pytest.raises(ValueError, match="tokenizes to nothing"):
        prepare(tmp_path / "c", [file], tokenizer, progress=False)
    with pytest.raises(ValueError, match="shard_tokens=0 must be at least 1"):
        prepare(tmp_path / "c", [file], tokenizer, shard_tokens=0)


@pytest.mark.assets
def test_real_texts(assets: Path) -> None:
    """Kills: an encoding error that names no file and no way out, a document cut in two."""
    speeches = assets / "data" / "state_union" / "state_union"
    with pytest.raises(ValueError, match=r"1954-Eisenhower\.txt is not utf-8: byte 0xbd at 27596"):
        list(sentences([speeches]))
    found = list(sentences([speeches], encoding="latin-1", units="sentences", documents="file"))
    assert found.count(None) == len(list(speeches.iterdir()))
    text = " ".join(
        " ".join(path.read_text(encoding="latin-1") for path in sorted(speeches.iterdir())).split()
    )
    assert " ".join(" ".join(filter(None, found)).split()) == text
