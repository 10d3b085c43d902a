"""Examples: which sentences share one, the statistics of 100,000 plans, continuing anywhere."""

import json
import random
from bisect import bisect_right
from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest
import torch
from helpers.small_shards import (
    CLS,
    FIRST_START,
    SEP,
    STARTS,
    ShardsInMemory,
    is_likely,
    make_shard,
    random_documents,
    random_shards,
    write_tokenizer,
)

from albert_torch import AlbertTokenizer
from albert_torch.pretraining.examples import ExampleOptions, ExamplePlan, Examples, Position
from albert_torch.pretraining.shards import Shard
from albert_torch.training.data import collate


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> AlbertTokenizer:
    return write_tokenizer(tmp_path_factory.mktemp("vocabulary"))


def in_memory(*shards: Shard) -> Any:
    return ShardsInMemory(shards)


def plans_of_epoch(examples: Examples, epoch: int = 0) -> list[ExamplePlan]:
    plans = []
    # No epoch here has more than 300,000 examples; without a limit, a fault could run forever.
    for plan, position in islice(examples.plans(Position(epoch)), 300_000):
        if position.epoch > epoch:
            break
        plans.append(plan)
    return plans


def spans_in_document_order(plan: ExamplePlan) -> list[tuple[int, int]]:
    spans = [(plan.a_start, plan.a_stop), (plan.b_start, plan.b_stop)]
    return spans[::-1] if plan.label else spans


def segment_sizes(plan: ExamplePlan) -> tuple[int, int]:
    """The number of tokens of the first and of the second segment."""
    return plan.a_stop - plan.a_start, plan.b_stop - plan.b_start


@pytest.fixture(scope="module")
def shards() -> Any:
    return random_shards(6, 800_000)


@pytest.fixture(scope="module")
def plans(shards: Any, tokenizer: AlbertTokenizer) -> list[ExamplePlan]:
    """More than 100,000 plans: an epoch of examples of up to 48 tokens."""
    options = ExampleOptions(max_length=48, shards_per_group=4)
    plans = plans_of_epoch(Examples(shards, tokenizer, options, seed=5))
    assert len(plans) > 100_000
    return plans


def test_segments_are_of_one_document_and_no_sentence_is_used_twice(
    shards: Any, plans: list[ExamplePlan]
) -> None:
    """Catches: pairs across documents, a sentence in two examples, one too long, an empty one."""
    spans_by_shard: dict[int, list[tuple[int, int]]] = {}
    for plan in plans:
        (start, first_stop), (second_start, stop) = spans_in_document_order(plan)
        assert start < first_stop <= second_start < stop
        assert sum(segment_sizes(plan)) <= 45
        spans_by_shard.setdefault(plan.shard, []).append((start, stop))
    for number, spans in spans_by_shard.items():
        sentence_bounds = shards[number].sentences.tolist()
        document_bounds = [sentence_bounds[i] for i in shards[number].documents.tolist()]
        spans.sort()
        for (_, stop), (next_start, _) in pairwise(spans):
            assert stop <= next_start
            last_sentence = bisect_right(sentence_bounds, stop - 1)
            assert last_sentence <= bisect_right(sentence_bounds, next_start)
        for start, stop in spans:
            document = bisect_right(document_bounds, start)
            assert document == bisect_right(document_bounds, stop - 1)


def test_half_of_the_pairs_are_swapped(plans: list[ExamplePlan]) -> None:
    """Catches: another share, a longer first segment that shows which one was cut first."""
    labels = Counter(plan.label for plan in plans)
    assert labels.keys() == {0, 1}
    assert is_likely(labels[1], len(plans), 0.5)
    truncated = Counter(plan.label for plan in plans if segment_sizes(plan) == (23, 22))
    assert truncated.total() > 1000
    assert is_likely(truncated[1], truncated.total(), 0.5)


def test_one_example_in_ten_is_short(tokenizer: AlbertTokenizer) -> None:
    """Catches: short examples drawn once for all, lengths from 1 on or up to max_length."""
    # Sentences of one token reach every target exactly; only the last example of a document may
    # be shorter than its target.
    shards = in_memory(*(make_shard([[1] * 130_000], seed) for seed in range(10)))
    plans = plans_of_epoch(Examples(shards, tokenizer, ExampleOptions(max_length=16), seed=0))
    lengths = Counter(
        sum(segment_sizes(plan)) for plan in plans if max(plan.a_stop, plan.b_stop) < 130_000
    )
    assert lengths.total() >= 100_000
    assert lengths.keys() == set(range(2, 14))
    for length, count in lengths.items():
        assert is_likely(count, lengths.total(), 0.1 / 12 + 0.9 * (length == 13)), length


def test_pairs_are_cut_after_any_sentence(tokenizer: AlbertTokenizer) -> None:
    """Catches: a first segment that always has one sentence, or always half of them."""
    shards = in_memory(make_shard([[1] * 13] * 20_000))
    options = ExampleOptions(max_length=16, short_seq_prob=0)
    plans = plans_of_epoch(Examples(shards, tokenizer, options, seed=0))
    first_sizes = Counter(segment_sizes(plan)[plan.label] for plan in plans)
    assert first_sizes.keys() == set(range(1, 13))
    assert all(is_likely(count, 20_000, 1 / 12) for count in first_sizes.values())


def test_an_example_is_cls_a_sep_b_sep(tokenizer: AlbertTokenizer) -> None:
    """Catches: other tokens than planned, segment ids or labels off by one, a missing swap."""
    ids = torch.arange(FIRST_START, FIRST_START + STARTS, dtype=torch.int32)
    shards = in_memory(Shard(ids, torch.arange(0, STARTS + 1, 5), torch.tensor([0, 40, 60])))
    examples = Examples(shards, tokenizer, ExampleOptions(max_length=40), seed=0)
    plans = plans_of_epoch(examples)
    assert {plan.label for plan in plans} == {0, 1}
    rows = [examples.build(plan) for plan in plans]
    for plan, row in zip(plans, rows, strict=True):
        a, b = [*range(plan.a_start, plan.a_stop)], [*range(plan.b_start, plan.b_stop)]
        assert (a > b) == bool(plan.label) == bool(row["sentence_order_label"])
        expected = [CLS, *(FIRST_START + i for i in a), SEP, *(FIRST_START + i for i in b), SEP]
        masked_and_labels = zip(row["input_ids"], row["labels"], strict=True)
        original = [i if label == -100 else label for i, label in masked_and_labels]
        assert original == expected
        assert row["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    batch = collate(rows, tokenizer.pad_token_id)
    assert batch["labels"].shape == batch["input_ids"].shape
    assert batch["sentence_order_label"].tolist() == [plan.label for plan in plans]


def test_plans_and_examples_stay_the_same(tokenizer: AlbertTokenizer) -> None:
    """Catches: another order of random numbers, which changes every resumed run."""
    shards = in_memory(make_shard(random_documents(300, (2, 6), (2, 9), 1), 1))
    examples = Examples(shards, tokenizer, ExampleOptions(max_length=24), seed=4)
    plans = [plan for plan, _ in islice(examples.plans(), 3)]
    assert plans == [
        (0, 0, 5, 90, 92, 83, 90, 1),
        (0, 0, 1, 14, 27, 30, 38, 0),
        (0, 0, 3, 50, 62, 66, 75, 0),
    ]
    assert examples.build(plans[0]) == {
        "input_ids": [2, 241, 329, 3, 176, 84, 404, 356, 273, 4, 289, 3],
        "token_type_ids": [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
        "labels": [-100] * 8 + [273, 191, -100, -100],
        "sentence_order_label": 1,
    }


def test_a_lone_sentence_makes_no_example_and_is_counted(tokenizer: AlbertTokenizer) -> None:
    """Catches: an empty second segment, a pair across documents, a wrong count."""
    shards = in_memory(make_shard([[5], [5, 6], [7], [20, 20, 5]]))
    options = ExampleOptions(max_length=43, short_seq_prob=0)
    examples = Examples(shards, tokenizer, options, seed=0)
    spans = sorted(spans_in_document_order(plan) for plan in plans_of_epoch(examples))
    assert spans == [[(5, 10), (10, 16)], [(23, 43), (43, 63)]]
    assert examples.skipped_sentences >= 3  # the last sentence of the fourth document too


def test_a_lone_sentence_can_get_a_segment_of_another_document(
    tokenizer: AlbertTokenizer,
) -> None:
    """Catches: a segment of the same document, label 0, a segment that crosses documents."""
    first_shard = make_shard([[6], [3, 4], [9], [2] * 40])
    bounds = [0, 6, 13, 22, 102]  # of its documents
    # The second shard has no other document.
    shards = in_memory(first_shard, make_shard([[8]]))
    options = ExampleOptions(max_length=24, short_seq_prob=0, random_next_sentence=True)
    examples = Examples(shards, tokenizer, options, seed=0)
    document_pairs = Counter[tuple[int, int]]()
    for epoch in range(200):
        for plan in plans_of_epoch(examples, epoch):
            if plan.shard != 0:
                continue
            a, b = bisect_right(bounds, plan.a_start), bisect_right(bounds, plan.b_start)
            assert bisect_right(bounds, plan.a_stop - 1) == a
            assert bisect_right(bounds, plan.b_stop - 1) == b
            assert sum(segment_sizes(plan)) <= 21
            if a != b:
                assert plan.label == 1
                assert (plan.a_start, plan.a_stop) == (bounds[a - 1], bounds[a])
                document_pairs[a, b] += 1
    assert document_pairs.keys() == {(a, b) for a in (1, 3) for b in range(1, 5) if b != a}
    assert all(is_likely(count, 200, 1 / 3) for count in document_pairs.values())
    # `plans_of_epoch` plans one epoch more, in each of which the second shard's sentence is alone.
    assert examples.skipped_sentences == 400


def test_long_sentences_are_used_as_several(tokenizer: AlbertTokenizer) -> None:
    """Catches: an endless line that makes no example, or of which only the beginning is used."""
    shards = in_memory(make_shard([[10_000]]))
    plans = plans_of_epoch(Examples(shards, tokenizer, ExampleOptions(max_length=64), seed=0))
    assert sum(sum(segment_sizes(plan)) for plan in plans) > 9_500


def test_a_corpus_without_examples_is_refused(tokenizer: AlbertTokenizer) -> None:
    """Catches: an endless loop."""
    examples = Examples(random_shards(2, 300, sentences=(1, 1)), tokenizer, seed=0)
    match = r"no example in \d+ documents .* two sentences or more; .* random_next_sentence"
    with pytest.raises(ValueError, match=match):
        next(examples.plans())


def test_every_epoch_is_different(tokenizer: AlbertTokenizer) -> None:
    """Catches: the same pairs, masks or order again; shards left out of an epoch."""
    shards = random_shards(5, 2_000)
    options = ExampleOptions(max_length=64, shards_per_group=2)
    examples = Examples(shards, tokenizer, options, seed=0)
    first, second = plans_of_epoch(examples), plans_of_epoch(examples, 1)
    assert {plan.shard for plan in first} == {plan.shard for plan in second} == {0, 1, 2, 3, 4}
    first_pairs, second_pairs = ({plan[3:] for plan in plans} for plans in (first, second))
    assert len(first_pairs & second_pairs) < len(first_pairs) / 2

    one_by_one = ExampleOptions(max_length=64, shards_per_group=1)
    alone = Examples(shards, tokenizer, one_by_one, seed=0)
    shard_orders = {
        tuple(dict.fromkeys(plan.shard for plan in plans_of_epoch(alone, epoch)))
        for epoch in range(3)
    }
    assert len(shard_orders) == 3
    builds = [examples.build(first[0]._replace(epoch=epoch)) for epoch in range(2)]
    assert builds[0]["labels"] != builds[1]["labels"]


def test_the_examples_of_a_group_are_shuffled_together(tokenizer: AlbertTokenizer) -> None:
    """Catches: examples in the order of the corpus, groups of another size."""
    options = ExampleOptions(max_length=64, shards_per_group=2)
    plans = plans_of_epoch(Examples(random_shards(5, 2_000), tokenizer, options, seed=0))
    ranges = []  # of the numbers of each shard's examples in the epoch
    for shard in range(5):
        numbers = [number for number, plan in enumerate(plans) if plan.shard == shard]
        ranges.append((min(numbers), max(numbers)))
    ranges.sort()
    # The first two shards overlap and end before the third starts, and so on.
    assert ranges[1][0] < ranges[0][1] < ranges[2][0]
    assert ranges[3][0] < ranges[2][1] < ranges[4][0]


def test_equal_shards_get_different_examples(tokenizer: AlbertTokenizer) -> None:
    """Catches: the same pairs and masks in every shard."""
    shard = random_shards(1, 2_000)[0]
    examples = Examples(in_memory(shard, shard), tokenizer, ExampleOptions(max_length=64), seed=0)
    plans = plans_of_epoch(examples)
    first, second = ({plan[3:] for plan in plans if plan.shard == number} for number in range(2))
    assert len(first & second) < len(first) / 2
    builds = [examples.build(plans[0]._replace(shard=number)) for number in range(2)]
    assert builds[0]["labels"] != builds[1]["labels"]


def test_the_seed_determines_everything(tokenizer: AlbertTokenizer) -> None:
    """Catches: random numbers from a global generator, a seed that is not used."""
    shards, options = random_shards(2, 2_000), ExampleOptions(max_length=64)
    one, same, other = (Examples(shards, tokenizer, options, seed=seed) for seed in (1, 1, 2))
    assert plans_of_epoch(one) == plans_of_epoch(same) != plans_of_epoch(other)
    plan = plans_of_epoch(one)[3]
    assert one.build(plan) == same.build(plan) != other.build(plan)


def test_the_stream_continues_from_any_position(tokenizer: AlbertTokenizer) -> None:
    """Catches: an example lost or repeated at the end of a group or epoch."""
    options = ExampleOptions(max_length=64, shards_per_group=2)
    examples = Examples(random_shards(3, 1_500), tokenizer, options, seed=0)
    stream = list(islice(examples.plans(), 300))
    positions = [position for _, position in stream]
    group_ends = [i for i, (a, b) in enumerate(pairwise(positions)) if a[:2] != b[:2]]
    epoch_ends = [i for i, (a, b) in enumerate(pairwise(positions)) if a.epoch != b.epoch]
    assert len(group_ends) > len(epoch_ends) > 1
    numbers = {*random.Random(0).sample(range(260), 20)}
    numbers |= {i for i in [*group_ends, *epoch_ends] if i < 260}
    for i in numbers:
        position = Position(*json.loads(json.dumps(positions[i])))  # a checkpoint holds JSON
        assert list(islice(examples.plans(position), 40)) == stream[i + 1 : i + 41]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 4}, "max_length=4 must be at least 5"),
        ({"short_seq_prob": 1.5}, "short_seq_prob=1.5 must be from 0 to 1"),
        ({"shards_per_group": 0}, "shards_per_group=0 must be at least 1"),
        ({"masked_lm_prob": 0.0}, "masked_lm_prob=0.0 must be above 0"),
    ],
)
def test_impossible_values_are_refused(
    tokenizer: AlbertTokenizer, options: dict[str, Any], message: str
) -> None:
    """Catches: a value that shows only as an endless loop or an empty example."""
    with pytest.raises(ValueError, match=message):
        Examples(random_shards(1, 100), tokenizer, ExampleOptions(**options), seed=0)


def test_the_shortest_example(tokenizer: AlbertTokenizer) -> None:
    """Catches: an error when there is room for one token per segment."""
    shards = in_memory(make_shard([[3, 1, 2]]))
    examples = Examples(shards, tokenizer, ExampleOptions(max_length=5), seed=0)
    lengths = {len(examples.build(plan)["input_ids"]) for plan in plans_of_epoch(examples)}
    assert lengths == {5}
