"""`BatchEncoding`: encoded texts as lists or tensors, and which tokens came from which text."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from tokenizers import Encoding

from albert_torch.tokenization.settings import resolve_choice

if TYPE_CHECKING:
    import torch

TENSOR_TYPES = {"pt": "pt"}


class BatchEncoding(dict[str, Any]):
    """Encoded texts: `input_ids`, `token_type_ids`, `attention_mask` and other columns.

    Values are lists or tensors. They can be accessed by key or as attributes.

    The methods below that have a `batch_index` tell which tokens came from which words and
    characters. They need the encodings of the Rust library, which are not kept when a batch is
    pickled or copied, and which a batch that `pad` has made does not have.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        make_encodings: Callable[[], list[Encoding]] | None = None,
    ) -> None:
        """Build a batch.

        Args:
            data: The columns by name.
            make_encodings: A function that returns the encodings of all rows, padded like `data`.
                It is called when they are needed for the first time.
        """
        super().__init__(data)
        self._make_encodings = make_encodings

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this batch has no {name!r}; it has {', '.join(self)}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchEncoding, (dict(self),)

    @cached_property
    def encodings(self) -> list[Encoding]:
        """The encoding of each row.

        Raises:
            ValueError: The batch was pickled, copied or made by `pad`.
        """
        if self._make_encodings is None:
            raise ValueError(
                "this batch was pickled, copied or made by pad(), so it does not know where its "
                "tokens come from; use the batch that the tokenizer returned"
            )
        return self._make_encodings()

    def to(self, device: str | int | torch.device, *, non_blocking: bool = False) -> BatchEncoding:
        """Move all tensors to a device, in place.

        Args:
            device: The device, as for `torch.Tensor.to`.
            non_blocking: Do not wait for the copies, if the memory allows it.

        Returns:
            This batch.
        """
        for name, value in self.items():
            if hasattr(value, "to"):
                self[name] = value.to(device, non_blocking=non_blocking)
        return self

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the pieces of a row, special tokens and padding included."""
        return self.encodings[batch_index].tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the number of each token's word; None for special tokens and padding."""
        return self.encodings[batch_index].word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return each token's text, 0 or 1 for a pair; None for special tokens and padding."""
        return self.encodings[batch_index].sequence_ids

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """Return the number of the token that contains a character, or None for a space.

        Args:
            batch_or_char_index: The number of the row; or of the character, in row 0, if no other
                number is given.
            char_index: The number of the character in its text.
            sequence_index: 1 for the second text of a pair.
        """
        encoding, index = self._locate(batch_or_char_index, char_index)
        return encoding.char_to_token(index, sequence_index)

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> tuple[int, int] | None:
        """Return where a token starts and ends in its text, or None for a special token.

        Args:
            batch_or_token_index: The number of the row; or of the token, in row 0, if no other
                number is given.
            token_index: The number of the token in its row.
        """
        encoding, index = self._locate(batch_or_token_index, token_index)
        return encoding.token_to_chars(index)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> tuple[int, int] | None:
        """Return the first token of a word, and the token after its last one.

        Args:
            batch_or_word_index: The number of the row; or of the word, in row 0, if no other number
                is given.
            word_index: The number of the word in its text.
            sequence_index: 1 for the second text of a pair.
        """
        encoding, index = self._locate(batch_or_word_index, word_index)
        return encoding.word_to_tokens(index, sequence_index)

    def _locate(self, first: int, second: int | None) -> tuple[Encoding, int]:
        """Return the encoding and the index in it; a single number is an index in row 0."""
        if second is None:
            return self.encodings[0], first
        return self.encodings[first], second


def to_list(value: Any) -> Any:
    """Return a tensor or an array as a list; also those inside lists and tuples."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [to_list(item) for item in value]
    return value


def to_tensors(data: dict[str, Any], return_tensors: str | None) -> dict[str, Any]:
    """Return lists as tensors: whole numbers as int64, other numbers as float32.

    Args:
        data: Columns by name.
        return_tensors: "pt" for PyTorch tensors; None returns `data` as it is.

    Raises:
        ValueError: The rows of a column differ in length, or `return_tensors` is unknown.
    """
    if return_tensors is None:
        return data
    resolve_choice("return_tensors", return_tensors, TENSOR_TYPES)
    return {name: _to_tensor(name, value) for name, value in data.items()}


def _to_tensor(name: str, value: Any) -> torch.Tensor:
    import torch

    is_matrix = isinstance(value, list) and len(value) > 0 and isinstance(value[0], list)
    if not is_matrix:
        return torch.as_tensor(value)
    lengths = {len(row) for row in value}
    if len(lengths) > 1:
        raise ValueError(
            f"rows of {name} have {min(lengths)} to {max(lengths)} items and do not make a tensor; "
            "pass padding=True (and truncation=True), or leave out return_tensors"
        )
    try:
        numbers = array("q", chain.from_iterable(value))  # several times as fast as torch.tensor
    except TypeError:  # offsets are tuples, and labels may be floating-point numbers
        return torch.tensor(value)
    if not numbers:
        return torch.tensor(value).long()
    return torch.frombuffer(numbers, dtype=torch.int64).view(len(value), -1)
