"""What a tokenizer returns: rows of numbers by name, padding, tensors, and the way back from tokens to text."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any

from tokenizers import Encoding

SIDES = {"left": "left", "right": "right"}
PADDING = {"longest": "longest", "max_length": "max_length", "do_not_pad": "do_not_pad",
           True: "longest", False: "do_not_pad"}  # fmt: skip
FILLS = {
    "token_type_ids": 0,
    "attention_mask": 0,
    "special_tokens_mask": 1,
    "offset_mapping": (0, 0),
}


class BatchEncoding(dict[str, Any]):
    """`input_ids`, `token_type_ids`, `attention_mask` and what was asked for, by key or attribute; lists or tensors.

    The methods that take `batch_index` tell which token came from which word and characters of which row. They need
    the encodings, which stay behind when a batch is pickled, copied or made by `pad`.
    """

    def __init__(
        self, data: Mapping[str, Any], encode: Callable[[], list[Encoding]] | None = None
    ) -> None:
        super().__init__(data)
        self._encode = encode

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this batch has no {name!r}; it has {', '.join(self)}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchEncoding, (dict(self),)

    @cached_property
    def encodings(self) -> list[Encoding]:
        """One `tokenizers.Encoding` per row, made when first asked for."""
        if self._encode is None:
            raise ValueError(
                "this batch was pickled, copied or made by pad(): ask the one that the tokenizer returned"
            )
        return self._encode()

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

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> tuple[int, int] | None:
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


def make_rows(text: Any, text_pair: Any, words: bool) -> tuple[list[Any], bool]:
    """One row per text, a pair as a tuple, with `words` each text as a list of words; and whether `text` is a batch.

    Raises TypeError for what is no text, ValueError for a batch that is empty or unlike `text_pair`.
    """

    def is_text(value: Any) -> bool:
        if words:
            return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)
        return isinstance(value, str)

    batched = isinstance(text, (list, tuple)) and not is_text(text)
    texts = text if batched else [text]
    if text_pair is None:
        pairs = [
            isinstance(row, (list, tuple)) and len(row) == 2 and not is_text(row) for row in texts
        ]
        rows = [tuple(row) if pair else (row,) for row, pair in zip(texts, pairs, strict=True)]
    elif batched and not (isinstance(text_pair, (list, tuple)) and len(text_pair) == len(text)):
        given = len(text_pair) if isinstance(text_pair, (list, tuple)) else type(text_pair).__name__
        raise ValueError(
            f"text is a batch of {len(text)}, so text_pair must be a list of {len(text)} too, not {given}"
        )
    else:
        rows = list(zip(texts, text_pair if batched else [text_pair], strict=True))
    if not rows:
        raise ValueError("the batch is empty; give at least one text")
    for part in chain.from_iterable(rows):
        if not is_text(part):
            wanted = "a list of words (is_split_into_words=True)" if words else "a str"
            raise TypeError(
                f"a text must be {wanted}, not {type(part).__name__}: {str(part)[:80]!r}"
            )
    if words:
        rows = [tuple(map(list, row)) for row in rows]  # or a tuple of two words would be a pair
    return [row if len(row) == 2 else row[0] for row in rows], batched


def is_plain(row: Any) -> bool:
    """Whether a text, a pair or a list of words has only printable ASCII and single spaces."""
    if isinstance(row, str):
        return row.isascii() and row.isprintable() and "  " not in row
    return all(map(is_plain, row))


def pad_batch(
    data: dict[str, Any],
    padding: Any,
    max_length: int,
    multiple: int | None,
    side: str,
    pad_id: int,
) -> int:
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
            data[name] = [row + [fill] * (width - len(row)) for row in data[name]]
        elif name in data:
            data[name] = [[fill] * (width - len(row)) + row for row in data[name]]
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


def to_tensors(data: dict[str, Any], return_tensors: str | None) -> dict[str, Any]:
    """Lists as tensors: whole numbers as int64, others as float32. ValueError for rows that differ in length."""
    if return_tensors is None:
        return data
    choice("return_tensors", return_tensors, {"pt": "pt"})
    return {name: _to_tensor(name, value) for name, value in data.items()}


def _to_tensor(name: str, value: Any) -> Any:
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
    return (
        torch.frombuffer(numbers, dtype=torch.int64).view(len(value), -1)
        if numbers
        else torch.tensor(value).long()
    )
