"""Which tokens of a row are hidden: n-grams of whole words, n up to 3 with p(n) ~ 1/n (§4.1), and what hides them."""

from __future__ import annotations

import random
from bisect import bisect
from itertools import accumulate
from typing import NamedTuple

from tokenizers import models

from albert_torch.finetuning.tasks.masked_lm import IGNORED
from albert_torch.tokenization.tokenizer import AlbertTokenizer

CONTINUES, STARTS, SPECIAL = range(
    3
)  # what a piece is: within a word, the first of one, no part of any
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
MARKS = frozenset('!"#$%&()*+,-./:;?@[\\]^_`{|}~€£')
TRIES = 16  # places drawn before all of them are looked at


class NGram(NamedTuple):
    """Words to hide: the tokens `start` to `stop`; `kept` words of the `drawn` ones."""

    start: int
    stop: int
    drawn: int
    kept: int


def kinds(tokenizer: AlbertTokenizer) -> bytes:
    """CONTINUES, STARTS or SPECIAL for each id.

    Google's rule: a word goes on with a piece of English letters and marks, unless it is one mark alone. So the mark of
    a space, a digit or a letter of another script starts a word. WordPiece: it goes on with "##".
    """
    wordpiece = isinstance(tokenizer.backend_tokenizer.model, models.WordPiece)
    added, special = (
        tokenizer.backend_tokenizer.get_added_tokens_decoder(),
        set(tokenizer.all_special_ids),
    )
    vocabulary = tokenizer.get_vocab()
    found = bytearray([SPECIAL]) * (max(vocabulary.values()) + 1)
    for piece, i in vocabulary.items():
        if wordpiece:
            continues = piece.startswith("##")
        else:
            continues = piece not in MARKS and all(
                c.lower() in LETTERS or c in MARKS for c in piece
            )
        found[i] = (
            SPECIAL if i in special else CONTINUES if continues and i not in added else STARTS
        )
    return bytes(found)


class Masking:
    """Hides words of rows. Every draw is from the generator that a call is given, so a row is a function of its seed.

    Google's code draws the place first and shortens what does not fit there, so that its n-grams come out shorter than
    p(n) says. Here n is drawn first, then a place where n words are free.
    """

    def __init__(
        self, tokenizer: AlbertTokenizer, masked_lm_prob: float = 0.15, max_ngram_size: int = 3
    ) -> None:
        """`masked_lm_prob`: the share of a row's tokens, special ones counted.  Raises ValueError for impossible values."""
        if not 0 < masked_lm_prob <= 1:
            raise ValueError(f"{masked_lm_prob=} must be above 0, and at most 1")
        if max_ngram_size < 1:
            raise ValueError(f"{max_ngram_size=} must be at least 1, which hides single words")
        self.masked_lm_prob, self.mask_token_id = masked_lm_prob, tokenizer.mask_token_id
        self.kinds = kinds(tokenizer)
        self.ordinary = [i for i, kind in enumerate(self.kinds) if kind != SPECIAL]
        sums = list(accumulate(1 / n for n in range(1, max_ngram_size + 1)))
        self.cumulative = [part / sums[-1] for part in sums[:-1]]

    def __call__(self, ids: list[int], draw: random.Random) -> tuple[list[int], list[int]]:
        """A row from [CLS] to its last [SEP] -> its ids with words hidden, and labels: -100 where nothing is hidden.

        Of the tokens to predict 80 % become [MASK], 10 % any ordinary piece, 10 % stay.
        """
        hidden, labels = ids.copy(), [IGNORED] * len(ids)
        for ngram in self.choose(ids, draw):
            for i in range(ngram.start, ngram.stop):
                labels[i] = ids[i]
                chance = draw.random()
                if chance < 0.8:
                    hidden[i] = self.mask_token_id
                elif chance < 0.9:
                    hidden[i] = _pick(self.ordinary, draw)
        return hidden, labels

    def choose(self, ids: list[int], draw: random.Random) -> list[NGram]:
        """The n-grams to hide, in the order of their draws.

        They have `masked_lm_prob` of the tokens, rounded and at least one, never more; less only when every word left is too
        long. An n-gram stays whole unless the row has no n free words in a line, or it exceeds what is left to hide.
        """
        # After a special token a word starts: what [SEP] parts is never one word, and never one n-gram.
        marks = bytes(map(self.kinds.__getitem__, ids)).replace(b"\2\0", b"\2\1")
        starts = [
            i for i, mark in enumerate(marks) if mark
        ]  # of words, each special token being one
        taken = bytearray(marks[i] == SPECIAL for i in starts)
        starts.append(len(ids))
        left = max(1, round(self.masked_lm_prob * len(ids)))
        found: list[NGram] = []
        while left and (
            place := _place(taken, drawn := 1 + bisect(self.cumulative, draw.random()), draw)
        ):
            word, kept = place
            while kept and starts[word + kept] - starts[word] > left:
                kept -= 1
            if not kept:
                fitting = [
                    i
                    for i, used in enumerate(taken)
                    if not used and starts[i + 1] - starts[i] <= left
                ]
                if not fitting:
                    break
                word, kept = _pick(fitting, draw), 1
            taken[word : word + kept] = b"\1" * kept
            found.append(NGram(starts[word], starts[word + kept], drawn, kept))
            left -= starts[word + kept] - starts[word]
        return found


def _place(taken: bytearray, n: int, draw: random.Random) -> tuple[int, int] | None:
    """Where n words are free, any such place as likely as another, and n; a smaller n if there is none."""
    for _ in range(TRIES):
        word = int(draw.random() * len(taken))
        if 1 not in taken[word : word + n]:  # the last one is [SEP]
            return word, n
    for size in range(n, 0, -1):
        if places := [word for word in range(len(taken)) if 1 not in taken[word : word + size]]:
            return _pick(places, draw), size
    return None


def _pick(values: list[int], draw: random.Random) -> int:
    return values[int(draw.random() * len(values))]
