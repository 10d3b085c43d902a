"""Prepared corpora against naive tokenization; several processes, killed ones, full disks."""

import errno
import json
import os
import pickle
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from helpers.small_corpus import letter_tokenizer, tokenize_documents, write, write_documents
from safetensors import SafetensorError
from tokenizers import Tokenizer

from albert_torch.pretraining import prepare, shard_writer
from albert_torch.pretraining.corpus import CorpusFormat
from albert_torch.pretraining.prepare import prepare_shards, tokenizer_fingerprint
from albert_torch.pretraining.shards import Shards
from albert_torch.tokenization.tokenizer import AlbertTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> AlbertTokenizer:
    return letter_tokenizer()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_documents(tmp_path / "text.txt")


def documents_of_shards(shards: Shards) -> Iterator[list[list[list[int]]]]:
    """Yield the documents of each shard, as lists of sentences of ids."""
    for number in range(len(shards)):
        shard = shards[number]
        ids = shard.ids.tolist()
        sentence_starts, document_starts = shard.sentences.tolist(), shard.documents.tolist()
        sentences = [ids[start:stop] for start, stop in pairwise(sentence_starts)]
        assert (sentence_starts[-1], document_starts[-1]) == (len(ids), len(sentences))
        yield [sentences[first:last] for first, last in pairwise(document_starts)]


@pytest.mark.parametrize("shard_tokens", [1, 50, 333, 2**20])
@pytest.mark.parametrize("batch_sentences", [1, 7, 2000])
def test_shards_hold_every_sentence(
    tmp_path: Path,
    text: Path,
    tokenizer: AlbertTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    shard_tokens: int,
    batch_sentences: int,
) -> None:
    """Catches: a sentence lost where a batch or shard ends, empty sentences, a wrong offset."""
    monkeypatch.setattr(prepare, "MAX_BATCH_SENTENCES", batch_sentences)
    shards = prepare_shards(
        tmp_path / "c", [text], tokenizer, shard_tokens=shard_tokens, progress=False
    )
    by_shard = list(documents_of_shards(shards))
    expected = tokenize_documents(text, tokenizer)
    sentences = [sentence for document in expected for sentence in document]
    assert [s for documents in by_shard for document in documents for s in document] == sentences
    assert all(document and all(document) for documents in by_shard for document in documents)
    assert (shards.tokens, shards.sentence_count) == (sum(map(len, sentences)), len(sentences))
    assert shards.document_count == sum(map(len, by_shard))
    if shard_tokens == 2**20:
        assert by_shard == [expected]
    sizes = [shards[number].ids.numel() for number in range(len(shards))]
    longest = max(map(len, sentences))
    assert all(shard_tokens <= size < shard_tokens + longest for size in sizes[:-1])
    # A document ends where it ends in the text or where a shard ends, and nowhere else.
    document_ends = set(accumulate(len(doc) for documents in by_shard for doc in documents))
    shard_ends = set(accumulate(sum(map(len, documents)) for documents in by_shard))
    assert document_ends == shard_ends | set(accumulate(map(len, expected)))


def test_a_prepared_corpus_is_not_read_again(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: tokenizing for an hour at every start."""
    folder = tmp_path / "c"
    prepared = prepare_shards(folder, [text], tokenizer, progress=False)
    monkeypatch.setattr(
        prepare, "read_sentences", lambda *args: pytest.fail("the corpus was read again")
    )
    assert prepare_shards(folder, [text], tokenizer, progress=False).tokens == prepared.tokens
    tokenizer.save_pretrained(tmp_path / "t")
    saved = AlbertTokenizer.from_pretrained(tmp_path / "t")
    assert prepare_shards(folder, [text], saved, progress=False).entries == prepared.entries


def test_the_corpus_of_something_else_is_refused(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Catches: training on the shards of another corpus or tokenizer."""
    folder = tmp_path / "c"
    prepare_shards(folder, [text], tokenizer, progress=False)
    tokenizer.save_pretrained(tmp_path / "t")
    cased = AlbertTokenizer.from_pretrained(tmp_path / "t", do_lower_case=False)
    match = r"c contains another corpus: tokenizer was '\w+', is '\w+'\. Undo the change"
    with pytest.raises(ValueError, match=match):
        prepare_shards(folder, [text], cased, progress=False)
    by_sentences = CorpusFormat(sentence_splitting="sentences")
    match = "sentence_splitting was 'lines', is 'sentences'; shard_tokens was 1048576, is 5"
    with pytest.raises(ValueError, match=match):
        prepare_shards(folder, [text], tokenizer, by_sentences, shard_tokens=5, progress=False)
    match = "the same files come in another order, or another number of times"
    with pytest.raises(ValueError, match=match):
        prepare_shards(folder, [text, text], tokenizer, progress=False)
    text.write_text("changed")
    match = r"removed: name text\.txt, bytes \d+, hash \w+; new: name text\.txt, bytes 7, hash \w+"
    with pytest.raises(ValueError, match=match):
        prepare_shards(folder, [text], tokenizer, progress=False)


def test_a_fingerprint_survives_saving_and_use(tmp_path: Path, tokenizer: AlbertTokenizer) -> None:
    """Catches: a corpus that is tokenized again because of padding or truncation."""
    tokenizer.save_pretrained(tmp_path / "t")
    again = AlbertTokenizer.from_pretrained(tmp_path / "t")
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(tokenizer)
    again([["a"]], padding=True, truncation=True, max_length=3, is_split_into_words=True)
    again.backend_tokenizer.enable_padding()
    again.backend_tokenizer.enable_truncation(5)
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(tokenizer)


@pytest.mark.parametrize("part", ["normalizer", "scores", "added"])
def test_a_fingerprint_depends_on_everything_that_determines_ids(
    tokenizer: AlbertTokenizer, part: str
) -> None:
    """Catches: the shards of a tokenizer with the same pieces but other ids."""
    other = pickle.loads(pickle.dumps(tokenizer))
    assert tokenizer_fingerprint(other) == tokenizer_fingerprint(tokenizer)
    state = json.loads(other.backend_tokenizer.to_str())
    if part == "normalizer":
        state["normalizer"] = None
    elif part == "scores":
        state["model"]["vocab"][7][1] -= 0.25
    else:
        state["added_tokens"][0]["lstrip"] = True
    other.backend_tokenizer = Tokenizer.from_str(json.dumps(state))
    assert other.get_vocab() == tokenizer.get_vocab()
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer)


@pytest.mark.parametrize("failing", ["shard-00003", "index"])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path,
    text: Path,
    tokenizer: AlbertTokenizer,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
) -> None:
    """Catches: a disk that stays full, part of a corpus taken for all of it, no advice."""
    folder, save_file, write_text = tmp_path / "c", safetensors.torch.save_file, Path.write_text

    def save_file_on_full_disk(tensors: Any, path: Path) -> None:
        if failing in path.name:
            raise SafetensorError("No space left on device")
        save_file(tensors, path)

    def write_text_on_full_disk(path: Path, *args: Any, **kwargs: Any) -> int:
        if failing in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *args, **kwargs)

    monkeypatch.setattr(shard_writer, "save_file", save_file_on_full_disk)
    monkeypatch.setattr(Path, "write_text", write_text_on_full_disk)
    match = r"could not save \(.*No space left on device\).*Free disk space"
    with pytest.raises(OSError, match=match):
        prepare_shards(folder, [text], tokenizer, shard_tokens=100, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    with pytest.raises(FileNotFoundError, match=r"there is no index\.json"):
        Shards.open(folder)


def test_an_incomplete_corpus_is_started_again(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Catches: a preparation that was killed taken for a complete one, its shards among others."""
    folder = tmp_path / "c"
    for name in (
        "shard-00000.safetensors",
        "shard-00007.safetensors",
        ".shard-00008.safetensors.partial",
    ):
        write(folder / name, "x")
    shards = prepare_shards(folder, [text], tokenizer, progress=False)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.json",
        "shard-00000.safetensors",
    ]
    assert list(documents_of_shards(shards)) == [tokenize_documents(text, tokenizer)]


def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path, tokenizer: AlbertTokenizer
) -> None:
    """Catches: a user's files removed, an hour of work before the folder is found to be taken."""
    own_file = write(tmp_path / "c" / "mine.txt", "x")
    match = r"c is not a prepared corpus \(.*\); give another `cache`"
    with pytest.raises(ValueError, match=match):
        prepare_shards(tmp_path / "c", [tmp_path / "c"], tokenizer, progress=False)
    assert own_file.read_text() == "x"


def test_what_killed_processes_left_is_removed(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Catches: a disk that fills up with every killed process, the folder of a running one lost."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    host = platform.node()
    abandoned = [f".c.{host}.{ended.pid}", f".c.{host}.{os.getpid()}"]
    foreign = [
        f".c.{host}.{os.getppid()}",
        f".c.elsewhere.{ended.pid}",
        f".d.{host}.{ended.pid}",
        f"{ended.pid}",
    ]
    for name in [*abandoned, *foreign]:
        write(tmp_path / name / "shard-00009.safetensors", "x")
    prepare_shards(tmp_path / "c", [text], tokenizer, progress=False)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([*foreign, "c", "text.txt"])
    assert all((tmp_path / name / "shard-00009.safetensors").exists() for name in foreign)
    assert not (tmp_path / "c" / "shard-00009.safetensors").exists()


# Prepares a corpus, but publishes it only when the other process has filled its folder too.
RACE = """
import sys, time
from pathlib import Path
from albert_torch.pretraining import prepare
from albert_torch.tokenization import AlbertTokenizer

folder, own_flag, other_flag = map(Path, sys.argv[1:4])
write_sentences = prepare.write_sentences

def write_sentences_and_wait(*args):
    write_sentences(*args)
    own_flag.touch()
    for _ in range(6000):
        if not other_flag.exists():
            time.sleep(0.01)

prepare.write_sentences = write_sentences_and_wait
tokenizer = AlbertTokenizer.from_pretrained(sys.argv[4])
shards = prepare.prepare_shards(
    folder, sys.argv[5:], tokenizer, shard_tokens=100, progress=False
)
print(shards.tokens, sum(shards[number].ids.numel() for number in range(len(shards))))
"""


def run_race(
    folder: Path, flags: list[Path], tokenizer_folder: Path, paths: list[Path]
) -> list[tuple[str, str]]:
    """Prepare each of `paths` in the same folder at the same time; return stdout and stderr."""
    processes = []
    for own_flag, other_flag, path in zip(flags, reversed(flags), paths, strict=True):
        own_flag.unlink(missing_ok=True)
        arguments = [str(p) for p in (folder, own_flag, other_flag, tokenizer_folder, path)]
        processes.append([sys.executable, "-c", RACE, *arguments])
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in processes
    ]
    return [process.communicate(timeout=100) for process in running]


def test_two_processes_prepare_one_folder(
    tmp_path: Path, text: Path, tokenizer: AlbertTokenizer
) -> None:
    """Catches: shards of one process replaced by the other's, an error for the second one."""
    tokenizer.save_pretrained(tmp_path / "t")
    folder, flags = tmp_path / "cache" / "c", [tmp_path / "1", tmp_path / "2"]
    outputs = run_race(folder, flags, tmp_path / "t", [text, text])
    expected = [ids for document in tokenize_documents(text, tokenizer) for ids in document]
    total = sum(map(len, expected))
    assert [stdout for stdout, _ in outputs] == [f"{total} {total}\n"] * 2, outputs
    assert [path.name for path in folder.parent.iterdir()] == ["c"]
    by_shard = documents_of_shards(Shards.open(folder))
    assert [ids for documents in by_shard for document in documents for ids in document] == expected

    shutil.rmtree(folder)
    other_text = write(tmp_path / "b", "the end")
    outputs = run_race(folder, flags, tmp_path / "t", [text, other_text])
    assert sorted(bool(stdout) for stdout, _ in outputs) == [False, True]  # one process fails
    refused = ["contains another corpus: removed: " in stderr for _, stderr in outputs]
    assert sum(refused) == 1, outputs
    assert [path.name for path in folder.parent.iterdir()] == ["c"]


def test_a_corpus_without_tokens_is_refused(tmp_path: Path, tokenizer: AlbertTokenizer) -> None:
    """Catches: an index without shards."""
    file = write(tmp_path / "a.txt", "\u0301\n")
    with pytest.raises(ValueError, match="contains nothing that the tokenizer turns into tokens"):
        prepare_shards(tmp_path / "c", [file], tokenizer, progress=False)
    with pytest.raises(ValueError, match="shard_tokens=0 must be at least 1"):
        prepare_shards(tmp_path / "c", [file], tokenizer, shard_tokens=0)
