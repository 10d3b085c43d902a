"""`TextModel`: an optimized model with its tokenizer; windows of texts, batches of rows."""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from albert_torch.heads import AlbertHeadModel
from albert_torch.inference.optimize import OptimizedAlbert
from albert_torch.inference.scheduling import CHUNK_TOKENS, split_evenly
from albert_torch.tokenization.tokenizer import AlbertTokenizer

WINDOW_TEXTS = 512
"""How many texts are held in memory, and sorted by length, at a time."""

BATCH_TOKENS = 4 * CHUNK_TOKENS
"""How many tokens are computed at a time: full chunks for two or four workers."""

FEW_TOKENS = 1024
"""Up to this many tokens leave little memory behind: trimming the heap takes a millisecond."""

Text = str | tuple[str, str]
"""A text, or a pair of texts."""


class TokenizedText(NamedTuple):
    """The ids of a text's tokens, and the segment that each token belongs to."""

    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]


class TextModel:
    """An optimized model with its tokenizer.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        max_length: Longer texts are truncated to this many tokens, special tokens included. None
            means as many as the model takes.

    Raises:
        ValueError: If the model does not take `max_length` tokens.
    """

    def __init__(
        self, model: OptimizedAlbert, tokenizer: AlbertTokenizer, max_length: int | None = None
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, model.config
        limit = min(self.config.max_position_embeddings, tokenizer.model_max_length)
        if max_length is not None and not 3 <= max_length <= limit:
            raise ValueError(
                f"max_length={max_length} must be from 3 to {limit}, the most that the model takes"
            )
        self.max_length = limit if max_length is None else max_length

    def tokenize_windows(self, texts: Iterable[Text]) -> Iterator[list[TokenizedText]]:
        """Tokenize `WINDOW_TEXTS` texts at a time, one window ahead in a thread."""
        remaining = iter(texts)

        def read_window() -> list[TokenizedText]:
            window = list(islice(remaining, WINDOW_TEXTS))
            if not window:
                return []
            batch = self.tokenizer(window, truncation=True, max_length=self.max_length)
            return [
                TokenizedText(tuple(input_ids), tuple(token_type_ids))
                for input_ids, token_type_ids in zip(
                    batch["input_ids"], batch["token_type_ids"], strict=True
                )
            ]

        with ThreadPoolExecutor(1) as thread:
            next_window = thread.submit(read_window)
            while tokenized := next_window.result():
                next_window = thread.submit(read_window)
                yield tokenized

    def require_head(self, head_class: type[AlbertHeadModel]) -> None:
        """Check that the model has this head, or another one with the same kind of output.

        Raises:
            ValueError: If it does not.
        """
        model_class = self.model.model_class
        output_class = getattr(model_class, "output_class", object)
        has_same_output = issubclass(output_class, head_class.output_class)
        if not has_same_output and not issubclass(model_class, head_class):
            raise ValueError(
                f"this needs an {head_class.__name__}, not an {model_class.__name__}: load a "
                "checkpoint of that class"
            )


def iter_batches(row_lengths: Sequence[int], batch_tokens: int) -> Iterator[range]:
    """Divide rows that are sorted by length into batches of similar size.

    After each batch, freed memory is returned to the system, unless there are only a few tokens.

    Args:
        row_lengths: Number of tokens of each row.
        batch_tokens: About how many tokens a batch may have.

    Yields:
        The indices of the rows of each batch.
    """
    total_tokens = sum(row_lengths)
    for indices in split_evenly(row_lengths, math.ceil(total_tokens / batch_tokens)):
        yield indices
        if total_tokens > FEW_TOKENS:
            _trim_heap()


def _trim_heap() -> None:
    """Return freed memory to the system.

    glibc keeps it, in pieces into which the next batch does not fit: 200 MB after some batches.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
