"""`BatchEncoding` and padding, against transformers and its data collators."""

import pickle
from typing import Any

import pytest
import torch
import transformers

from albert_torch.tokenization.tokenizer import AlbertTokenizer


def test_a_batch_is_a_dict_with_attributes(tokenizer: AlbertTokenizer) -> None:
    """Catches: a batch that is not a dict, tensors of another dtype, tensors that are not moved."""
    batch = tokenizer(["the cat", "a"], padding=True, return_tensors="pt")
    assert isinstance(batch, dict)
    assert batch.input_ids is batch["input_ids"]
    assert {value.dtype for value in batch.values()} == {torch.int64}
    assert {value.device.type for value in batch.to("meta").values()} == {"meta"}
    with pytest.raises(AttributeError, match=r"no 'labels'; it has input_ids"):
        _ = batch.labels


def test_tensors_of_a_single_text_have_a_batch_dimension(tokenizer: AlbertTokenizer) -> None:
    """Catches: tensors of shape (tokens,), which no model accepts."""
    batch = tokenizer("the cat", return_tensors="pt", return_offsets_mapping=True)
    assert batch["input_ids"].shape[0] == 1
    assert batch["offset_mapping"].shape[2] == 2


def test_a_pickled_batch_keeps_its_tensors(tokenizer: AlbertTokenizer) -> None:
    """Catches: a batch that a worker process cannot return, an error without advice."""
    batch = tokenizer("the cat", return_tensors="pt")
    copied = pickle.loads(pickle.dumps(batch))
    assert copied.input_ids.equal(batch.input_ids)
    with pytest.raises(ValueError, match="pickled, copied or made by pad"):
        copied.word_ids()


def test_positions_in_the_text_equal_transformers(
    tokenizer: AlbertTokenizer, reference: Any
) -> None:
    """Catches: characters that are looked up in the wrong row or the wrong text of a pair."""
    text, pair = "the cat sat on a mat", "in 1,000 and of 2010, it"
    ours, theirs = tokenizer([text] * 2, [pair] * 2), reference([text] * 2, [pair] * 2)
    for sequence, length in ((0, len(text)), (1, len(pair))):
        tokens = [ours.char_to_token(1, char, sequence) for char in range(length)]
        assert tokens == [theirs.char_to_token(1, char, sequence) for char in range(length)]
    assert ours.token_to_chars(1, 2) == tuple(theirs.token_to_chars(1, 2))
    assert ours.word_to_tokens(1, 1) == tuple(theirs.word_to_tokens(1, 1))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": "max_length", "max_length": 30},
        {"pad_to_multiple_of": 8, "padding_side": "left"},
    ],
)
def test_pad_equals_transformers(
    tokenizer: AlbertTokenizer, reference: Any, options: dict[str, Any]
) -> None:
    """Catches: labels that are padded or rounded, a mask that is padded with ones."""
    rows = [
        {**tokenizer(text), "labels": label}
        for text, label in (("the cat", 0.5), ("a cat sat on it", 1.5))
    ]
    ours, theirs = (
        either.pad([dict(row) for row in rows], return_tensors="pt", **options)
        for either in (tokenizer, reference)
    )
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0)


def test_pad_of_a_single_row(tokenizer: AlbertTokenizer) -> None:
    """Catches: a list of numbers taken for a list of rows."""
    padded = tokenizer.pad({"input_ids": [5, 6]}, padding="max_length", max_length=3)
    assert padded == {
        "input_ids": [5, 6, tokenizer.pad_token_id],
        "attention_mask": [1, 1, 0],
    }


def test_data_collators_of_transformers_work(tokenizer: Any) -> None:
    """Catches: a method that a collator calls and that is missing."""
    with_padding = transformers.DataCollatorWithPadding(tokenizer)
    batch = with_padding([{"input_ids": torch.tensor([5]), "label": 1}])
    assert batch["labels"].tolist() == [1]
    for_masking = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5)
    masked = for_masking([tokenizer("the cat sat")])
    assert set(masked) == {"input_ids", "token_type_ids", "attention_mask", "labels"}
