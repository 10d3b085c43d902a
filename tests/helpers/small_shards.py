"""Corpora in memory, and a vocabulary whose words have one piece or more: what plans and masks are tested on."""

import random
from itertools import accumulate
from pathlib import Path

import torch

from albert_torch import AlbertTokenizer
from albert_torch.pretraining.shards import Shard

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS, PARTS = 300, 100  # pieces that start a word, and pieces that go on with one
FIRST = len(SPECIAL)  # the id of the first ordinary piece
VOCABULARY = [*SPECIAL, *(f"w{i}" for i in range(WORDS)), *(f"##p{i}" for i in range(PARTS))]


class Stack(list[Shard]):
    """Shards that were never on disk."""

    @property
    def sentence_count(self) -> int:
        return sum(len(shard.sentences) - 1 for shard in self)

    @property
    def document_count(self) -> int:
        return sum(len(shard.documents) - 1 for shard in self)


def tokenizer(folder: Path) -> AlbertTokenizer:
    """A tokenizer for `VOCABULARY`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return AlbertTokenizer.from_pretrained(folder)


def shard(
    documents: list[list[int]], seed: int = 0, parts: float = 0.3, special: float = 0.0
) -> Shard:
    """A shard with the given lengths of sentences, by document.

    Its tokens are random: of `parts` of them words go on, and `special` of them are special tokens in the text.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = [length for document in documents for length in document]
    kind, which = torch.rand(2, sum(lengths), generator=generator)
    ids = FIRST + which * WORDS
    ids = torch.where(kind < parts, FIRST + WORDS + which * PARTS, ids)
    ids = torch.where(kind > 1 - special, which * FIRST, ids)
    return Shard(
        ids.to(torch.int32),
        torch.tensor([0, *accumulate(lengths)]),
        torch.tensor([0, *accumulate(map(len, documents))]),
    )


def documents(
    tokens: int, sentences: tuple[int, int], length: tuple[int, int], seed: int = 0
) -> list[list[int]]:
    """Lengths of sentences for `shard`: at least `tokens`, in documents with a random number of random sentences."""
    draw = random.Random(seed)
    found: list[list[int]] = []
    while tokens > 0:
        found.append([draw.randint(*length) for _ in range(draw.randint(*sentences))])
        tokens -= sum(found[-1])
    return found


def within(hits: int, trials: int, share: float, errors: float = 4) -> bool:
    """Whether a count agrees with its expectation, to so many standard errors of independent trials."""
    return abs(hits - trials * share) <= errors * (trials * share * (1 - share)) ** 0.5
