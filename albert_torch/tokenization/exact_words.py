"""Words tokenized exactly as Google's code does it, for the rows where the Rust model may differ.

The Rust model with lowered scores and Google's code give different ids in two cases. A comma after
a digit may be inside a piece ("1,0") or hidden by the choice of other pieces. And two ways to cut
a word may have the same score ("6" + "66" and "66" + "6"): then the rounding of SentencePiece's
32-bit sums decides. In both cases certain pieces come out, the suspects.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tokenizers import Token

from albert_torch.tokenization.sentencepiece import SPACE, SentencePiece, ends_in_digit_comma

# SentencePiece's score of a user-defined symbol, which has the score 0 in the file.
USER_DEFINED_SCORE = -0.1
# How much less than the worst piece an unknown character scores.
UNKNOWN_PENALTY = 10


class ExactWords:
    """A pre-tokenizer that tokenizes words step by step as Google's code does.

    Attributes:
        suspects: Ids of pieces. A row of the Rust model without any of them is certainly equal to
            that of Google's code.
    """

    def __init__(self, model: SentencePiece) -> None:
        self._unk_id = model.unk_id
        self._ids = {piece: token_id for token_id, (piece, _) in enumerate(model.pieces)}
        self._scores = {
            piece: score or USER_DEFINED_SCORE
            for piece, score in model.pieces
            if piece not in model.controls
        }
        self._unknown_score = min(self._scores.values()) - UNKNOWN_PENALTY
        self._longest_piece = max(map(len, self._scores))
        self.suspects = self._find_suspects()

    def _find_suspects(self) -> frozenset[int]:
        """Return the ids of pieces with a comma inside, and of those that repeat a unit."""
        suspects = {piece for piece in self._scores if "," in piece[:-1]}
        ends_in_comma = [piece for piece in self._scores if ends_in_digit_comma(piece)]
        if any(not piece.startswith(SPACE) for piece in ends_in_comma):
            suspects.add(",")
        # "6", "66" and "666" repeat the same unit, so words like "6666" can be cut in several ways
        # with the same score. In all but one of these ways, one of the longer pieces occurs.
        pieces_by_unit: dict[str, list[str]] = defaultdict(list)
        for piece in sorted(self._scores, key=len):
            pieces_by_unit[_repeated_unit(piece)].append(piece)
        for pieces in pieces_by_unit.values():
            suspects.update(pieces[1:])
        return frozenset(self._ids[piece] for piece in suspects if piece in self._ids)

    def pre_tokenize(self, text: Any) -> None:
        """Tokenize each word of a `PreTokenizedString`. Special tokens are tokenized already.

        This is the interface of `tokenizers.pre_tokenizers.PreTokenizer.custom`.
        """
        # SentencePiece adds up the scores of the whole text, which matters for their rounding.
        text_score = 0.0

        def tokenize_word(word: str) -> list[Token]:
            nonlocal text_score
            pieces, text_score = self._best_pieces(word, text_score)
            tokens = []
            start = 0  # in bytes
            for piece in self._cut_commas(pieces):
                end = start + len(piece.encode())
                tokens.append(Token(self._ids.get(piece, self._unk_id), piece, (start, end)))
                start = end
            return tokens

        text.tokenize(tokenize_word)

    def _best_pieces(self, word: str, previous_score: float) -> tuple[list[str], float]:
        """Return the pieces of a word with the best score (the Viterbi algorithm).

        Args:
            word: The word, with the mark of a space.
            previous_score: The score of the text before the word.

        Returns:
            The pieces, adjacent unknown characters as one, and the score of the text up to here.
        """
        # For each end position: the best score up to there, and where its last piece starts. The
        # scores are 32-bit numbers, as in SentencePiece, because their rounding decides ties.
        best_scores = array("f", [previous_score] + [-math.inf] * len(word))
        piece_starts = [0] * len(best_scores)
        rounded = array("f", [0.0])  # assigning to an element rounds to 32 bits
        for start in range(len(word)):
            for end in range(start + 1, min(start + self._longest_piece, len(word)) + 1):
                score_if_missing = self._unknown_score if end == start + 1 else -math.inf
                score = self._scores.get(word[start:end], score_if_missing)
                rounded[0] = best_scores[start] + score
                if rounded[0] > best_scores[end]:
                    best_scores[end] = rounded[0]
                    piece_starts[end] = start
        pieces: list[str] = []  # the last one first
        end = len(word)
        while end > 0:
            piece = word[piece_starts[end] : end]
            # The characters of a piece are pieces too, so the first one tells whether the following
            # text is unknown.
            next_is_unknown = bool(pieces) and pieces[-1][0] not in self._scores
            if next_is_unknown and piece not in self._scores:
                pieces[-1] = piece + pieces[-1]
            else:
                pieces.append(piece)
            end = piece_starts[end]
        return pieces[::-1], best_scores[-1]

    def _cut_commas(self, pieces: list[str]) -> Iterator[str]:
        """Cut off commas after digits, and tokenize the number before each again."""
        for piece in pieces:
            if not ends_in_digit_comma(piece):
                yield piece
                continue
            number = piece[:-1].replace(SPACE, "")
            number_pieces, _ = self._best_pieces(SPACE + number, 0.0)
            if not piece.startswith(SPACE):
                number_pieces[0] = number_pieces[0].removeprefix(SPACE)
            for number_piece in number_pieces:
                if number_piece:  # the first one is empty if it was only the mark of a space
                    yield number_piece
            yield ","


def _repeated_unit(piece: str) -> str:
    """Return the shortest text that, repeated, gives the piece; often the piece itself."""
    # The piece occurs in itself, doubled, for the first time again after one unit.
    return piece[: (piece + piece).find(piece, 1)]
