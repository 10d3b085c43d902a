"""The inputs of the check: padding, choices, labels, texts."""

from pathlib import Path

import pytest
import torch
from helpers.constants import SHARED

from albert_torch import AlbertConfig
from albert_torch.heads import HEADS
from albert_torch.parity.inputs import RANDOM_LENGTHS, make_batches, random_inputs, read_text_pairs


@pytest.mark.parametrize(
    ("head", "problem_type", "num_labels", "shape"),
    [
        ("SequenceClassification", None, 1, (4,)),
        ("SequenceClassification", "multi_label_classification", 3, (4, 3)),
        ("SequenceClassification", "regression", 2, (4, 2)),
        ("MultipleChoice", None, 2, (2,)),
        ("MaskedLM", None, 2, (4, 16)),
    ],
)
def test_labels_fit_the_head(
    head: str, problem_type: str | None, num_labels: int, shape: tuple[int, ...]
) -> None:
    """Catches: labels that are not those of the head's own `example_labels`."""
    config = AlbertConfig(**{**SHARED, "problem_type": problem_type, "num_labels": num_labels})
    model = HEADS[head](config)
    (batch,) = make_batches(model, random_inputs(config, 0), seed=0)
    assert batch["labels"].shape == shape
    (again,) = make_batches(model, random_inputs(config, 0), seed=0)
    assert torch.equal(batch["labels"], again["labels"])


def test_rows_are_padded_and_split_into_batches() -> None:
    """Catches: a mask that counts padding, a row that is lost, choices of different examples."""
    config = AlbertConfig(**SHARED)
    inputs = random_inputs(config, 0)
    assert [len(ids) for ids, _ in inputs] == list(RANDOM_LENGTHS)
    assert all(config.pad_token_id not in ids for ids, _ in inputs)
    first, second = make_batches(HEADS["Model"](config), [*inputs, inputs[1]], seed=0)
    assert first["attention_mask"].sum(1).tolist() == list(RANDOM_LENGTHS)
    assert first["input_ids"][1, RANDOM_LENGTHS[1] :].eq(config.pad_token_id).all()
    assert first["token_type_ids"][0].tolist() == inputs[0][1]
    assert second["input_ids"].tolist() == [inputs[1][0]]
    choices, odd = make_batches(HEADS["MultipleChoice"](config), [*inputs, inputs[1]], seed=0)
    assert choices["input_ids"].shape == (2, 2, 16)
    assert torch.equal(choices["input_ids"].flatten(0, 1), first["input_ids"])
    assert odd["input_ids"].tolist() == [[inputs[1][0]] * 2]


def test_texts_of_a_file(tmp_path: Path) -> None:
    """Catches: a line separator of Unicode that splits a text, and a pair read as one text."""
    path = tmp_path / "texts"
    path.write_text("a\tb\n\nc\u2028d\n \ne\t\n", encoding="utf-8")
    assert read_text_pairs(path) == [("a", "b"), ("c\u2028d", None), ("e", "")]
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="texts contains no text: write one text per line"):
        read_text_pairs(path)
