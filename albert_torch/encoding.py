"""What a tokenizer returns: rows of numbers by name, padding, tensors, and the way back from tokens to text."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from tokenizers import Encoding

SIDES = {"left": "left", "right": "right"}
PADDING: dict[Any, str] = {name: name for name in ("longest", "max_length", "do_not_pad")}
PADDING |= {True: "longest", False: "do_not_pad"}
FILLS = {"token_type_ids": 0, "attention_mask": 0, "special_tokens_mask": 1, "offset_mapping": (0, 0)}


class BatchEncoding(dict[str, Any]):
    """`input_ids`, `token_type_ids`, `attention_mask` and what was asked for, by key or attribute; lists or tensors.

    The methods that take `batch_index` tell which token came from which word and characters of which row. They need
    the encodings, which stay behind when a batch is pickled, copied or made by `pad`.
    """

    def __init__(self, data: Mapping[str, Any], encodings: Callable[[], list[Encoding]] | None = None) -> None:
        super().__init__(data)
        self._encodings: Callable[[], list[Encoding]] | list[Encoding] | None = encodings

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this batch has no {name!r}; it has {', '.join(self)}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchEncoding, (dict(self),)

    @property
    def encodings(self) -> list[Encoding]:
        """One `tokenizers.Encoding` per row, made when first asked for."""
        if self._encodings is None:
            raise ValueError("this batch was pickled, copied or made by pad(): ask the one that the tokenizer returned")
        if callable(self._encodings):
            self._encodings = self._encodings()
        return self._encodings

    def to(self, device: Any, *, non_blocking: bool = False) -> BatchEncoding:
        """Move the tensors to `device`, in place."""
        for name, value in self.items():
            if hasattr(value, "to"):
                self[name] = value.to(device, non_blocking=non_blocking)
        return self

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The pieces of a row, special tokens and padding included."""
        return self.encodings[batch_index].tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row, the number of its word; None for special tokens and padding."""
        return self.encodings[batch_index].word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row, 0 for the first text and 1 for the second; None for special tokens and padding."""
        return self.encodings[batch_index].sequence_ids

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that holds a character of a text (of row 0 when one number is given); None for a space."""
        encoding, index = self._row(batch_or_char_index, char_index)
        return encoding.char_to_token(index, sequence_index)

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> tuple[int, int] | None:
        """Start and end of a token in its text; None for special tokens."""
        encoding, index = self._row(batch_or_token_index, token_index)
        return encoding.token_to_chars(index)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> tuple[int, int] | None:
        """First token of a word and the one after its last."""
        encoding, index = self._row(batch_or_word_index, word_index)
        return encoding.word_to_tokens(index, sequence_index)

    def _row(self, first: int, second: int | None) -> tuple[Encoding, int]:
        return (self.encodings[0], first) if second is None else (self.encodings[first], second)


def make_rows(text: Any, text_pair: Any, batched: bool, words: bool) -> list[Any]:
    """One row per text; a pair is a tuple. With `words` each text is a list of words. TypeError for anything else."""
    if not batched:
        rows = [text if text_pair is None else (text, text_pair)]
    elif text_pair is None:
        rows = [row if isinstance(row, str) or (words and is_words(row)) else _pair(row) for row in text]
    elif isinstance(text_pair, (list, tuple)) and len(text_pair) == len(text):
        rows = list(zip(text, text_pair, strict=True))
    else:
        given = len(text_pair) if isinstance(text_pair, (list, tuple)) else type(text_pair).__name__
        raise ValueError(f"text is a batch of {len(text)}, so text_pair must be a list of {len(text)} too, not {given}")
    if not rows:
        raise ValueError("the batch is empty; give at least one text")
    for row in rows:
        for part in row if isinstance(row, tuple) else (row,):
            if not (isinstance(part, (list, tuple)) and is_words(part) if words else isinstance(part, str)):
                wanted = "a list of words (is_split_into_words=True)" if words else "a str"
                raise TypeError(f"a text must be {wanted}, not {type(part).__name__}: {str(part)[:80]!r}")
    return rows


def _pair(row: Any) -> Any:
    return tuple(row) if isinstance(row, (list, tuple)) and len(row) == 2 else row


def is_words(value: Any) -> bool:
    """Whether a list is one text in words, and not a batch."""
    return all(isinstance(word, str) for word in value)


def is_plain(row: Any) -> bool:
    """Whether a text, a pair or a list of words has only printable ASCII and single spaces."""
    if isinstance(row, str):
        return row.isascii() and row.isprintable() and "  " not in row
    return all(map(is_plain, row))


def pad_batch(data: dict[str, Any], padding: Any, max_length: int, multiple: int | None, side: str, pad_id: int) -> int:
    """Pad the rows of `data`, in place, and return their width (0 for no padding); longer rows stay as they are."""
    strategy = choice("padding", padding, PADDING)
    choice("padding_side", side, SIDES)
    if strategy == "do_not_pad":
        return 0
    width = max_length if strategy == "max_length" else max(map(len, data["input_ids"]), default=0)
    if multiple:
        width = -(-width // multiple) * multiple
    for name, fill in {**FILLS, "input_ids": pad_id}.items():
        if name in data and side == "right":
            data[name] = [[*row, *[fill] * (width - len(row))] for row in data[name]]
        elif name in data:
            data[name] = [[*[fill] * (width - len(row)), *row] for row in data[name]]
    return width


def choice(name: str, value: Any, allowed: Mapping[Any, str]) -> str:
    """What `value` stands for. Raises ValueError with the allowed values."""
    if isinstance(value, (str, bool, type(None))) and value in allowed:
        return allowed[value]
    raise ValueError(f"{name}={value!r} is none of {', '.join(map(repr, allowed))}")


def to_list(value: Any) -> Any:
    """Tensors, arrays and lists of them as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [to_list(item) for item in value] if isinstance(value, (list, tuple)) else value


def to_tensor(name: str, value: Any) -> Any:
    """A list as a tensor: whole numbers as int64, others as float32. ValueError for rows that differ in length."""
    import torch

    if not isinstance(value, list) or not value or not isinstance(value[0], list):
        return torch.as_tensor(value)
    widths = {len(row) for row in value}
    if len(widths) > 1:
        raise ValueError(
            f"rows of {name} have {min(widths)} to {max(widths)} items and make no tensor; "
            "pass padding=True (and truncation=True), or leave out return_tensors"
        )
    try:
        numbers = array("q", chain.from_iterable(value))  # several times as fast as torch.tensor
    except TypeError:  # offsets, or floats
        return torch.tensor(value)
    return torch.frombuffer(numbers, dtype=torch.int64).view(len(value), -1) if numbers else torch.tensor(value).long()
