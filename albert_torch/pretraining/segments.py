"""Documents -> pairs of segments: which sentences share an example, and what is cut off."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """Adjacent tokens of a shard: the number of the first one, and of the one after the last."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.stop - self.start


class ShardPlanner:
    """Makes pairs of segments from the documents of one shard.

    Attributes:
        skipped_sentences: How many sentences were left out because they had no second segment.
    """

    def __init__(
        self,
        sentences: list[int],
        documents: list[int],
        rng: random.Random,
        *,
        max_tokens: int,
        short_seq_prob: float,
        random_next_sentence: bool,
    ) -> None:
        """Prepare the planning of one shard.

        Args:
            sentences: Where each sentence begins, as in `Shard`.
            documents: Where each document begins, as in `Shard`.
            rng: The source of all random numbers.
            max_tokens: The largest number of tokens in both segments together.
            short_seq_prob: The share of pairs that get a random, smaller number of tokens.
            random_next_sentence: Whether a sentence that is alone gets part of another document.
        """
        self.sentences = sentences
        self.documents = documents
        self.rng = rng
        self.max_tokens = max_tokens
        self.short_seq_prob = short_seq_prob
        self.random_next_sentence = random_next_sentence
        self.skipped_sentences = 0

    def segment_pairs(self) -> Iterator[tuple[Span, Span, int]]:
        """Yield both segments of each example, and its label."""
        for document, (first, last) in enumerate(pairwise(self.documents)):
            # Where the document's sentences begin, and where the last one ends.
            bounds = split_long_sentences(
                self.sentences[first : last + 1], (self.max_tokens + 1) // 2
            )
            sentence = 0
            while sentence < len(bounds) - 1:
                target = self._draw_target()
                following = self._end_of_example(bounds, sentence, target)
                if following - sentence > 1:
                    a, b, label = self._split_pair(bounds, sentence, following)
                elif self.random_next_sentence and len(self.documents) > 2:
                    a = Span(bounds[sentence], bounds[following])
                    b = self._segment_of_another_document(document, max(1, target - a.size))
                    label = 1
                else:
                    self.skipped_sentences += 1
                    break
                yield *truncate_segments(a, b, self.max_tokens, self.rng), label
                sentence = following

    def _draw_target(self) -> int:
        """Draw the number of tokens that an example should have."""
        if self.rng.random() < self.short_seq_prob:
            return self.rng.randint(2, self.max_tokens)
        return self.max_tokens

    @staticmethod
    def _end_of_example(bounds: list[int], sentence: int, target: int) -> int:
        """Return the sentence before which the example ends that begins with `sentence`.

        It has at least `target` tokens and two sentences, unless the document ends before.
        """
        long_enough = bisect_left(bounds, bounds[sentence] + target, sentence)
        return min(len(bounds) - 1, max(sentence + 2, long_enough))

    def _split_pair(
        self, bounds: list[int], sentence: int, following: int
    ) -> tuple[Span, Span, int]:
        """Cut the sentences of an example into two segments, and swap half of the pairs."""
        middle = bounds[self.rng.randint(sentence + 1, following - 1)]
        first, second = Span(bounds[sentence], middle), Span(middle, bounds[following])
        label = self.rng.getrandbits(1)
        if label == 1:
            return second, first, label
        return first, second, label

    def _segment_of_another_document(self, document: int, size: int) -> Span:
        """Return up to `size` tokens of another document, from a random sentence on."""
        other = self.rng.randrange(len(self.documents) - 2)
        if other >= document:
            other += 1
        first, last = self.documents[other], self.documents[other + 1]
        start = self.sentences[self.rng.randrange(first, last)]
        return Span(start, min(self.sentences[last], start + size))


def split_long_sentences(bounds: Sequence[int], max_tokens: int) -> list[int]:
    """Cut sentences of more than `max_tokens` tokens into several.

    Args:
        bounds: Where each sentence begins, and where the last one ends.
        max_tokens: The largest number of tokens in a sentence.

    Returns:
        The new bounds.
    """
    new_bounds = [bounds[0]]
    for start, stop in pairwise(bounds):
        if stop - start > max_tokens:
            new_bounds.extend(range(start + max_tokens, stop, max_tokens))
        new_bounds.append(stop)
    return new_bounds


def truncate_segments(a: Span, b: Span, max_tokens: int, rng: random.Random) -> tuple[Span, Span]:
    """Remove tokens until both segments together have at most `max_tokens`.

    Tokens are removed one after the other from the longer segment (from the second if they are
    equally long), each from the front or the end with equal probability.

    Args:
        a: The first segment.
        b: The second segment.
        max_tokens: The number of tokens that may remain.
        rng: The source of random numbers.

    Returns:
        What remains of both segments.
    """
    # A segment of at most half of the tokens stays whole and leaves the others to the longer one;
    # of two longer ones, each keeps half.
    b_size = min(b.size, max(max_tokens // 2, max_tokens - a.size))
    a_size = min(a.size, max_tokens - b_size)
    return _remove_tokens(a, a_size, rng), _remove_tokens(b, b_size, rng)


def _remove_tokens(segment: Span, size: int, rng: random.Random) -> Span:
    """Remove tokens until `size` remain, each from the front or the end with equal probability."""
    to_remove = segment.size - size
    if to_remove == 0:
        return segment
    # One random bit for each token, drawn together: 1 removes it from the front.
    removed_from_front = rng.getrandbits(to_remove).bit_count()
    start = segment.start + removed_from_front
    return Span(start, start + size)
