"""A SentencePiece model on the Rust `tokenizers` library, with the ids of Google's tokenizer.

Google's tokenizer (tokenization.py of google-research/albert) cleans the text, runs SentencePiece,
then cuts the comma off every piece that ends in a digit and a comma. The Rust model gives the same
result in nearly all cases when the scores of such pieces are lowered, so that they are avoided.
`exact_words` handles the other cases.
"""

from __future__ import annotations

import base64
import functools
import math
import struct
import unicodedata
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from albert_torch.tokenization.protobuf import read_fields

SPACE = "▁"  # how SentencePiece writes a space, U+2581
# The amount by which the score of a piece that ends in a digit and a comma is lowered, here and in
# the tokenizer.json files of the Hub.
LOWERED_BY = 100.0

# Fields of the protobuf message ModelProto.
_PIECES, _TRAINER_SPEC, _NORMALIZER_SPEC = 1, 2, 3
# Fields of ModelProto.SentencePiece.
_PIECE_TEXT, _PIECE_SCORE, _PIECE_TYPE = 1, 2, 3
# Values of ModelProto.SentencePiece.Type.
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
# Fields of TrainerSpec and NormalizerSpec.
_MODEL_TYPE = 3
_PRECOMPILED_CHARSMAP = 2
# Values of TrainerSpec.ModelType.
_UNIGRAM = 1
_MODEL_TYPE_NAMES = {_UNIGRAM: "unigram", 2: "BPE", 3: "word", 4: "char"}
# For each field that changes the ids: its name, and the only value that the pipeline here
# implements, which is also the default of the field.
_REQUIRED_SETTINGS = {
    _TRAINER_SPEC: {24: ("treat_whitespace_as_suffix", 0), 35: ("byte_fallback", 0)},
    _NORMALIZER_SPEC: {
        3: ("add_dummy_prefix", 1),
        4: ("remove_extra_whitespaces", 1),
        5: ("escape_whitespaces", 1),
    },
}

# Characters that `str.split`, which Google's code uses, takes for white space, but not the Rust
# library.
_ADDITIONAL_WHITE_SPACE = Regex(r"[\x0b\x1c-\x1f]")
# The mark of a space at the start of a word: after white space, or at the start of the text.
_SPACE_AT_WORD_START = Regex(rf"(?<!\S){SPACE}")


class SentencePiece:
    """A SentencePiece unigram model.

    Attributes:
        pieces: The text and score of each piece, by id.
        unk_id: The id of the unknown piece.
        controls: The pieces that never occur in text, such as "[CLS]" and the unknown piece.
        charsmap: The table of character replacements (precompiled_charsmap), or b"".
        unigram: The model of the Rust library, with lowered scores.
    """

    def __init__(
        self,
        pieces: list[tuple[str, float]],
        unk_id: int,
        controls: frozenset[str],
        charsmap: bytes,
    ) -> None:
        """Build the model.

        Raises:
            ValueError: A piece is empty or occurs twice, or a score is not a finite number.
            Exception: The Rust library refuses the pieces or the table of characters.
        """
        for number, (piece, score) in enumerate(pieces):
            if not piece or not math.isfinite(score):
                raise ValueError(f"piece {number} is empty or its score is not a finite number")
        if len({piece for piece, _ in pieces}) != len(pieces):
            raise ValueError("a piece occurs twice")
        self.pieces = pieces
        self.unk_id = unk_id
        self.controls = controls
        self.charsmap = charsmap
        lowered = [
            (piece, score - LOWERED_BY if ends_in_digit_comma(piece) else score)
            for piece, score in pieces
        ]
        self.unigram = models.Unigram(lowered, unk_id)
        self._character_map = [normalizers.Precompiled(charsmap)] if charsmap else []

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> SentencePiece:
        """Read the protobuf message of a `spiece.model`.

        Args:
            data: The contents of the file.
            name: The name of the file, for error messages.

        Raises:
            ValueError: `data` is anything but a unigram model that this package can use.
        """
        try:
            return cls._parse(data)
        except Exception as error:  # the Rust library raises plain Exception
            raise ValueError(
                f"{name} ({len(data)} bytes) is not a SentencePiece unigram model: {error}; "
                "download the file again"
            ) from error

    @classmethod
    def _parse(cls, data: bytes) -> SentencePiece:
        pieces: list[tuple[str, float]] = []
        piece_types: list[int] = []
        charsmap = b""
        for field, value in read_fields(data):
            if field == _PIECES:
                text, score, piece_type = _parse_piece(value)
                pieces.append((text, score))
                piece_types.append(piece_type)
            elif field in _REQUIRED_SETTINGS:
                settings = dict(read_fields(value))
                _check_settings(field, settings)
                if field == _NORMALIZER_SPEC:
                    charsmap = settings.get(_PRECOMPILED_CHARSMAP, b"")
        unknown_count = piece_types.count(_UNKNOWN)
        if unknown_count != 1:
            raise ValueError(
                f"it has {len(pieces)} pieces, {unknown_count} of them of type unknown instead of 1"
            )
        controls = frozenset(
            text
            for (text, _), piece_type in zip(pieces, piece_types, strict=True)
            if piece_type in (_UNKNOWN, _CONTROL)
        )
        return cls(pieces, piece_types.index(_UNKNOWN), controls, charsmap)

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> SentencePiece | None:
        """Read the model from a parsed `tokenizer.json`.

        Returns:
            The model, or None if the file contains another pipeline than ALBERT's.

        Raises:
            Exception: A value is missing or has another type than it should.
        """
        steps = (spec.get("normalizer") or {}).get("normalizers", [])
        # Only ALBERT's pipeline replaces the quotation marks of LaTeX.
        quote_rule = {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
        if spec["model"].get("type") != "Unigram" or quote_rule not in steps:
            return None
        pieces = [(str(piece), float(score)) for piece, score in spec["model"]["vocab"]]
        # Lowered scores lie far below all others, so they can be recognized and raised again.
        lowest = min(score for piece, score in pieces if not ends_in_digit_comma(piece))
        threshold = lowest - LOWERED_BY / 2
        pieces = [
            (piece, score + LOWERED_BY if score < threshold else score) for piece, score in pieces
        ]
        controls = frozenset(token["content"] for token in spec["added_tokens"] if token["special"])
        charsmaps = [
            step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"
        ]
        charsmap = base64.b64decode(charsmaps[0]) if charsmaps else b""
        return cls(pieces, spec["model"]["unk_id"], controls, charsmap)

    def pipeline(self, do_lower_case: bool, keep_accents: bool, remove_space: bool) -> Tokenizer:
        """Return a tokenizer of the Rust library that treats text as Google's code does.

        It has a normalizer, a pre-tokenizer, the model and a decoder, but no special tokens and no
        post-processor yet.

        Args:
            do_lower_case: Convert text to lower case.
            keep_accents: Keep combining characters, and do not decompose characters (NFKD).
            remove_space: Treat all white space alike; otherwise only spaces separate words.
        """
        steps: list[normalizers.Normalizer] = []
        if remove_space:
            steps.append(normalizers.Replace(_ADDITIONAL_WHITE_SPACE, " "))
        steps += _quote_steps()
        if not keep_accents:
            combining = Regex(_combining_characters())
            steps += [normalizers.NFKD(), normalizers.Replace(combining, "")]
        if do_lower_case:
            steps.append(normalizers.Lowercase())
        steps += self._character_map
        # Metaspace puts the mark of a space before every word, except before a word that starts
        # with one; SentencePiece does it in that case too.
        steps.append(normalizers.Replace(_SPACE_AT_WORD_START, SPACE * 2))

        words: pre_tokenizers.PreTokenizer = pre_tokenizers.WhitespaceSplit()
        if not remove_space:
            words = pre_tokenizers.Split(" ", "removed")
        tokenizer = Tokenizer(self.unigram)
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Metaspace()])
        tokenizer.decoder = decoders.Metaspace()
        return tokenizer

    def plain_text_steps(
        self, do_lower_case: bool
    ) -> tuple[normalizers.Normalizer, pre_tokenizers.PreTokenizer]:
        """Return a faster normalizer and pre-tokenizer, for plain text.

        For printable ASCII text with single spaces they give the same ids as those of `pipeline`
        in two thirds of the time, but other offsets.
        """
        steps: list[normalizers.Normalizer] = [normalizers.Strip(), *_quote_steps()]
        if do_lower_case:
            steps.append(normalizers.Lowercase())
        steps += self._character_map
        return normalizers.Sequence(steps), pre_tokenizers.Metaspace()


def ends_in_digit_comma(piece: str) -> bool:
    """Whether Google's code cuts the comma off this piece."""
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _parse_piece(message: bytes) -> tuple[str, float, int]:
    """Return the text, the score and the type of a piece."""
    fields = dict(read_fields(message))
    text = fields.get(_PIECE_TEXT, b"").decode("utf-8")
    score = 0.0
    if _PIECE_SCORE in fields:
        (score,) = struct.unpack("<f", fields[_PIECE_SCORE])
    return text, score, fields.get(_PIECE_TYPE, _NORMAL)


def _check_settings(message: int, settings: dict[int, Any]) -> None:
    """Check that a model was trained with settings that the pipeline here implements.

    Raises:
        ValueError: It was not.
    """
    if message == _TRAINER_SPEC:
        model_type = settings.get(_MODEL_TYPE, _UNIGRAM)
        if model_type != _UNIGRAM:
            name = _MODEL_TYPE_NAMES.get(model_type, model_type)
            raise ValueError(f"its type is {name}, and ALBERT's is unigram")
    for field, (name, required) in _REQUIRED_SETTINGS[message].items():
        value = settings.get(field, required)
        if value != required:
            raise ValueError(f"its {name} is {value}, and ALBERT's is {required}")


def _quote_steps() -> list[normalizers.Normalizer]:
    """Replace the quotation marks of LaTeX, as the users of Google's code do."""
    return [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]


@functools.cache
def _combining_characters() -> str:
    """Return a regular expression for the characters that Python calls combining.

    The Rust library's StripAccents removes more than these.
    """
    codes = [code for code in range(0x20000) if unicodedata.combining(chr(code))]
    return "[" + "".join(rf"\x{{{code:x}}}" for code in codes) + "]"
