"""CoNLL files: words, tags and sentences."""

from pathlib import Path

import pytest

from albert_torch.finetuning.tasks.formats.conll import read_conll


def test_sentences_of_a_file(tmp_path: Path) -> None:
    """Kills: a last sentence without an empty line lost, a document mark taken for a word, a word
    cut at a space that is part of it, line ends of Windows kept in the tag.
    """
    text = (
        "\ufeff-DOCSTART- -X- O O\r\n\r\nEU NNP I-NP B-ORG\r\n\n\n \t\nten\u00a0thousand\tB-X\n"
        "\u2028 O\n-DOCSTART- O\nlast O"
    )
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert list(read_conll(tmp_path / "a.txt")) == [
        (["EU"], ["B-ORG"]),
        (["ten\u00a0thousand", "\u2028"], ["B-X", "O"]),
        (["last"], ["O"]),
    ]


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    """Kills: a word without a tag that becomes its own tag."""
    (tmp_path / "a.txt").write_text("one O\ntwo\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: 'two' needs a word and a tag"):
        list(read_conll(tmp_path / "a.txt"))
    (tmp_path / "a.txt").write_bytes(b"one O\n\xe4 O\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 2 is not UTF-8"):
        list(read_conll(tmp_path / "a.txt"))
