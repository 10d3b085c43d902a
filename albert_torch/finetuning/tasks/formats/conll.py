"""CoNLL files: one word per line with its columns, and an empty line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from albert_torch.readers import read_texts

DOCUMENT_MARK = "-DOCSTART-"
_COLUMN = re.compile(r"[^ \t\r]+")  # other white space, such as U+00A0, can be part of a word

TaggedSentence = tuple[list[str], list[str]]
"""The words of a sentence and their tags."""


def read_conll(path: Path) -> Iterator[TaggedSentence]:
    """Yield the sentences of a CoNLL file (Tjong Kim Sang and De Meulder 2003).

    A line holds a word, any number of other columns and the tag, separated by spaces or tabs. Lines
    that start with -DOCSTART- end a sentence, as empty lines do.

    Raises:
        ValueError: A line holds a single column, or the file is not UTF-8.
    """
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(read_texts(path, format="txt"), 1):
        columns = _COLUMN.findall(line)
        if columns and columns[0] != DOCUMENT_MARK:
            if len(columns) < 2:
                raise ValueError(f"{path}, line {number}: {line!r} needs a word and a tag")
            words.append(columns[0])
            tags.append(columns[-1])
        elif words:
            yield words, tags
            words, tags = [], []
    if words:
        yield words, tags
