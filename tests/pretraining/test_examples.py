"""Examples: who shares a row with whom, the statistics of 100,000 plans, and a stream that continues anywhere."""

import json
import random
from bisect import bisect_right
from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest
import torch
from helpers.small_shards import FIRST, WORDS, Stack, documents, shard, tokenizer, within

from albert_torch import AlbertTokenizer
from albert_torch.pretraining.examples import Examples, Plan, Position, truncate
from albert_torch.pretraining.shards import Shard
from albert_torch.training.data import collate

CLS, SEP = 2, 3


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> AlbertTokenizer:
    return tokenizer(tmp_path_factory.mktemp("vocabulary"))


def corpus(
    shards: int,
    tokens: int,
    sentences: tuple[int, int] = (1, 12),
    length: tuple[int, int] = (1, 20),
) -> Stack:
    return Stack(shard(documents(tokens, sentences, length, i), i) for i in range(shards))


def epoch(examples: Examples, number: int = 0) -> list[Plan]:
    """All plans of an epoch."""
    found = []
    for plan, position in islice(
        examples.plan(Position(number)), 300_000
    ):  # no epoch here has more
        if position.epoch > number:
            break
        found.append(plan)
    return found


def spans(plan: Plan) -> list[tuple[int, int]]:
    """Both segments in the document's order."""
    pair = [(plan.a_start, plan.a_stop), (plan.b_start, plan.b_stop)]
    return pair[::-1] if plan.label else pair


def sizes(plan: Plan) -> tuple[int, int]:
    """The tokens of both segments in the row's order."""
    return plan.a_stop - plan.a_start, plan.b_stop - plan.b_start


@pytest.fixture(scope="module")
def shards() -> Stack:
    return corpus(6, 800_000)


@pytest.fixture(scope="module")
def plans(shards: Stack, known: AlbertTokenizer) -> list[Plan]:
    """More than 100,000 examples: an epoch of rows of up to 48 tokens."""
    found = epoch(Examples(shards, known, max_length=48, group=4, seed=5))
    assert len(found) > 100_000
    return found


def test_segments_are_of_one_document_and_no_sentence_serves_twice(
    shards: Stack, plans: list[Plan]
) -> None:
    """Kills: pairs over a document's end, a sentence in two rows, a row that is too long, an empty segment."""
    used: dict[int, list[tuple[int, int]]] = {}
    for plan in plans:
        (start, middle), (again, stop) = spans(plan)
        assert start < middle <= again < stop
        assert sum(sizes(plan)) <= 45
        used.setdefault(plan.shard, []).append((start, stop))
    for number, found in used.items():
        sentences = shards[number].sentences.tolist()
        ends = [sentences[i] for i in shards[number].documents.tolist()]
        found.sort()
        assert all(bisect_right(sentences, stop - 1) <= bisect_right(sentences, start)
                   for (_, stop), (start, _) in pairwise(found))  # fmt: skip
        assert all(stop <= start for (_, stop), (start, _) in pairwise(found))
        assert all(
            bisect_right(ends, start) == bisect_right(ends, stop - 1) for start, stop in found
        )


def test_half_of_the_pairs_are_swapped(plans: list[Plan]) -> None:
    """Kills: swapping more than half, a longer first segment that gives away which one was cut first."""
    labels = Counter(plan.label for plan in plans)
    assert labels.keys() == {0, 1}
    assert within(labels[1], len(plans), 0.5)
    cut = Counter(plan.label for plan in plans if sizes(plan) == (23, 22))
    assert cut.total() > 1000
    assert within(cut[1], cut.total(), 0.5)


def test_one_row_in_ten_is_short(known: AlbertTokenizer) -> None:
    """Kills: short rows drawn for the corpus and not for each row, lengths from 1 or up to max_length."""
    # Sentences of one token reach every target exactly; only the last example of a document falls short of it.
    shards = Stack(shard([[1] * 130_000], i) for i in range(10))
    plans = epoch(Examples(shards, known, max_length=16, seed=0))
    lengths = Counter(sum(sizes(plan)) for plan in plans if max(plan.a_stop, plan.b_stop) < 130_000)
    assert lengths.total() >= 100_000
    assert lengths.keys() == set(range(2, 14))
    assert all(within(lengths[n], lengths.total(), 0.1 / 12 + 0.9 * (n == 13)) for n in lengths)


def test_pairs_are_parted_at_any_sentence(known: AlbertTokenizer) -> None:
    """Kills: a first segment that always has one sentence, or always half."""
    shards = Stack([shard([[1] * 13] * 20_000)])
    plans = epoch(Examples(shards, known, max_length=16, short_seq_prob=0, seed=0))
    cuts = Counter(sizes(plan)[plan.label] for plan in plans)
    assert cuts.keys() == set(range(1, 13))
    assert all(within(count, 20_000, 1 / 12) for count in cuts.values())


def test_truncation_takes_one_token_after_the_other_from_the_longer() -> None:
    """Kills: cutting the second segment only, or the end only; a share of the cut that goes by length."""
    draw, fronts = random.Random(0), 0
    for a in range(1, 30):
        for b in range(1, 30):
            lengths, room = [a, b], 17
            while sum(lengths) > room:
                lengths[0 if lengths[0] > lengths[1] else 1] -= 1
            a_start, a_stop, b_start, b_stop = truncate((0, a), (100, 100 + b), room, draw)
            assert [a_stop - a_start, b_stop - b_start] == lengths
            assert a_start >= 0
            assert a_stop <= a
            assert b_start >= 100
            assert b_stop <= 100 + b
    for _ in range(5_000):
        a_start, _, b_start, _ = truncate((0, 12), (0, 10), 12, draw)
        fronts += a_start + b_start
    assert within(fronts, 50_000, 0.5)


def test_a_row_is_cls_a_sep_b_sep(known: AlbertTokenizer) -> None:
    """Kills: the segments of another place, types off by one, labels at other places, no swap in the row."""
    ids = torch.arange(FIRST, FIRST + WORDS, dtype=torch.int32)
    shards = Stack([Shard(ids, torch.arange(0, WORDS + 1, 5), torch.tensor([0, 40, 60]))])
    examples = Examples(shards, known, max_length=40, seed=0)
    plans = epoch(examples)
    assert {plan.label for plan in plans} == {0, 1}
    rows = [examples.row(plan) for plan in plans]
    for plan, row in zip(plans, rows, strict=True):
        a, b = [*range(plan.a_start, plan.a_stop)], [*range(plan.b_start, plan.b_stop)]
        assert (a > b) == bool(plan.label) == bool(row["sentence_order_label"])
        whole = [CLS, *(FIRST + i for i in a), SEP, *(FIRST + i for i in b), SEP]
        shown = zip(row["input_ids"], row["labels"], strict=True)
        assert [i if label == -100 else label for i, label in shown] == whole
        assert row["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    batch = collate(rows, known.pad_token_id)
    assert batch["labels"].shape == batch["input_ids"].shape
    assert batch["sentence_order_label"].tolist() == [plan.label for plan in plans]


def test_a_lone_sentence_gives_no_example_and_is_counted(known: AlbertTokenizer) -> None:
    """Kills: an empty second segment, a pair over the document's end, a count of none."""
    shards = Stack([shard([[5], [5, 6], [7], [20, 20, 5]])])
    examples = Examples(shards, known, max_length=43, short_seq_prob=0, seed=0)
    found = sorted(spans(plan) for plan in epoch(examples))
    assert found == [[(5, 10), (10, 16)], [(23, 43), (43, 63)]]
    assert examples.skipped >= 3  # the third document's rest of one sentence too


def test_a_lone_sentence_can_get_a_second_segment_from_elsewhere(known: AlbertTokenizer) -> None:
    """Kills: a second segment of the same document, label 0, a piece that runs over its document's end."""
    lengths = [[6], [3, 4], [9], [2] * 40]
    shards, bounds = Stack([shard(lengths), shard([[8]])]), [0, 6, 13, 22, 102]
    examples = Examples(
        shards, known, max_length=24, short_seq_prob=0, random_next_sentence=True, seed=0
    )
    elsewhere = Counter[tuple[int, int]]()
    for number in range(200):
        plans = [plan for plan in epoch(examples, number) if plan.shard == 0]
        for plan in plans:
            a, b = (bisect_right(bounds, i) for i in (plan.a_start, plan.b_start))
            assert bisect_right(bounds, plan.a_stop - 1) == a
            assert bisect_right(bounds, plan.b_stop - 1) == b
            assert sum(sizes(plan)) <= 21
            if a != b:
                assert plan.label == 1
                assert (plan.a_start, plan.a_stop) == (bounds[a - 1], bounds[a])
                elsewhere[a, b] += 1
    assert elsewhere.keys() == {(a, b) for a in (1, 3) for b in range(1, 5) if b != a}
    assert all(within(count, 200, 1 / 3) for count in elsewhere.values())
    assert (
        examples.skipped == 400
    )  # the other shard has no other document; `epoch` looks one epoch ahead


def test_long_sentences_are_parted(known: AlbertTokenizer) -> None:
    """Kills: one endless line that gives no example, or loses all but a row's length."""
    shards = Stack([shard([[10_000]])])
    plans = epoch(Examples(shards, known, max_length=64, seed=0))
    assert sum(sum(sizes(plan)) for plan in plans) > 9_500


def test_a_corpus_without_any_example_is_refused(known: AlbertTokenizer) -> None:
    """Kills: a loop without end."""
    examples = Examples(corpus(2, 300, sentences=(1, 1)), known, seed=0)
    with pytest.raises(
        ValueError,
        match=r"no example in \d+ documents .* two sentences or more; .* random_next_sentence",
    ):
        next(examples.plan())


def test_each_epoch_is_another_one(known: AlbertTokenizer) -> None:
    """Kills: the same pairs, masks, order of shards or order in a group again; shards left out of an epoch."""
    shards = corpus(5, 2_000)
    examples = Examples(shards, known, max_length=64, group=2, seed=0)
    first, second = epoch(examples), epoch(examples, 1)
    assert {plan.shard for plan in first} == {plan.shard for plan in second} == {0, 1, 2, 3, 4}
    pairs = [{plan[3:] for plan in plans} for plans in (first, second)]
    assert len(pairs[0] & pairs[1]) < len(pairs[0]) / 2
    alone = Examples(shards, known, max_length=64, group=1, seed=0)
    orders = {
        tuple(dict.fromkeys(plan.shard for plan in epoch(alone, number))) for number in range(3)
    }
    assert len(orders) == 3
    plan = first[0]
    masks = [examples.row(plan._replace(epoch=number)) for number in range(2)]
    assert masks[0]["labels"] != masks[1]["labels"]
    places = {
        shard: [i for i, plan in enumerate(first) if plan.shard == shard] for shard in range(5)
    }
    together = sorted(
        (min(where), max(where)) for where in places.values()
    )  # two by two, each pair mixed
    assert together[1][0] < together[0][1] < together[2][0]
    assert together[3][0] < together[2][1] < together[4][0]


def test_equal_shards_are_drawn_apart(known: AlbertTokenizer) -> None:
    """Kills: the same pairs and masks in each shard, in step with each other."""
    examples = Examples(Stack(corpus(1, 2_000) * 2), known, max_length=64, seed=0)
    plans = epoch(examples)
    first, second = ({plan[3:] for plan in plans if plan.shard == number} for number in range(2))
    assert len(first & second) < len(first) / 2
    rows = [examples.row(plans[0]._replace(shard=number)) for number in range(2)]
    assert rows[0]["labels"] != rows[1]["labels"]


def test_the_seed_decides(known: AlbertTokenizer) -> None:
    """Kills: draws from a global generator, a seed that is not looked at."""
    shards = corpus(2, 2_000)
    one, same, other = (Examples(shards, known, max_length=64, seed=seed) for seed in (1, 1, 2))
    assert epoch(one) == epoch(same) != epoch(other)
    plan = epoch(one)[3]
    assert one.row(plan) == same.row(plan) != other.row(plan)


def test_the_stream_continues_anywhere(known: AlbertTokenizer) -> None:
    """Kills: an example lost or repeated at the end of a group or an epoch, a position JSON cannot hold."""
    examples = Examples(corpus(3, 1_500), known, max_length=64, group=2, seed=0)
    stream = list(islice(examples.plan(), 300))
    groups = [i for i, (a, b) in enumerate(pairwise(stream)) if a[1][:2] != b[1][:2]]
    epochs = [i for i, (a, b) in enumerate(pairwise(stream)) if a[1].epoch != b[1].epoch]
    assert len(groups) > len(epochs) > 1
    for i in {
        *random.Random(0).sample(range(260), 20),
        *(i for i in [*groups, *epochs] if i < 260),
    }:
        position = Position(*json.loads(json.dumps(stream[i][1])))
        assert list(islice(examples.plan(position), 40)) == stream[i + 1 : i + 41]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 4}, "max_length=4 must be at least 5"),
        ({"short_seq_prob": 1.5}, "short_seq_prob=1.5 must be from 0 to 1"),
        ({"group": 0}, "group=0 must be at least 1"),
        ({"masked_lm_prob": 0.0}, "masked_lm_prob=0.0 must be above 0"),
    ],
)
def test_impossible_values(known: AlbertTokenizer, options: dict[str, Any], message: str) -> None:
    """Kills: a value that shows only as an endless loop or an empty row."""
    with pytest.raises(ValueError, match=message):
        Examples(corpus(1, 100), known, seed=0, **options)


def test_the_shortest_row(known: AlbertTokenizer) -> None:
    """Kills: a division by a room of nothing."""
    examples = Examples(Stack([shard([[3, 1, 2]])]), known, max_length=5, seed=0)
    assert {len(examples.row(plan)["input_ids"]) for plan in epoch(examples)} == {5}
