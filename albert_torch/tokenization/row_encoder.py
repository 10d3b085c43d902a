"""Rows of text -> encodings of the Rust library, with the ids of Google's tokenizer."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tokenizers import AddedToken, Encoding, Tokenizer, pre_tokenizers

from albert_torch.tokenization.exact_words import ExactWords
from albert_torch.tokenization.sentencepiece import SentencePiece
from albert_torch.tokenization.text_input import is_plain

logger = logging.getLogger(__name__)

# Special tokens that have an id; those for the start and the end of a text are among them.
TOKENS_IN_VOCABULARY = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
TRUNCATION_STRATEGIES: dict[str | bool | None, str] = {
    True: "longest_first",
    False: "do_not_truncate",
    None: "do_not_truncate",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
    "do_not_truncate": "do_not_truncate",
}


class Truncation(NamedTuple):
    """How rows are truncated; the arguments of the Rust library's `enable_truncation`.

    Attributes:
        max_length: The largest number of tokens in a row.
        stride: The number of tokens that the rows of one text share.
        strategy: A value of `TRUNCATION_STRATEGIES`.
        direction: "right" or "left": the side from which tokens are removed.
    """

    max_length: int
    stride: int
    strategy: str
    direction: str

    def check_room(self, special_tokens: int) -> None:
        """Check that there is room for text.

        Args:
            special_tokens: The number of special tokens that a row gets.

        Raises:
            ValueError: There is no room.
        """
        room = self.max_length - special_tokens
        if room < 0:
            raise ValueError(
                f"max_length={self.max_length} has no room for the {special_tokens} special "
                "tokens; raise it"
            )
        if self.stride and not 0 <= self.stride < room:
            raise ValueError(
                f"stride={self.stride} must be at least 0 and below {room}, which is "
                f"max_length={self.max_length} without the {special_tokens} special tokens"
            )


class EncodingRequest(NamedTuple):
    """Rows to encode, and how.

    Attributes:
        rows: Texts, or tuples of two texts. A text is a string or a list of words.
        truncation: How rows are truncated; None if they are not.
        is_pretokenized: Whether texts are lists of words.
        add_special_tokens: Whether rows get special tokens.
    """

    rows: list[Any]
    truncation: Truncation | None
    is_pretokenized: bool
    add_special_tokens: bool


class RowEncoder:
    """Encodes rows exactly as Google's tokenizer, and as fast as the Rust library allows.

    Rows are encoded by the Rust model. Plain text takes a shorter way. Rows that may differ from
    Google's tokenizer are encoded once more, with `ExactWords`.
    """

    def __init__(self, model: SentencePiece | None, do_lower_case: bool) -> None:
        """Prepare encoding.

        Args:
            model: The SentencePiece model. None: rows are encoded by the Rust library alone.
            do_lower_case: Whether text is converted to lower case.
        """
        self._exact_words = None if model is None else ExactWords(model)
        self._plain_text_steps = None if model is None else model.plain_text_steps(do_lower_case)

    def encode(
        self, backend: Tokenizer, request: EncodingRequest, need_offsets: bool
    ) -> list[Encoding]:
        """Encode each row.

        Args:
            backend: The tokenizer of the Rust library. It is not changed.
            request: What to encode.
            need_offsets: Whether encodings must have words and offsets, besides ids and types.

        Raises:
            ValueError: The rows cannot be encoded.
        """
        if self._exact_words is None:
            return _run(
                _share_model(backend, request.truncation), request, request.rows, need_offsets
            )
        # The steps for plain text give other offsets, and added tokens that are normalized would be
        # searched for in another text.
        may_use_plain_text_steps = not need_offsets and not any(
            token.normalized for token in added_tokens_of(backend)
        )
        if may_use_plain_text_steps:
            encodings = self._encode_by_kind_of_text(backend, request)
        else:
            own_backend = _share_model(backend, request.truncation)
            encodings = _run(own_backend, request, request.rows, need_offsets)
        self._encode_suspects_exactly(self._exact_words, backend, request, encodings)
        return encodings

    def encode_and_pad(
        self,
        backend: Tokenizer,
        request: EncodingRequest,
        encodings: list[Encoding] | None,
        padding: dict[str, Any],
    ) -> list[Encoding]:
        """Return encodings with words and offsets, padded.

        Args:
            backend: As for `encode`.
            request: As for `encode`.
            encodings: The encodings, if they have words and offsets already; otherwise None.
            padding: The arguments of the Rust library's `Encoding.pad`.
        """
        if encodings is None:
            encodings = self.encode(backend, request, need_offsets=True)
        for encoding in encodings:
            encoding.pad(**padding)
        return encodings

    def _encode_by_kind_of_text(
        self, backend: Tokenizer, request: EncodingRequest
    ) -> list[Encoding]:
        """Encode plain rows with the faster steps, and the others with all steps."""
        rows = request.rows
        row_is_plain = [is_plain(row) for row in rows]
        plain_rows = [row for row, plain in zip(rows, row_is_plain, strict=True) if plain]
        other_rows = [row for row, plain in zip(rows, row_is_plain, strict=True) if not plain]
        plain_encodings: list[Encoding] = []
        other_encodings: list[Encoding] = []
        if plain_rows:
            fast_backend = _share_model(backend, request.truncation, self._plain_text_steps)
            plain_encodings = _run(fast_backend, request, plain_rows)
        if other_rows:
            other_encodings = _run(_share_model(backend, request.truncation), request, other_rows)
        next_plain, next_other = iter(plain_encodings), iter(other_encodings)
        return [next(next_plain if plain else next_other) for plain in row_is_plain]

    @staticmethod
    def _encode_suspects_exactly(
        exact_words: ExactWords,
        backend: Tokenizer,
        request: EncodingRequest,
        encodings: list[Encoding],
    ) -> None:
        """Replace the encodings that may differ from those of Google's tokenizer, in place."""
        is_certain = exact_words.suspects.isdisjoint
        suspects = []
        for number, encoding in enumerate(encodings):
            certain = is_certain(encoding.ids)
            if certain and request.truncation is not None:
                # A suspect piece that was removed may have changed those before it.
                certain = all(is_certain(part.ids) for part in encoding.overflowing)
            if not certain:
                suspects.append(number)
        if not suspects:
            return
        exact_backend = _share_model(backend, request.truncation)
        exact_backend.pre_tokenizer = pre_tokenizers.Sequence(
            [backend.pre_tokenizer, pre_tokenizers.PreTokenizer.custom(exact_words)]
        )
        rows = [request.rows[number] for number in suspects]
        exact_encodings = _run(exact_backend, request, rows, need_offsets=True)
        for number, encoding in zip(suspects, exact_encodings, strict=True):
            encodings[number] = encoding


def _share_model(backend: Tokenizer, truncation: Truncation | None, steps: Any = None) -> Tokenizer:
    """Return a tokenizer that shares the model with `backend`.

    Truncation is a state of the Rust tokenizer, so every call gets a tokenizer of its own (which
    takes 10 microseconds). Otherwise, calls from several threads would change each other's.

    Args:
        backend: The tokenizer.
        truncation: How rows are truncated; None if they are not.
        steps: Another normalizer and pre-tokenizer.
    """
    new_backend = Tokenizer(backend.model)
    normalizer, pre_tokenizer = steps or (backend.normalizer, backend.pre_tokenizer)
    new_backend.normalizer = normalizer
    new_backend.pre_tokenizer = pre_tokenizer
    new_backend.post_processor = backend.post_processor
    new_backend.add_tokens(added_tokens_of(backend))
    if truncation is not None:
        new_backend.enable_truncation(**truncation._asdict())
    return new_backend


def _run(
    backend: Tokenizer, request: EncodingRequest, rows: list[Any], need_offsets: bool = False
) -> list[Encoding]:
    """Encode some rows of a request.

    Raises:
        ValueError: The rows cannot be encoded.
    """
    encode_batch = backend.encode_batch if need_offsets else backend.encode_batch_fast
    try:
        return encode_batch(
            rows,
            is_pretokenized=request.is_pretokenized,
            add_special_tokens=request.add_special_tokens,
        )
    except BaseException as error:
        # The Rust library raises plain Exception, and its panics are not even that.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if re.search("[\ud800-\udfff]", json.dumps(rows, ensure_ascii=False)):
            raise ValueError(
                "a text contains a lone surrogate (U+D800 to U+DFFF), which is not a character; "
                "decode its bytes again"
            ) from error
        truncation = f" with {request.truncation}" if request.truncation else ""
        raise ValueError(f"cannot encode the text{truncation}: {error}") from error


def added_tokens_of(backend: Tokenizer) -> list[AddedToken]:
    """Return all added tokens, by id."""
    return [token for _, token in sorted(backend.get_added_tokens_decoder().items())]


def with_overflow(encodings: list[Encoding]) -> tuple[list[Encoding], list[int]]:
    """Put what did not fit into a row after it.

    Returns:
        All encodings, and for each the number of its row.
    """
    all_encodings: list[Encoding] = []
    row_numbers: list[int] = []
    for number, encoding in enumerate(encodings):
        parts = [encoding, *encoding.overflowing]
        all_encodings += parts
        row_numbers += [number] * len(parts)
    return all_encodings, row_numbers


def declare_special_tokens(backend: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Declare the special tokens, which also adds those that the vocabulary does not have.

    Args:
        backend: The tokenizer of the Rust library, which is changed.
        settings: The special tokens by name.
    """
    declared = {token.content for token in added_tokens_of(backend)}
    new_tokens = [
        # The space before [MASK] is part of the token, since it stands for a word.
        AddedToken(settings[name], lstrip=name == "mask_token", normalized=False, special=True)
        for name in TOKENS_IN_VOCABULARY
        if settings[name] not in declared
    ]
    contents = [token.content for token in new_tokens]
    missing = [content for content in contents if backend.token_to_id(content) is None]
    if missing:
        logger.warning(
            "the vocabulary does not have %s; added at its end, so the model's embeddings must be "
            "resized",
            ", ".join(missing),
        )
    backend.add_tokens(new_tokens)
