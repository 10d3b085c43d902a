"""Batches of examples: their order, padding, and the batches of an evaluation."""

import random

import pytest

from albert_torch.training.data import (
    batch_indices,
    collate,
    count_targets,
    count_tokens,
    evaluation_batches,
    example_length,
)


@pytest.mark.parametrize("batching", ["length", "random", "file"])
def test_an_epoch_holds_each_example_once(batching: str) -> None:
    """Kills: examples lost or repeated, an order that the seed does not determine, equal epochs."""
    lengths = [random.Random(i).randint(1, 50) for i in range(103)]
    batches, again = (batch_indices(lengths, 10, batching, 3) for _ in range(2))
    first, second = ([next(batches) for _ in range(10)] for _ in range(2))
    assert [next(again) for _ in range(10)] == first
    assert all(len(batch) == 10 for batch in first)
    assert len({i for batch in first for i in batch}) == 100
    in_file_order = batching == "file"
    assert (first == second) == in_file_order
    assert (next(batch_indices(lengths, 10, batching, 4)) == first[0]) == in_file_order


def test_examples_of_similar_length_are_together() -> None:
    """Kills: batches in which half of the tokens are padding, batches sorted by length."""
    lengths = [random.Random(i).randint(1, 50) for i in range(103)]
    for batching in ("length", "random"):
        batches = batch_indices(lengths, 10, batching, 3)
        epoch = [[lengths[i] for i in next(batches)] for _ in range(10)]
        mean_spread = sum(max(batch) - min(batch) for batch in epoch) / 10
        assert (mean_spread < 10) == (batching == "length")
        token_counts = [sum(batch) for batch in epoch]
        assert token_counts != sorted(token_counts)


def test_a_batch_is_never_larger_than_the_data() -> None:
    """Kills: an endless loop when no batch can be filled."""
    assert sorted(next(batch_indices([3, 1, 2], 8, "random", 1))) == [0, 1, 2]


def test_collate_pads_ids_labels_and_choices() -> None:
    """Kills: a mask of the padded length, labels padded with a class, choices of unequal length."""
    examples = [{"input_ids": [5, 6], "labels": [1, 2]}, {"input_ids": [7], "labels": [3]}]
    batch = collate(examples, pad_token_id=9)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [[1, 2], [3, -100]]
    batch = collate([{"input_ids": [[5], [6, 7]], "labels": 1}], pad_token_id=9)
    assert batch["input_ids"].tolist() == [[[5, 9], [6, 7]]]
    assert batch["attention_mask"].tolist() == [[[1, 0], [1, 1]]]
    assert batch["labels"].tolist() == [1]
    segments = [
        {"input_ids": [5, 6], "token_type_ids": [0, 1]},
        {"input_ids": [7], "token_type_ids": [1]},
    ]
    assert collate(segments, pad_token_id=9)["token_type_ids"].tolist() == [[0, 1], [1, 0]]


def test_labels_that_are_lists_of_another_kind_are_not_padded() -> None:
    """Kills: the 0/1 labels of a multi-label example padded like labels of tokens."""
    examples = [{"input_ids": [5, 6, 7], "labels": [0.0, 1.0, 1.0]}] * 2
    assert collate(examples, pad_token_id=9)["labels"].tolist() == [[0.0, 1.0, 1.0]] * 2
    examples = [{"input_ids": [5, 6, 7], "labels": [0, 1]}, {"input_ids": [5], "labels": [1, 1]}]
    assert collate(examples, pad_token_id=9)["labels"].tolist() == [[0, 1], [1, 1]]


def test_lengths_and_counts() -> None:
    """Kills: the tokens of one choice counted for all, -100 counted as a label."""
    choices = {"input_ids": [[5], [6, 7]]}
    assert (example_length(choices), count_tokens(choices)) == (2, 3)
    text = {"input_ids": [5, 6, 7], "labels": [-100, 4, 0]}
    assert (example_length(text), count_tokens(text), count_targets(text)) == (3, 3, 2)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_processes_share_an_evaluation(world_size: int, count: int) -> None:
    """Kills: an example that no process computes or two count, an unequal number of calls."""
    examples = [{"input_ids": [1] * (i % 4 + 1)} for i in range(count)]
    shares = [list(evaluation_batches(examples, 2, rank, world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    counted = [i for share in shares for indices, counts in share if counts for i in indices]
    assert sorted(counted) == list(range(count))
    first_indices, _ = shares[0][0]
    assert len(examples[first_indices[0]]["input_ids"]) == max(
        len(e["input_ids"]) for e in examples
    )
