"""Batches of examples: their order, and padding."""

import random

import pytest

from albert_torch.training.data import batch_indices, collate


@pytest.mark.parametrize("order", ["length", "random", "file"])
def test_an_epoch_holds_each_row_once(order: str) -> None:
    """Kills: rows lost or doubled, an order that the seed does not decide, epochs that are the
    same.
    """
    lengths = [random.Random(i).randint(1, 50) for i in range(103)]
    feed, again = batch_indices(lengths, 10, order, 3), batch_indices(lengths, 10, order, 3)
    first, second = ([next(feed) for _ in range(10)] for _ in range(2))
    assert [next(again) for _ in range(10)] == first
    assert all(len(batch) == 10 for batch in first)
    assert len({row for batch in first for row in batch}) == 100
    assert (first == second) == (order == "file")
    assert (next(batch_indices(lengths, 10, order, 4)) == first[0]) == (order == "file")
    spread = (
        sum(
            max(lengths[row] for row in batch) - min(lengths[row] for row in batch)
            for batch in first
        )
        / 10
    )
    assert (spread < 10) == (order == "length")
    sizes = [sum(lengths[row] for row in batch) for batch in first]
    assert sizes != sorted(sizes)  # batches of like length, but not the short ones first


def test_collate_pads_ids_labels_and_choices() -> None:
    """Kills: a mask of the padded length, labels padded with a class, choices of unlike length."""
    batch = collate(
        [{"input_ids": [5, 6], "labels": [1, 2]}, {"input_ids": [7], "labels": [3]}], pad_token_id=9
    )
    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [[1, 2], [3, -100]]
    choices = collate([{"input_ids": [[5], [6, 7]], "labels": 1}], pad_token_id=9)
    assert choices["input_ids"].tolist() == [[[5, 9], [6, 7]]]
    assert choices["attention_mask"].tolist() == [[[1, 0], [1, 1]]]
    assert choices["labels"].tolist() == [1]
