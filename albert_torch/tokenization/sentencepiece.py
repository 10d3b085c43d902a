"""A SentencePiece model -> the ids of ALBERT's original tokenizer, on the Rust `tokenizers` library.

The original (tokenization.py of google-research/albert) cleans the text, runs SentencePiece, then cuts off the comma of
every piece that ends in a digit and a comma. The Rust model does the same by scoring such pieces 100 lower. The two can
differ only where some `suspects` piece comes out; `ExactWords` then repeats the original step by step.
"""

from __future__ import annotations

import base64
import math
import struct
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tokenizers import Regex, Token, Tokenizer, decoders, models, normalizers, pre_tokenizers

SPACE = "▁"  # SentencePiece's mark of a space, U+2581
NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # types of pieces
LOWERED = 100.0  # what a piece that ends in a digit and a comma loses, in Hub files as here
QUOTES = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
MODEL_TYPES = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
# message -> field -> (name, the one value that ALBERT's pipeline follows); absent fields have that value
REQUIRED = {
    2: {24: ("treat_whitespace_as_suffix", 0), 35: ("byte_fallback", 0)},
    3: {
        3: ("add_dummy_prefix", 1),
        4: ("remove_extra_whitespaces", 1),
        5: ("escape_whitespaces", 1),
    },
}


class SentencePiece:
    """A unigram model: pieces by id with their scores, `controls` (pieces never found in text), map of characters."""

    def __init__(
        self,
        pieces: list[tuple[str, float]],
        unk_id: int,
        controls: frozenset[str],
        charsmap: bytes,
    ) -> None:
        for i, (piece, score) in enumerate(pieces):
            if not piece or not math.isfinite(score):
                raise ValueError(f"piece {i} is empty or its score is no number")
        if len({piece for piece, _ in pieces}) != len(pieces):
            raise ValueError("a piece occurs twice")
        self.pieces, self.unk_id, self.controls, self.charsmap = pieces, unk_id, controls, charsmap
        lowered = [
            (piece, score - LOWERED if ends_in_digit_comma(piece) else score)
            for piece, score in pieces
        ]
        self.unigram = models.Unigram(
            lowered, unk_id
        )  # this line and the next also refuse what is damaged
        self.map_characters = [normalizers.Precompiled(charsmap)] if charsmap else []

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> SentencePiece:
        """Read the protobuf of a `spiece.model`. Raises ValueError, with `name`, for anything but a unigram model."""
        try:
            return cls._parse(data)
        except Exception as error:  # the Rust library raises plain Exception
            raise ValueError(
                f"{name} ({len(data)} bytes) is no SentencePiece unigram model: {error}; download the file again"
            ) from error

    @classmethod
    def _parse(cls, data: bytes) -> SentencePiece:
        pieces, kinds, charsmap = [], [], b""
        for field, value in _fields(data):
            if field == 1:
                piece = {1: b"", 2: struct.pack("<f", 0.0), 3: NORMAL, **dict(_fields(value))}
                pieces.append((piece[1].decode("utf-8"), *struct.unpack("<f", piece[2])))
                kinds.append(piece[3])
            elif field in (2, 3):
                settings = dict(_fields(value))
                if field == 2 and (kind := settings.get(3, 1)) != 1:
                    raise ValueError(
                        f"its type is {MODEL_TYPES.get(kind, kind)}, and ALBERT's is unigram"
                    )
                for number, (setting, required) in REQUIRED[field].items():
                    if settings.get(number, required) != required:
                        raise ValueError(
                            f"its {setting} is {settings[number]}, and ALBERT's is {required}"
                        )
                charsmap = settings.get(2, b"") if field == 3 else charsmap
        if (unknown := kinds.count(UNKNOWN)) != 1:
            raise ValueError(
                f"it has {len(pieces)} pieces, {unknown} of them of type unknown instead of 1"
            )
        controls = frozenset(
            pieces[i][0] for i, kind in enumerate(kinds) if kind in (UNKNOWN, CONTROL)
        )
        return cls(pieces, kinds.index(UNKNOWN), controls, charsmap)

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> SentencePiece | None:
        """The same from a parsed `tokenizer.json`; None when its pipeline is not ALBERT's, known by its quote rule."""
        steps = (spec.get("normalizer") or {}).get("normalizers", [])
        quotes = {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
        if spec["model"].get("type") != "Unigram" or quotes not in steps:
            return None
        pieces = [(str(piece), float(score)) for piece, score in spec["model"]["vocab"]]
        floor = (
            min(score for piece, score in pieces if not ends_in_digit_comma(piece)) - LOWERED / 2
        )
        pieces = [(piece, score + LOWERED if score < floor else score) for piece, score in pieces]
        controls = frozenset(token["content"] for token in spec["added_tokens"] if token["special"])
        charsmap = next(
            (step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"), ""
        )
        return cls(pieces, spec["model"]["unk_id"], controls, base64.b64decode(charsmap))

    def pipeline(self, do_lower_case: bool, keep_accents: bool, remove_space: bool) -> Tokenizer:
        """Normalizer, pre-tokenizer, model and decoder; special tokens and post-processor are the caller's."""
        steps: list[Any] = (
            [normalizers.Replace(Regex(r"[\x0b\x1c-\x1f]"), " ")] if remove_space else []
        )  # str.split's
        steps += QUOTES
        if not keep_accents:
            steps += [normalizers.NFKD(), normalizers.Replace(Regex(_combining()), "")]
        steps += [normalizers.Lowercase()] * do_lower_case + self.map_characters
        steps.append(
            normalizers.Replace(Regex(rf"(?<!\S){SPACE}"), SPACE * 2)
        )  # or Metaspace adds none
        tokenizer = Tokenizer(self.unigram)
        tokenizer.normalizer = normalizers.Sequence(steps)
        spaces = (
            pre_tokenizers.WhitespaceSplit()
            if remove_space
            else pre_tokenizers.Split(" ", "removed")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([spaces, pre_tokenizers.Metaspace()])
        tokenizer.decoder = decoders.Metaspace()
        return tokenizer

    def plain_steps(
        self, do_lower_case: bool
    ) -> tuple[normalizers.Normalizer, pre_tokenizers.PreTokenizer]:
        """Stages with the same ids, but not offsets, for printable ASCII with single spaces: a third faster."""
        steps = [
            normalizers.Strip(),
            *QUOTES,
            *[normalizers.Lowercase()] * do_lower_case,
            *self.map_characters,
        ]
        return normalizers.Sequence(steps), pre_tokenizers.Metaspace()


class ExactWords:
    """A pre-tokenizer stage that cuts words as the original does: SentencePiece in its float32, then the comma rule."""

    def __init__(self, model: SentencePiece) -> None:
        self.unk_id = model.unk_id
        self.ids = {piece: i for i, (piece, _) in enumerate(model.pieces)}
        # a score of 0 marks a user-defined symbol, which SentencePiece counts as -0.1
        self.scores = {
            piece: score or -0.1 for piece, score in model.pieces if piece not in model.controls
        }
        self.unk_score = min(self.scores.values()) - 10
        self.longest = max(map(len, self.scores))
        self.suspects = self._suspects()

    def _suspects(self) -> frozenset[int]:
        """Ids without which a row is certain: commas inside a piece, and repeats ("6" + "66" ties with "66" + "6")."""
        names = {piece for piece in self.scores if "," in piece[:-1]}
        if any(ends_in_digit_comma(piece) and piece[0] != SPACE for piece in self.scores):
            names.add(",")
        by_unit: dict[str, list[str]] = defaultdict(list)
        for piece in sorted(self.scores, key=len):
            by_unit[piece[: (piece + piece).find(piece, 1)]].append(piece)
        names.update(piece for repeats in by_unit.values() for piece in repeats[1:])
        return frozenset(self.ids[name] for name in names if name in self.ids)

    def pre_tokenize(self, text: Any) -> None:
        """Give every word of a `PreTokenizedString` its tokens; special tokens already have theirs."""
        total = 0.0

        def tokens(word: str) -> list[Token]:
            nonlocal total
            pieces, total = self._viterbi(word, total)
            found, at = [], 0
            for piece in self._cut_commas(pieces):
                end = at + len(piece.encode())
                found.append(Token(self.ids.get(piece, self.unk_id), piece, (at, end)))
                at = end
            return found

        text.tokenize(tokens)

    def _viterbi(self, word: str, total: float) -> tuple[list[str], float]:
        """The best pieces of a word, and `total`, the score so far, raised by theirs; adjacent unknowns fuse."""
        best = array(
            "f", [total] + [-math.inf] * len(word)
        )  # float32, as there: its rounding decides ties
        path = array("f", [0.0])
        starts = [0] * len(best)
        for start in range(len(word)):
            for end in range(start + 1, min(start + self.longest, len(word)) + 1):
                score = self.scores.get(
                    word[start:end], self.unk_score if end == start + 1 else -math.inf
                )
                path[0] = best[start] + score
                if path[0] > best[end]:
                    best[end], starts[end] = path[0], start
        pieces: list[str] = []
        end = len(word)
        while end:
            piece = word[starts[end] : end]
            if pieces and piece not in self.scores and pieces[-1][0] not in self.scores:
                pieces[-1] = piece + pieces[-1]
            else:
                pieces.append(piece)
            end = starts[end]
        return pieces[::-1], best[-1]

    def _cut_commas(self, pieces: list[str]) -> Iterator[str]:
        for piece in pieces:
            if not ends_in_digit_comma(piece):
                yield piece
                continue
            number, _ = self._viterbi(SPACE + piece[:-1].replace(SPACE, ""), 0.0)
            if piece[0] != SPACE:
                number[0] = number[0].removeprefix(SPACE)
            yield from filter(None, [*number, ","])


def ends_in_digit_comma(piece: str) -> bool:
    """Whether the original cuts the comma off this piece."""
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _combining() -> str:
    """A regular expression for what Python calls combining: fewer characters than Rust's StripAccents removes."""
    marks = (code for code in range(0x20000) if unicodedata.combining(chr(code)))
    return "[" + "".join(rf"\x{{{code:x}}}" for code in marks) + "]"


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protobuf message: int for a varint, bytes for the other wire types."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if key & 7 == 2:
            size, at = _varint(data, at)
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
        else:
            raise ValueError(f"byte {at} starts no protobuf field")
        if size > len(data) - at:
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at byte `at`, seven bits to a byte, and where the next field starts."""
    value = 0
    for shift, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise ValueError(
        "it ends in the middle of a number"
        if len(data) - at < 10
        else f"byte {at} starts no number"
    )
