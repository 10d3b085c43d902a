"""Corpora in memory, and a WordPiece vocabulary whose words have one piece or more."""

import math
import random
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from albert_torch import AlbertTokenizer
from albert_torch.pretraining.shards import Shard

CLS, SEP, MASK = 2, 3, 4
SPECIAL_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STARTS, CONTINUATIONS = 300, 100  # pieces that start a word, and pieces that continue one
FIRST_START = len(SPECIAL_PIECES)  # the id of the first piece that starts a word
FIRST_CONTINUATION = FIRST_START + STARTS
PIECES = [
    *SPECIAL_PIECES,
    *(f"w{i}" for i in range(STARTS)),
    *(f"##p{i}" for i in range(CONTINUATIONS)),
]


class ShardsInMemory(list[Shard]):
    """Shards that were never on disk, with what `Examples` needs of `Shards`."""

    @property
    def sentence_count(self) -> int:
        return sum(len(shard.sentences) - 1 for shard in self)

    @property
    def document_count(self) -> int:
        return sum(len(shard.documents) - 1 for shard in self)


def write_tokenizer(folder: Path) -> AlbertTokenizer:
    """Write a vocabulary file with `PIECES`, and return its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    return AlbertTokenizer.from_pretrained(folder)


def make_shard(
    documents: list[list[int]], seed: int = 0, continuing: float = 0.3, special: float = 0.0
) -> Shard:
    """Return a shard of random tokens.

    Args:
        documents: The number of tokens of each sentence, by document.
        seed: The seed of the tokens.
        continuing: The share of tokens that continue a word.
        special: The share of special tokens in the text.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = [length for document in documents for length in document]
    group, which = torch.rand(2, sum(lengths), generator=generator)
    ids = FIRST_START + which * STARTS
    ids = torch.where(group < continuing, FIRST_CONTINUATION + which * CONTINUATIONS, ids)
    ids = torch.where(group > 1 - special, which * FIRST_START, ids)
    return Shard(
        ids.to(torch.int32),
        torch.tensor([0, *accumulate(lengths)]),
        torch.tensor([0, *accumulate(map(len, documents))]),
    )


def random_documents(
    tokens: int, sentences: tuple[int, int], length: tuple[int, int], seed: int = 0
) -> list[list[int]]:
    """Return random numbers of tokens for `make_shard`.

    Args:
        tokens: The smallest number of tokens in all documents together.
        sentences: The smallest and largest number of sentences in a document.
        length: The smallest and largest number of tokens in a sentence.
        seed: The seed.
    """
    rng = random.Random(seed)
    documents: list[list[int]] = []
    while tokens > 0:
        documents.append([rng.randint(*length) for _ in range(rng.randint(*sentences))])
        tokens -= sum(documents[-1])
    return documents


def random_shards(
    count: int,
    tokens: int,
    sentences: tuple[int, int] = (1, 12),
    length: tuple[int, int] = (1, 20),
) -> Any:
    """Return `count` shards with documents as `random_documents` makes them."""
    return ShardsInMemory(
        make_shard(random_documents(tokens, sentences, length, seed), seed) for seed in range(count)
    )


def is_likely(hits: int, trials: int, probability: float, max_errors: float = 4) -> bool:
    """Whether a number of hits agrees with its expectation, within `max_errors` standard errors."""
    standard_error = math.sqrt(trials * probability * (1 - probability))
    return abs(hits - trials * probability) <= max_errors * standard_error
