"""Documents -> examples of two segments, each a function of the seed (section 3.1 of the paper).

A plan says which tokens of the corpus go into an example; building reads them and hides words.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from albert_torch.pretraining.masking import Masking
from albert_torch.pretraining.segments import ShardPlanner
from albert_torch.pretraining.shards import Shards
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Inputs

logger = logging.getLogger(__name__)

SPECIAL_TOKENS_PER_EXAMPLE = 3  # [CLS] A [SEP] B [SEP]


class Position(NamedTuple):
    """A position in the endless stream of examples.

    Attributes:
        epoch: The pass through the corpus, from 0 on.
        shard_group: The group of shards in that epoch, from 0 on.
        offset: The number of the group's examples that come before this position.
    """

    epoch: int = 0
    shard_group: int = 0
    offset: int = 0


FIRST_POSITION = Position()


class ExamplePlan(NamedTuple):
    """What one example consists of.

    Attributes:
        epoch: The epoch.
        shard: The number of the shard that the tokens come from.
        number: The number of the example among those of this shard and epoch.
        a_start: The first token of the first segment.
        a_stop: The token after the first segment.
        b_start: The first token of the second segment.
        b_stop: The token after the second segment.
        label: 1 if the segments are swapped, 0 if they are in the order of the document.
    """

    epoch: int
    shard: int
    number: int
    a_start: int
    a_stop: int
    b_start: int
    b_stop: int
    label: int


@dataclass(frozen=True)
class ExampleOptions:
    """How examples are made from documents. The defaults are those of the paper.

    Attributes:
        max_length: The largest number of tokens in an example, special tokens included.
        short_seq_prob: The share of examples that get a random, shorter length.
        masked_lm_prob: The share of the tokens to predict; see `Masking`.
        max_ngram_size: The largest number of adjacent words that are masked together.
        random_next_sentence: Whether a sentence that has no other one in its document gets part of
            another document as its second segment, as in Google's create_pretraining_data.py.
            Otherwise it is left out.
        shards_per_group: The number of shards whose examples are shuffled together. About 250
            bytes of memory are needed for each of their examples.

    Raises:
        ValueError: A number is out of range.
    """

    max_length: int = 512
    short_seq_prob: float = 0.1
    masked_lm_prob: float = 0.15
    max_ngram_size: int = 3
    random_next_sentence: bool = False
    shards_per_group: int = 16

    def __post_init__(self) -> None:
        shortest = SPECIAL_TOKENS_PER_EXAMPLE + 2
        if self.max_length < shortest:
            raise ValueError(
                f"max_length={self.max_length} must be at least {shortest}: [CLS] A [SEP] B [SEP]"
            )
        if not 0 <= self.short_seq_prob <= 1:
            raise ValueError(f"short_seq_prob={self.short_seq_prob} must be from 0 to 1")
        if self.shards_per_group < 1:
            raise ValueError(f"shards_per_group={self.shards_per_group} must be at least 1")

    @property
    def max_segment_tokens(self) -> int:
        """The largest number of tokens in both segments together."""
        return self.max_length - SPECIAL_TOKENS_PER_EXAMPLE


class Examples:
    """The examples of a corpus for masked words and sentence order.

    As in Google's create_pretraining_data.py, sentences of one document are gathered up to a
    target length and cut into two segments after a random one of them; half of the pairs are
    swapped. No sentence is used twice in an epoch; a sentence longer than half an example is
    treated as several.

    A sentence that remains alone makes no example; `skipped_sentences` counts these. With
    `random_next_sentence` it gets part of another document of its shard as its second segment, and
    the label 1; where most documents are a single sentence, that label says little.

    In every epoch the shards come in another order, `shards_per_group` of them at a time with their
    examples shuffled together. Only plans are held in memory for that.

    Attributes:
        shards: The tokenized corpus.
        options: How examples are made.
        seed: The seed of all random numbers.
        masking: What hides words.
        skipped_sentences: How many sentences have made no example in what was planned so far.
    """

    def __init__(
        self,
        shards: Shards,
        tokenizer: AlbertTokenizer,
        options: ExampleOptions | None = None,
        *,
        seed: int,
    ) -> None:
        """Make examples of `shards`, which `tokenizer` has tokenized.

        Raises:
            ValueError: An option is out of range.
        """
        self.shards = shards
        self.options = options or ExampleOptions()
        self.seed = seed
        self.masking = Masking(tokenizer, self.options.masked_lm_prob, self.options.max_ngram_size)
        self.skipped_sentences = 0
        self._cls_token_id: int = tokenizer.cls_token_id
        self._sep_token_id: int = tokenizer.sep_token_id

    def plans(self, position: Position = FIRST_POSITION) -> Iterator[tuple[ExamplePlan, Position]]:
        """Yield plans from a position on, without end, each with the position after it.

        Raises:
            ValueError: A whole epoch has no example.
        """
        epoch, first_group, offset = position
        while True:
            skipped_before = self.skipped_sentences
            # A position in the middle of an epoch shows that the epoch has examples.
            has_examples = first_group > 0 or offset > 0
            for group, shard_numbers in self._shard_groups(epoch, first_group):
                plans = self._plans_of_group(epoch, group, shard_numbers)
                for following, plan in enumerate(plans[offset:], offset + 1):
                    has_examples = True
                    yield plan, Position(epoch, group, following)
                offset = 0
            if self.skipped_sentences > skipped_before:
                logger.info(
                    "epoch %d: %d sentences without another one in their document made no example",
                    epoch,
                    self.skipped_sentences - skipped_before,
                )
            if not has_examples:
                raise ValueError(
                    f"there is no example in {self.shards.document_count} documents with "
                    f"{self.shards.sentence_count} sentences: sentence order needs documents of "
                    "two sentences or more; join documents, or set random_next_sentence"
                )
            epoch, first_group = epoch + 1, 0

    def build(self, plan: ExamplePlan) -> Inputs:
        """Return the example of a plan.

        Returns:
            `input_ids` (with words hidden), `token_type_ids` and `labels`, each a list with one
            number per token, and `sentence_order_label`, 0 or 1.
        """
        ids = self.shards[plan.shard].ids
        first_segment = ids[plan.a_start : plan.a_stop].tolist()
        second_segment = ids[plan.b_start : plan.b_stop].tolist()
        first_part = [self._cls_token_id, *first_segment, self._sep_token_id]
        second_part = [*second_segment, self._sep_token_id]
        rng = self._rng(plan.epoch, plan.shard, plan.number)
        masked_ids, labels = self.masking(first_part + second_part, rng)
        return {
            "input_ids": masked_ids,
            "token_type_ids": [0] * len(first_part) + [1] * len(second_part),
            "labels": labels,
            "sentence_order_label": plan.label,
        }

    def _rng(self, *purpose: int | str) -> random.Random:
        """Return the generator for one purpose.

        The purposes are the order of the shards in an epoch, the order of a group's examples, the
        plans of a shard, and the masking of an example.
        """
        return random.Random("/".join(map(str, (self.seed, *purpose))))

    def _shard_groups(self, epoch: int, first_group: int) -> Iterator[tuple[int, list[int]]]:
        """Yield the number of each group of an epoch from `first_group` on, and its shards."""
        order = list(range(len(self.shards)))
        self._rng(epoch).shuffle(order)
        size = self.options.shards_per_group
        for start in range(first_group * size, len(order), size):
            yield start // size, order[start : start + size]

    def _plans_of_group(
        self, epoch: int, group: int, shard_numbers: Sequence[int]
    ) -> list[ExamplePlan]:
        """Return the plans of all shards of a group, shuffled."""
        plans = [plan for shard in shard_numbers for plan in self._plans_of_shard(epoch, shard)]
        self._rng(epoch, "group", group).shuffle(plans)
        return plans

    def _plans_of_shard(self, epoch: int, shard_number: int) -> Iterator[ExamplePlan]:
        """Yield the plans of a shard in the order of its documents."""
        shard = self.shards[shard_number]
        planner = ShardPlanner(
            shard.sentences.tolist(),
            shard.documents.tolist(),
            self._rng(epoch, shard_number),
            max_tokens=self.options.max_segment_tokens,
            short_seq_prob=self.options.short_seq_prob,
            random_next_sentence=self.options.random_next_sentence,
        )
        for number, (a, b, label) in enumerate(planner.segment_pairs()):
            yield ExamplePlan(epoch, shard_number, number, *a, *b, label)
        self.skipped_sentences += planner.skipped_sentences
