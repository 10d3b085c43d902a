"""Masking: statistics of 100,000 rows, the rules for each row, rare rows by hand, exact numbers."""

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytest
from helpers.small_shards import (
    CLS,
    FIRST_CONTINUATION,
    FIRST_START,
    MASK,
    PIECES,
    SEP,
    ShardsInMemory,
    is_likely,
    make_shard,
    random_documents,
    write_tokenizer,
)
from tokenizers import Tokenizer, models

from albert_torch import AlbertTokenizer
from albert_torch.pretraining.examples import ExampleOptions, Examples
from albert_torch.pretraining.masking import Masking, NGram, PieceRole, piece_roles

ROWS = 100_000
NGRAM_PROBABILITIES = {1: 6 / 11, 2: 3 / 11, 3: 2 / 11}  # 1/n, divided by 1 + 1/2 + 1/3
WORD, PART = FIRST_START, FIRST_CONTINUATION


class RecordingMasking(Masking):
    """Remembers the last row before masking, and the n-grams that were chosen in it."""

    ids: list[int]
    ngrams: list[NGram]

    def choose_ngrams(self, ids: list[int], rng: random.Random) -> list[NGram]:
        self.ids, self.ngrams = ids, super().choose_ngrams(ids, rng)
        return self.ngrams


@dataclass
class Statistics:
    """Counts over all rows, and the numbers of the rows that break a rule."""

    drawn_words: Counter[int] = field(default_factory=Counter)
    replacements: Counter[str] = field(default_factory=Counter)
    below_budget: int = 0
    over_budget: list[int] = field(default_factory=list)
    gave_up_early: list[int] = field(default_factory=list)
    special_tokens_used: list[int] = field(default_factory=list)
    words_torn: list[int] = field(default_factory=list)
    ngrams_shortened: list[int] = field(default_factory=list)
    other_tokens_changed: list[int] = field(default_factory=list)


def positions_of_words(ids: list[int]) -> list[list[int]]:
    """The positions of each word's tokens; special tokens are not part of words."""
    words: list[list[int]] = []
    in_word = False
    for position, token_id in enumerate(ids):
        if token_id < FIRST_START:
            in_word = False
        elif in_word and token_id >= FIRST_CONTINUATION:
            words[-1].append(position)
        else:
            words.append([position])
            in_word = True
    return words


def check_tokens(
    statistics: Statistics, number: int, row: dict[str, list[int]], ids: list[int]
) -> None:
    """Check which tokens of a row are predicted, and what replaced them."""
    masked_ids, labels = row["input_ids"], row["labels"]
    predicted = {position for position, label in enumerate(labels) if label != -100}
    tokens_left = max(1, round(0.15 * len(ids))) - len(predicted)
    if tokens_left < 0:
        statistics.over_budget.append(number)
    if tokens_left > 0:
        statistics.below_budget += 1
        words = positions_of_words(ids)
        if any(len(word) <= tokens_left and word[0] not in predicted for word in words):
            statistics.gave_up_early.append(number)
    for position in predicted:
        if ids[position] < FIRST_START or masked_ids[position] in (0, 1, CLS, SEP):
            statistics.special_tokens_used.append(number)
        if masked_ids[position] == MASK:
            statistics.replacements["mask"] += 1
        elif masked_ids[position] == ids[position]:
            statistics.replacements["same"] += 1
        else:
            statistics.replacements["other"] += 1
    pairs = zip(masked_ids, labels, strict=True)
    if [token_id if label == -100 else label for token_id, label in pairs] != ids:
        statistics.other_tokens_changed.append(number)


def check_ngrams(
    statistics: Statistics,
    number: int,
    row: dict[str, list[int]],
    ids: list[int],
    ngrams: list[NGram],
) -> None:
    """Check that n-grams are whole words, do not overlap and are only shortened if necessary."""
    words = positions_of_words(ids)
    word_at = {word[0]: index for index, word in enumerate(words)}
    longest = max(map(len, words))
    tokens_left = max(1, round(0.15 * len(ids)))
    is_free = [True] * len(words)
    for start, stop, drawn_words, kept_words in ngrams:
        statistics.drawn_words[drawn_words] += 1
        first = word_at[start]
        covered = [position for word in words[first : first + kept_words] for position in word]
        if (
            covered != list(range(start, stop))
            or not all(is_free[first : first + kept_words])
            or not 0 < kept_words <= drawn_words
        ):
            statistics.words_torn.append(number)
        # Too few tokens left is a reason to shorten; otherwise there must be no free place.
        if kept_words < drawn_words and tokens_left >= drawn_words * longest:
            places = [
                words[i : i + drawn_words]
                for i in range(len(words) - drawn_words + 1)
                if all(is_free[i : i + drawn_words])
            ]
            for place in places:
                if place[-1][-1] - place[0][0] + 1 == sum(map(len, place)):  # no token between
                    statistics.ngrams_shortened.append(number)
        is_free[first : first + kept_words] = [False] * kept_words
        tokens_left -= stop - start
    predicted = {position for position, label in enumerate(row["labels"]) if label != -100}
    chosen = {
        position for word, free in zip(words, is_free, strict=True) if not free for position in word
    }
    if predicted != chosen:
        statistics.words_torn.append(number)


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Statistics:
    """Statistics of rows of 5 to 40 tokens, with special tokens in their text."""
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("vocabulary"))
    shards = ShardsInMemory(
        make_shard(random_documents(400_000, (2, 30), (1, 30), seed), seed, special=0.01)
        for seed in range(2)
    )
    options = ExampleOptions(max_length=40)
    examples = Examples(shards, tokenizer, options, seed=3)  # type: ignore[arg-type]
    examples.masking = masking = RecordingMasking(tokenizer)
    statistics = Statistics()
    for number, (plan, _) in enumerate(islice(examples.plans(), ROWS)):
        row = examples.build(plan)
        check_tokens(statistics, number, row, masking.ids)
        check_ngrams(statistics, number, row, masking.ids, masking.ngrams)
    return statistics


def test_ngrams_have_the_lengths_of_the_formula(statistics: Statistics) -> None:
    """Catches: p(n) uniform or ~ n, a fourth length, lengths that depend on free places."""
    # Drawing stops at a time that does not depend on later draws, so the counts over all rows are
    # those of independent draws.
    drawn = statistics.drawn_words
    assert drawn.keys() == NGRAM_PROBABILITIES.keys()
    for n, probability in NGRAM_PROBABILITIES.items():
        assert is_likely(drawn[n], drawn.total(), probability), drawn
    assert statistics.ngrams_shortened == []


def test_the_number_of_predicted_tokens_is_reached_and_never_exceeded(
    statistics: Statistics,
) -> None:
    """Catches: an n-gram too many, a word that would still fit, a wrong length of the row."""
    assert statistics.over_budget == []
    assert statistics.gave_up_early == []
    assert statistics.below_budget / ROWS < 0.02  # only if every remaining word is too long


def test_whole_words_are_predicted_and_no_special_token(statistics: Statistics) -> None:
    """Catches: half a word, n-grams that overlap or cross [SEP], a predicted [CLS]."""
    assert statistics.words_torn == []
    assert statistics.special_tokens_used == []
    assert statistics.other_tokens_changed == []


def test_eighty_percent_are_masked_ten_replaced_ten_unchanged(statistics: Statistics) -> None:
    """Catches: 80/20/0, random pieces that may be special tokens."""
    replacements = statistics.replacements
    total = replacements.total()
    same = 1 / (len(PIECES) - FIRST_START)  # a random piece may be the original one
    assert is_likely(replacements["mask"], total, 0.8)
    assert is_likely(replacements["other"], total, 0.1 * (1 - same))
    assert is_likely(replacements["same"], total, 0.1 + 0.1 * same)


def test_every_token_is_masked_independently(tmp_path: Path) -> None:
    """Catches: one random number for a whole n-gram."""
    masking, rng = Masking(write_tokenizer(tmp_path), masked_lm_prob=0.5), random.Random(0)
    mask_counts = Counter[int]()
    for _ in range(20_000):
        masked_ids, labels = masking([CLS, WORD, PART, SEP], rng)  # one word of two pieces
        assert labels == [-100, WORD, PART, -100]
        mask_counts[masked_ids.count(MASK)] += 1
    assert is_likely(mask_counts[2], 20_000, 0.64)
    assert is_likely(mask_counts[0], 20_000, 0.04)


def test_masking_stays_the_same(tmp_path: Path) -> None:
    """Catches: another order of random numbers, which changes every resumed run."""
    masking = Masking(write_tokenizer(tmp_path), 0.3)
    row = [CLS, *range(5, 15), 305, 306, 16, 305, SEP, 17, MASK, 306, *range(18, 24), 307, SEP]
    assert masking.choose_ngrams(row, random.Random(5)) == [
        NGram(start=20, stop=22, drawn_words=2, words=2),
        NGram(start=10, stop=15, drawn_words=2, words=2),
        NGram(start=2, stop=3, drawn_words=3, words=1),
    ]
    masked_ids, labels = masking(row, random.Random(5))
    predicted = {position: label for position, label in enumerate(labels) if label != -100}
    assert predicted == {2: 6, 10: 14, 11: 305, 12: 306, 13: 16, 14: 305, 20: 19, 21: 20}
    changed = {
        i: new for i, (old, new) in enumerate(zip(row, masked_ids, strict=True)) if old != new
    }
    assert changed == {10: MASK, 11: MASK, 12: MASK, 13: MASK, 14: MASK, 20: MASK, 21: MASK}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_all_positions_are_equally_likely(tmp_path: Path, n: int) -> None:
    """Catches: a bias at the ends of a row, a position drawn first and its n-gram cut there."""
    masking = Masking(write_tokenizer(tmp_path), masked_lm_prob=n / 24)
    rng, starts = random.Random(n), Counter[int]()
    row = [CLS, *range(WORD, WORD + 14), SEP, *range(WORD, WORD + 7), SEP]
    while starts.total() < 10_000:
        first = masking.choose_ngrams(row, rng)[0]
        if first.drawn_words == n:
            assert first.words == n
            starts[first.start] += 1
    possible = [*range(1, 16 - n), *range(16, 24 - n)]
    assert starts.keys() == set(possible)
    assert all(is_likely(count, 10_000, 1 / len(possible)) for count in starts.values())


@pytest.mark.parametrize("masked_lm_prob", [0.01, 0.15])
def test_the_shortest_row_has_one_token_to_predict(tmp_path: Path, masked_lm_prob: float) -> None:
    """Catches: a row without a loss."""
    masking = Masking(write_tokenizer(tmp_path), masked_lm_prob)
    _, labels = masking([CLS, WORD, SEP, WORD, SEP], random.Random(0))
    assert sum(label != -100 for label in labels) == 1


def test_rows_with_few_words_that_fit(tmp_path: Path) -> None:
    """Catches: a word cut to fit, an endless search, more tokens to predict than there are."""
    tokenizer, rng = write_tokenizer(tmp_path), random.Random(0)
    words_too_long = [CLS, WORD, PART, PART, SEP, WORD, PART, SEP]
    assert Masking(tokenizer)(words_too_long, rng)[1] == [-100] * 8
    # After [SEP] a continuation starts a word.
    _, labels = Masking(tokenizer, 1.0)([CLS, WORD, PART, SEP, PART, SEP], rng)
    assert labels == [-100, WORD, PART, -100, PART, -100]
    only_special = [CLS, 1, SEP, 4, SEP]
    assert Masking(tokenizer)(only_special, rng) == (only_special, [-100] * 5)


@pytest.mark.parametrize("max_ngram_size", [1, 5])
def test_the_largest_ngram_size_is_used(tmp_path: Path, max_ngram_size: int) -> None:
    """Catches: max_ngram_size ignored or off by one."""
    masking = Masking(write_tokenizer(tmp_path), 0.5, max_ngram_size)
    row = [CLS, *range(WORD, WORD + 60), SEP]
    ngrams = [
        ngram for seed in range(50) for ngram in masking.choose_ngrams(row, random.Random(seed))
    ]
    assert max(ngram.drawn_words for ngram in ngrams) == max_ngram_size
    assert min(ngram.drawn_words for ngram in ngrams) == 1


def test_impossible_values_are_refused(tmp_path: Path) -> None:
    """Catches: a share in percent, n-grams without words."""
    tokenizer = write_tokenizer(tmp_path)
    for value in (0.0, 15):
        match = f"masked_lm_prob={value} must be above 0, and at most 1"
        with pytest.raises(ValueError, match=match):
            Masking(tokenizer, value)
    with pytest.raises(ValueError, match="max_ngram_size=0 must be at least 1"):
        Masking(tokenizer, max_ngram_size=0)


STARTING = ["▁the", "▁", ",", "'", "'s", "3", "a1", "é", "é,", "€", "漢", "▁(", "–"]
CONTINUING = ["the", "s", "S", "a.", "...", "--", "-a"]


def test_words_start_as_in_googles_code() -> None:
    """Catches: "3" as part of the word before, "ing" as a word, an added token that is cut."""
    pieces = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", *STARTING, *CONTINUING]
    model = models.Unigram([(piece, -1.0) for piece in pieces], 1)
    tokenizer = AlbertTokenizer(Tokenizer(model))
    tokenizer.add_tokens(["added"])
    assert piece_roles(tokenizer) == [
        *[PieceRole.SPECIAL] * 5,
        *[PieceRole.STARTS_WORD] * len(STARTING),
        *[PieceRole.CONTINUES_WORD] * len(CONTINUING),
        PieceRole.STARTS_WORD,
    ]


@pytest.mark.assets
def test_roles_of_the_published_vocabulary(assets: Path) -> None:
    """Catches: another rule than that of Google's code for any of the 30,000 pieces."""
    tokenizer = AlbertTokenizer.from_pretrained(assets / "assets/spiece.model")
    punctuation = '!"#$%&()*+,-./:;?@[\\]^_`{|}~€£'
    roles = piece_roles(tokenizer)
    for piece, token_id in tokenizer.get_vocab().items():
        others = [c for c in piece if not ("a" <= c.lower() <= "z" or c in punctuation)]
        starts = piece[0] in "▁<" or piece in list(punctuation) or bool(others)
        if token_id < 5:
            assert roles[token_id] == PieceRole.SPECIAL, piece
        else:
            expected = PieceRole.STARTS_WORD if starts else PieceRole.CONTINUES_WORD
            assert roles[token_id] == expected, piece
