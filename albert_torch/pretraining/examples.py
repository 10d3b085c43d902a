"""Documents -> pairs of segments: plans of which tokens go into which row, and rows, each a function of the seed."""

from __future__ import annotations

import logging
import random
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from albert_torch.pretraining.masking import Masking
from albert_torch.pretraining.shards import Shards
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Inputs

logger = logging.getLogger(__name__)

SPECIAL = 3  # tokens beside the two segments: [CLS] A [SEP] B [SEP]


class Position(NamedTuple):
    """Where the endless stream of examples stands: the next is number `offset` of a shuffled `group` of shards."""

    epoch: int = 0
    group: int = 0
    offset: int = 0


START = Position()


class Plan(NamedTuple):
    """One example: its `number` in the plan of a shard, the tokens of its segments there, `label` 1 for swapped."""

    epoch: int
    shard: int
    number: int
    a_start: int
    a_stop: int
    b_start: int
    b_stop: int
    label: int


class Examples:
    """The examples of a corpus, for masked words and sentence order (§3.1), as Google's create_pretraining_data.py.

    Sentences of one document are gathered up to a target length, `max_length` or with `short_seq_prob` a shorter one, and
    parted into two segments at a random one of their ends; half of the pairs are swapped. No sentence serves twice in
    an epoch; one longer than half a row counts as several. A sentence that is left alone gives no example
    (`skipped` counts them). With `random_next_sentence` it gets a piece of another document of its shard as its second
    segment, with label 1; where most documents are one sentence, that label says little.

    Each epoch goes through the shards in another order, `group` of them at a time with their examples shuffled
    together. Only plans are held for that: about 250 bytes an example.
    """

    def __init__(
        self,
        shards: Shards,
        tokenizer: AlbertTokenizer,
        *,
        max_length: int = 512,
        short_seq_prob: float = 0.1,
        masked_lm_prob: float = 0.15,
        max_ngram_size: int = 3,
        random_next_sentence: bool = False,
        group: int = 16,
        seed: int,
    ) -> None:
        """Lengths in tokens, special ones counted.  Raises ValueError for impossible values."""
        if max_length < SPECIAL + 2:
            raise ValueError(f"{max_length=} must be at least {SPECIAL + 2}: [CLS] A [SEP] B [SEP]")
        if not 0 <= short_seq_prob <= 1:
            raise ValueError(f"{short_seq_prob=} must be from 0 to 1")
        if group < 1:
            raise ValueError(f"{group=} must be at least 1 shard")
        self.shards, self.masking = shards, Masking(tokenizer, masked_lm_prob, max_ngram_size)
        self.cls, self.sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.room, self.short_seq_prob, self.random_next_sentence = (
            max_length - SPECIAL,
            short_seq_prob,
            random_next_sentence,
        )
        self.group, self.seed = group, seed
        self.skipped = 0  # by what was planned up to now

    def plan(self, position: Position = START) -> Iterator[tuple[Plan, Position]]:
        """Examples without end from a position on, each with the position after it.

        Raises ValueError when a whole epoch has none.
        """
        epoch, group, offset = position
        while True:
            before = self.skipped
            found = (group, offset) != (0, 0)
            order = list(range(len(self.shards)))
            self._draw(epoch).shuffle(order)
            groups = [order[i : i + self.group] for i in range(0, len(order), self.group)]
            for number, shards in enumerate(groups[group:], group):
                for done, plan in enumerate(
                    self._shuffled(epoch, number, shards)[offset:], offset + 1
                ):
                    found = True
                    yield plan, Position(epoch, number, done)
                offset = 0
            if self.skipped > before:
                logger.info(
                    "epoch %d: %d sentences that stand alone gave no example",
                    epoch,
                    self.skipped - before,
                )
            if not found:
                raise ValueError(
                    f"no example in {self.shards.document_count} documents with {self.shards.sentence_count} "
                    f"sentences: sentence order needs documents of two sentences or more; join documents, or set "
                    f"random_next_sentence"
                )
            epoch, group = epoch + 1, 0

    def row(self, plan: Plan) -> Inputs:
        """The row of a plan: `input_ids` with words hidden, `token_type_ids`, `labels`, `sentence_order_label`."""
        ids = self.shards[plan.shard].ids
        a, b = ids[plan.a_start : plan.a_stop].tolist(), ids[plan.b_start : plan.b_stop].tolist()
        row = [self.cls, *a, self.sep, *b, self.sep]
        hidden, labels = self.masking(row, self._draw(plan.epoch, plan.shard, plan.number))
        return {
            "input_ids": hidden,
            "token_type_ids": [0] * (len(a) + 2) + [1] * (len(b) + 1),
            "labels": labels,
            "sentence_order_label": plan.label,
        }

    def _draw(self, *numbers: int | str) -> random.Random:
        """A generator of its own for each purpose: of a row, a shard's plan, a group's order, the order of shards."""
        return random.Random("/".join(map(str, (self.seed, *numbers))))

    def _shuffled(self, epoch: int, group: int, shards: list[int]) -> list[Plan]:
        plans = [plan for shard in shards for plan in self._plans(epoch, shard)]
        self._draw(epoch, "group", group).shuffle(plans)
        return plans

    def _plans(self, epoch: int, shard: int) -> Iterator[Plan]:
        """The examples of one shard, in its order."""
        draw, number = self._draw(epoch, shard), 0
        sentences, documents = (
            x.tolist() for x in (self.shards[shard].sentences, self.shards[shard].documents)
        )
        for document, (first, last) in enumerate(pairwise(documents)):
            bounds = _cut(sentences[first : last + 1], (self.room + 1) // 2)
            at, end = 0, len(bounds) - 1
            while at < end:
                target = (
                    draw.randint(2, self.room) if draw.random() < self.short_seq_prob else self.room
                )
                stop = min(end, max(at + 2, bisect_left(bounds, bounds[at] + target, at)))
                if stop - at > 1:
                    middle = bounds[draw.randint(at + 1, stop - 1)]
                    a, b, label = (bounds[at], middle), (middle, bounds[stop]), draw.getrandbits(1)
                    a, b = (b, a) if label else (a, b)
                elif self.random_next_sentence and len(documents) > 2:
                    a, label = (bounds[at], bounds[stop]), 1
                    b = _elsewhere(
                        sentences, documents, document, max(1, target - (a[1] - a[0])), draw
                    )
                else:
                    self.skipped += 1
                    break
                yield Plan(epoch, shard, number, *truncate(a, b, self.room, draw), label)
                at, number = stop, number + 1


def _cut(bounds: list[int], longest: int) -> list[int]:
    """The ends of sentences, with those of the parts of sentences that are too long."""
    found = bounds[:1]
    for start, stop in pairwise(bounds):
        if stop - start > longest:
            found += range(start + longest, stop, longest)
        found.append(stop)
    return found


def _elsewhere(
    sentences: list[int], documents: list[int], document: int, size: int, draw: random.Random
) -> tuple[int, int]:
    """Up to `size` tokens of another document, from a random sentence on."""
    other = draw.randrange(len(documents) - 2)
    first, last = documents[other + (other >= document) :][:2]
    start = sentences[draw.randrange(first, last)]
    return start, min(sentences[last], start + size)


def truncate(
    a: tuple[int, int], b: tuple[int, int], room: int, draw: random.Random
) -> tuple[int, int, int, int]:
    """Take tokens from the longer segment, each from a random end of it, until both have room."""
    sizes = a[1] - a[0], b[1] - b[0]
    kept = min(sizes[1], max(room // 2, room - sizes[0]))
    spans: list[int] = []
    for (start, stop), size in zip((a, b), (min(sizes[0], room - kept), kept), strict=True):
        front = draw.getrandbits(stop - start - size).bit_count()
        spans += (start + front, start + front + size)
    return spans[0], spans[1], spans[2], spans[3]
