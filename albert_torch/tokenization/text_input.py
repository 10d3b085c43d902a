"""The texts that a tokenizer is called with, as a list of rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

# What a tokenizer is called with: one text or several, or several pairs of texts.
TextOrWords = str | Sequence[str]
TextInput = TextOrWords | Sequence[TextOrWords] | Sequence[tuple[TextOrWords, ...]]


def make_rows(text: Any, text_pair: Any, is_split_into_words: bool) -> tuple[list[Any], bool]:
    """Check the arguments of a call, and return one row for each text or pair.

    Args:
        text: One text, a batch of texts, or a batch of pairs.
        text_pair: The second text of each pair, or None.
        is_split_into_words: Whether a text is a list of words instead of a string.

    Returns:
        The rows, which are texts or tuples of two texts, and whether `text` is a batch.

    Raises:
        TypeError: Something is not a text.
        ValueError: The batch is empty, or `text_pair` is not a batch of the same size.
    """
    is_batch = isinstance(text, (list, tuple)) and not _is_text(text, is_split_into_words)
    rows: list[tuple[Any, ...]]
    if text_pair is not None:
        rows = _pair_up(text, text_pair, is_batch)
    elif is_batch:
        rows = [
            (row,) if isinstance(row, str) else _as_tuple(row, is_split_into_words) for row in text
        ]
    else:
        rows = [(text,)]
    if not rows:
        raise ValueError("the batch is empty; pass at least one text")
    for part in chain.from_iterable(rows):
        if not _is_text(part, is_split_into_words):
            expected = (
                "a list of words (is_split_into_words=True)" if is_split_into_words else "a str"
            )
            raise TypeError(
                f"a text must be {expected}, not {type(part).__name__}: {str(part)[:80]!r}"
            )
    if is_split_into_words:
        # The Rust library takes a tuple of two words for a pair.
        rows = [tuple(map(list, row)) for row in rows]
    return [row if len(row) == 2 else row[0] for row in rows], is_batch


def _is_text(value: Any, is_split_into_words: bool) -> bool:
    if is_split_into_words:
        return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)
    return isinstance(value, str)


def _as_tuple(row: Any, is_split_into_words: bool) -> tuple[Any, ...]:
    """Return the texts of a row, which is a text or a pair."""
    is_pair = (
        isinstance(row, (list, tuple)) and len(row) == 2 and not _is_text(row, is_split_into_words)
    )
    return tuple(row) if is_pair else (row,)


def _pair_up(text: Any, text_pair: Any, is_batch: bool) -> list[tuple[Any, ...]]:
    """Return the pairs of two arguments."""
    if not is_batch:
        return [(text, text_pair)]
    is_pair_batch = isinstance(text_pair, (list, tuple))
    if not is_pair_batch or len(text_pair) != len(text):
        given = len(text_pair) if is_pair_batch else type(text_pair).__name__
        raise ValueError(
            f"text is a batch of {len(text)}, so text_pair must be a list of {len(text)} too, "
            f"not {given}"
        )
    return list(zip(text, text_pair, strict=True))


def is_plain(row: Any) -> bool:
    """Whether a text, a pair or a list of words has only printable ASCII and single spaces."""
    if isinstance(row, str):
        return row.isascii() and row.isprintable() and "  " not in row
    return all(map(is_plain, row))
