"""Masking: statistics of 100,000 rows against the formulas, each row against the rules, the rare rows by hand."""

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytest
from helpers.small_shards import (
    FIRST,
    VOCABULARY,
    WORDS,
    Stack,
    documents,
    shard,
    tokenizer,
    within,
)
from tokenizers import Tokenizer, models

from albert_torch import AlbertTokenizer
from albert_torch.pretraining.examples import Examples
from albert_torch.pretraining.masking import CONTINUES, SPECIAL, STARTS, Masking, NGram, kinds

ROWS = 100_000
CLS, SEP, MASK = 2, 3, 4
PROBABILITY = {1: 6 / 11, 2: 3 / 11, 3: 2 / 11}  # 1/n over 1 + 1/2 + 1/3


class Recorded(Masking):
    """Remembers what the last row was, and which n-grams were chosen in it."""

    def choose(self, ids: list[int], draw: random.Random) -> list[NGram]:
        self.ids, self.ngrams = ids, super().choose(ids, draw)
        return self.ngrams


@dataclass
class Seen:
    """What was counted, and the rows that break a rule."""

    drawn: Counter[int] = field(default_factory=Counter)
    became: Counter[str] = field(default_factory=Counter)
    below: int = 0
    over: list[int] = field(default_factory=list)
    wasteful: list[int] = field(default_factory=list)
    special: list[int] = field(default_factory=list)
    torn: list[int] = field(default_factory=list)
    shortened: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)


def words(ids: list[int]) -> list[list[int]]:
    """The places of each word."""
    found: list[list[int]] = []
    begun = False
    for i, piece in enumerate(ids):
        if piece < FIRST:
            begun = False
        elif begun and piece >= FIRST + WORDS:
            found[-1].append(i)
        else:
            found.append([i])
            begun = True
    return found


def inspect(
    seen: Seen, number: int, row: dict[str, list[int]], ids: list[int], ngrams: list[NGram]
) -> None:
    hidden = {i for i, label in enumerate(row["labels"]) if label != -100}
    whole = words(ids)
    budget = max(1, round(0.15 * len(ids)))
    left = budget - len(hidden)
    if left < 0:
        seen.over.append(number)
    if left > 0:
        seen.below += 1
        if any(len(word) <= left and word[0] not in hidden for word in whole):
            seen.wasteful.append(number)
    if any(ids[i] < FIRST or row["input_ids"][i] in (0, 1, CLS, SEP) for i in hidden):
        seen.special.append(number)
    if [
        x if label == -100 else label
        for x, label in zip(row["input_ids"], row["labels"], strict=True)
    ] != ids:
        seen.changed.append(number)
    for i in hidden:
        now = row["input_ids"][i]
        seen.became["mask" if now == MASK else "same" if now == ids[i] else "other"] += 1
    at, longest, left = {word[0]: i for i, word in enumerate(whole)}, max(map(len, whole)), budget
    free = [True] * len(whole)
    for start, stop, drawn, kept in ngrams:
        seen.drawn[drawn] += 1
        first = at[start]
        covered = [i for word in whole[first : first + kept] for i in word]
        if (
            covered != list(range(start, stop))
            or not all(free[first : first + kept])
            or not 0 < kept <= drawn
        ):
            seen.torn.append(number)
        if kept < drawn and left >= drawn * longest:  # only a row without room for it is an excuse
            runs = [
                whole[i : i + drawn]
                for i in range(len(whole) - drawn + 1)
                if all(free[i : i + drawn])
            ]
            if any(run[-1][-1] - run[0][0] + 1 == sum(map(len, run)) for run in runs):
                seen.shortened.append(number)
        free[first : first + kept] = [False] * kept
        left -= stop - start
    if hidden != {
        i for word, unhidden in zip(whole, free, strict=True) if not unhidden for i in word
    }:
        seen.torn.append(number)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Rows of 5 to 40 tokens, special tokens in the text among them, whose n-grams and masks were looked at."""
    known = tokenizer(tmp_path_factory.mktemp("vocabulary"))
    shards = Stack(
        shard(documents(400_000, (2, 30), (1, 30), i), i, special=0.01) for i in range(2)
    )
    examples = Examples(shards, known, max_length=40, seed=3)
    examples.masking = masking = Recorded(known)
    found = Seen()
    for number, (plan, _) in enumerate(islice(examples.plan(), ROWS)):
        inspect(found, number, examples.row(plan), masking.ids, masking.ngrams)
    return found


def test_drawn_ngrams_have_the_lengths_of_the_formula(seen: Seen) -> None:
    """Kills: p(n) uniform or ~ n, a fourth length, lengths that depend on what the row has room for."""
    # The draws of a row stop at a time that does not look ahead, so counts over all rows are as of independent draws.
    assert seen.drawn.keys() == PROBABILITY.keys()
    total = seen.drawn.total()
    assert all(within(seen.drawn[n], total, p) for n, p in PROBABILITY.items()), seen.drawn
    assert seen.shortened == []


def test_the_budget_is_filled_and_never_exceeded(seen: Seen) -> None:
    """Kills: an n-gram too many, a row given up while a word would fit, special tokens not counted in the length."""
    assert seen.over == []
    assert seen.wasteful == []
    assert seen.below / ROWS < 0.02  # every word left is longer than what is left to hide


def test_whole_words_are_hidden_and_no_special_token(seen: Seen) -> None:
    """Kills: a word parted, n-grams that overlap or reach over [SEP], a hidden [CLS], a random [SEP] or <pad>."""
    assert seen.torn == []
    assert seen.special == []
    assert seen.changed == []


def test_eight_of_ten_are_masked_one_changed_one_kept(seen: Seen) -> None:
    """Kills: 80/10/10 by row or by n-gram, 80/20/0, a changed piece drawn from the special ones too."""
    total, same = (
        seen.became.total(),
        1 / (len(VOCABULARY) - FIRST),
    )  # a random piece may be the one that was there
    assert within(seen.became["mask"], total, 0.8)
    assert within(seen.became["other"], total, 0.1 * (1 - same))
    assert within(seen.became["same"], total, 0.1 + 0.1 * same)


def test_eighty_ten_ten_is_drawn_for_each_token(tmp_path: Path) -> None:
    """Kills: one draw for a whole n-gram."""
    masking, draw, pairs = (
        Masking(tokenizer(tmp_path), masked_lm_prob=0.5),
        random.Random(0),
        Counter[int](),
    )
    for _ in range(20_000):
        hidden, labels = masking([CLS, FIRST, FIRST + WORDS, SEP], draw)  # one word of two pieces
        assert labels == [-100, FIRST, FIRST + WORDS, -100]
        pairs[hidden.count(MASK)] += 1
    assert within(pairs[2], 20_000, 0.64)
    assert within(pairs[0], 20_000, 0.04)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_place_is_as_likely(tmp_path: Path, n: int) -> None:
    """Kills: the ends of a row hidden more or less often, a place drawn first and its n-gram cut there."""
    masking, draw = Masking(tokenizer(tmp_path), masked_lm_prob=n / 24), random.Random(n)
    row, found = (
        [CLS, *range(FIRST, FIRST + 14), SEP, *range(FIRST, FIRST + 7), SEP],
        Counter[int](),
    )
    while found.total() < 10_000:
        first = masking.choose(row, draw)[0]
        if first.drawn == n:
            assert first.kept == n
            found[first.start] += 1
    places = [*range(1, 16 - n), *range(16, 24 - n)]
    assert found.keys() == set(places)
    assert all(within(count, 10_000, 1 / len(places)) for count in found.values())


def test_rows_with_little_to_hide(tmp_path: Path) -> None:
    """Kills: nothing hidden in the shortest row, a word parted to fit, an endless search, a budget above the words."""
    known, draw = tokenizer(tmp_path), random.Random(0)
    word, part = FIRST, FIRST + WORDS
    for share in (0.01, 0.15):
        assert (
            sum(x != -100 for x in Masking(known, share)([CLS, word, SEP, word, SEP], draw)[1]) == 1
        )
    assert Masking(known)([CLS, word, part, part, SEP, word, part, SEP], draw)[1] == [-100] * 8
    assert Masking(known, 1.0)([CLS, word, part, SEP, part, SEP], draw)[1] == [
        -100,
        word,
        part,
        -100,
        part,
        -100,
    ]
    assert Masking(known)([CLS, 1, SEP, 4, SEP], draw) == ([CLS, 1, SEP, 4, SEP], [-100] * 5)


def test_one_word_at_a_time(tmp_path: Path) -> None:
    """Kills: max_ngram_size that is off by one or not looked at."""
    masking, row = (
        Masking(tokenizer(tmp_path), 0.5, max_ngram_size=1),
        [CLS, *range(FIRST, FIRST + 60), SEP],
    )
    assert {ngram.drawn for ngram in masking.choose(row, random.Random(0))} == {1}
    masking = Masking(tokenizer(tmp_path), 0.5, max_ngram_size=5)
    assert max(n.drawn for i in range(50) for n in masking.choose(row, random.Random(i))) == 5


def test_impossible_values(tmp_path: Path) -> None:
    """Kills: a share in percent, a length of zero."""
    known = tokenizer(tmp_path)
    for value in (0.0, 15):
        with pytest.raises(
            ValueError, match=f"masked_lm_prob={value} must be above 0, and at most 1"
        ):
            Masking(known, value)
    with pytest.raises(ValueError, match="max_ngram_size=0 must be at least 1"):
        Masking(known, max_ngram_size=0)


STARTING = ["▁the", "▁", ",", "'", "'s", "3", "a1", "é", "é,", "€", "漢", "▁(", "–"]
GOING_ON = ["the", "s", "S", "a.", "...", "--", "-a"]


def test_words_begin_as_in_the_original() -> None:
    """Kills: "n't" or "3" glued to the word before, a word that ends before "ing", an added token that is parted."""
    pieces = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *STARTING, *GOING_ON]
    known = AlbertTokenizer(Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 1)))
    known.add_tokens(["added"])
    expected = [SPECIAL] * 5 + [STARTS] * len(STARTING) + [CONTINUES] * len(GOING_ON) + [STARTS]
    assert list(kinds(known)) == expected


@pytest.mark.assets
def test_words_of_the_published_vocabulary(assets: Path) -> None:
    """Kills: another rule than the original's for any of the 30,000 pieces."""
    known = AlbertTokenizer.from_pretrained(assets / "assets/spiece.model")
    marks = '!"#$%&()*+,-./:;?@[\\]^_`{|}~€£'
    ours = kinds(known)
    for piece, i in known.get_vocab().items():
        foreign = [c for c in piece if not ("a" <= c.lower() <= "z" or c in marks)]
        first = piece[0] in "▁<" or piece in list(marks) or bool(foreign)
        assert ours[i] == (SPECIAL if i < 5 else STARTS if first else CONTINUES), piece
