"""Masking of n-grams of whole words (section 4.1 of the paper).

An n-gram has n words with a probability proportional to 1/n. Of the tokens to predict, 80 % are
replaced by [MASK], 10 % by a random piece, and 10 % are left as they are.
"""

from __future__ import annotations

import random
from bisect import bisect
from enum import IntEnum
from itertools import accumulate
from typing import NamedTuple

from tokenizers import models

from albert_torch.losses import IGNORE_INDEX
from albert_torch.tokenization.tokenizer import AlbertTokenizer

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
PUNCTUATION = frozenset('!"#$%&()*+,-./:;?@[\\]^_`{|}~€£')
# Random positions that are tried before all possible ones are listed. Most rows have so many free
# positions that one of the first few is free.
MAX_RANDOM_TRIES = 16
# Of the tokens to predict, the shares that become [MASK], and either [MASK] or a random piece.
MASK_SHARE = 0.8
MASK_OR_RANDOM_SHARE = 0.9


class PieceRole(IntEnum):
    """What a piece of the vocabulary is within a word."""

    CONTINUES_WORD = 0
    STARTS_WORD = 1
    SPECIAL = 2  # not part of any word


class NGram(NamedTuple):
    """Adjacent words to predict.

    Attributes:
        start: The position of the first token in the row.
        stop: The position after the last token.
        drawn_words: The number of words that was drawn.
        words: The number of words it has; fewer if there was no room for more.
    """

    start: int
    stop: int
    drawn_words: int
    words: int


def piece_roles(tokenizer: AlbertTokenizer) -> list[PieceRole]:
    """Return the role of each id of the vocabulary.

    SentencePiece: as in Google's create_pretraining_data.py, a piece of English letters and
    punctuation continues a word, unless it is a single punctuation mark. So a piece with the mark
    of a space, a digit or a letter of another script starts a word. WordPiece: a piece that begins
    with "##" continues a word. Added tokens are words of their own.
    """
    is_wordpiece = isinstance(tokenizer.backend_tokenizer.model, models.WordPiece)
    added_ids = tokenizer.backend_tokenizer.get_added_tokens_decoder().keys()
    special_ids = set(tokenizer.all_special_ids)
    vocabulary = tokenizer.get_vocab()
    roles = [PieceRole.SPECIAL] * (max(vocabulary.values()) + 1)
    for piece, token_id in vocabulary.items():
        continues = piece.startswith("##") if is_wordpiece else _continues_english_word(piece)
        if token_id in special_ids:
            roles[token_id] = PieceRole.SPECIAL
        elif continues and token_id not in added_ids:
            roles[token_id] = PieceRole.CONTINUES_WORD
        else:
            roles[token_id] = PieceRole.STARTS_WORD
    return roles


def _continues_english_word(piece: str) -> bool:
    if piece in PUNCTUATION:
        return False
    return all(character.lower() in LETTERS or character in PUNCTUATION for character in piece)


class Masking:
    """Chooses the tokens of a row that the model must predict, and hides them.

    All random numbers come from the generator that the caller passes, so the result is a function
    of its seed.

    Google's code draws the position of an n-gram first and shortens what does not fit there, so
    its n-grams are shorter than p(n) says. Here n is drawn first, then a position at which n words
    are free.
    """

    def __init__(
        self, tokenizer: AlbertTokenizer, masked_lm_prob: float = 0.15, max_ngram_size: int = 3
    ) -> None:
        """Prepare masking for the vocabulary of a tokenizer.

        Args:
            tokenizer: The tokenizer of the rows.
            masked_lm_prob: The share of a row's tokens to predict. Special tokens count in the
                length of the row, but are never predicted.
            max_ngram_size: The largest number of words in an n-gram.

        Raises:
            ValueError: A number is out of range.
        """
        if not 0 < masked_lm_prob <= 1:
            raise ValueError(f"{masked_lm_prob=} must be above 0, and at most 1")
        if max_ngram_size < 1:
            raise ValueError(f"{max_ngram_size=} must be at least 1, which masks single words")
        self.masked_lm_prob = masked_lm_prob
        self.mask_token_id = tokenizer.mask_token_id
        roles = piece_roles(tokenizer)
        # One byte per id, so that a copy in each worker process is small.
        self._roles = bytes(roles)
        self._ordinary_ids = [
            token_id for token_id, role in enumerate(roles) if role != PieceRole.SPECIAL
        ]
        weights = [1 / n for n in range(1, max_ngram_size + 1)]
        cumulative = list(accumulate(weights))
        # P(n <= 1), P(n <= 2), ..., without the last one, which is 1.
        self.cumulative_probabilities = [weight / cumulative[-1] for weight in cumulative[:-1]]

    def __call__(self, ids: list[int], rng: random.Random) -> tuple[list[int], list[int]]:
        """Hide words of a row.

        Args:
            ids: The row, from [CLS] to its last [SEP].
            rng: The source of all random numbers.

        Returns:
            The ids with words hidden, and the labels: the original id of each token to predict,
            and `IGNORE_INDEX` at all other positions.
        """
        masked_ids = ids.copy()
        labels = [IGNORE_INDEX] * len(ids)
        for ngram in self.choose_ngrams(ids, rng):
            for position in range(ngram.start, ngram.stop):
                labels[position] = ids[position]
                number = rng.random()
                if number < MASK_SHARE:
                    masked_ids[position] = self.mask_token_id
                elif number < MASK_OR_RANDOM_SHARE:
                    masked_ids[position] = _choose(self._ordinary_ids, rng)
        return masked_ids, labels

    def choose_ngrams(self, ids: list[int], rng: random.Random) -> list[NGram]:
        """Return the n-grams to predict, in the order in which they were drawn.

        Together they have `masked_lm_prob` of the tokens, rounded, but at least one. They never
        have more; they have less only if every remaining word is too long. An n-gram has fewer
        words than were drawn only if the row has no place with as many free words, or if they have
        more tokens than are left to choose.

        Args:
            ids: The row, from [CLS] to its last [SEP].
            rng: The source of all random numbers.
        """
        word_starts, is_taken = self._find_words(ids)
        word_starts.append(len(ids))
        tokens_left = max(1, round(self.masked_lm_prob * len(ids)))
        ngrams: list[NGram] = []
        while tokens_left > 0:
            drawn_words = 1 + bisect(self.cumulative_probabilities, rng.random())
            place = _find_free_words(is_taken, drawn_words, rng)
            if place is None:
                break
            first, words = place
            while words > 0 and word_starts[first + words] - word_starts[first] > tokens_left:
                words -= 1
            if words == 0:  # even the first word is too long: take another one that is not
                fitting = [
                    word
                    for word, taken in enumerate(is_taken)
                    if not taken and word_starts[word + 1] - word_starts[word] <= tokens_left
                ]
                if not fitting:
                    break
                first, words = _choose(fitting, rng), 1
            for word in range(first, first + words):
                is_taken[word] = True
            start, stop = word_starts[first], word_starts[first + words]
            ngrams.append(NGram(start, stop, drawn_words, words))
            tokens_left -= stop - start
        return ngrams

    def _find_words(self, ids: list[int]) -> tuple[list[int], list[bool]]:
        """Return the position at which each word starts, and whether it may not be chosen.

        Special tokens count as words that may not be chosen. The token after one starts a word in
        any case, so that no word and no n-gram reaches across [SEP].
        """
        continues, special = PieceRole.CONTINUES_WORD, PieceRole.SPECIAL
        word_starts: list[int] = []
        is_taken: list[bool] = []
        previous: int = continues
        for position, role in enumerate(map(self._roles.__getitem__, ids)):
            if role != continues or previous == special:
                word_starts.append(position)
                is_taken.append(role == special)
            previous = role
        return word_starts, is_taken


def _find_free_words(
    is_taken: list[bool], count: int, rng: random.Random
) -> tuple[int, int] | None:
    """Find adjacent words that are free; all places are equally likely.

    Args:
        is_taken: For each word of the row, whether it is taken. The last one, [SEP], is.
        count: The number of words to find.
        rng: The source of random numbers.

    Returns:
        The first word and the number of words, which is less than `count` if there are not as many
        free words in a row anywhere; None if no word is free.
    """
    for _ in range(MAX_RANDOM_TRIES):
        first = int(rng.random() * len(is_taken))
        if True not in is_taken[first : first + count]:
            return first, count
    for size in range(count, 0, -1):
        places = [
            first for first in range(len(is_taken)) if True not in is_taken[first : first + size]
        ]
        if places:
            return _choose(places, rng), size
    return None


def _choose(values: list[int], rng: random.Random) -> int:
    return values[int(rng.random() * len(values))]
