"""`TokenizerBase`: special tokens, vocabulary, decoding and saving, against transformers."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.google_tokenizer import UNUSUAL_TEXTS, numeric_texts, real_texts

from albert_torch.tokenization.tokenizer import AlbertTokenizer


def test_special_tokens_equal_transformers(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Catches: special tokens that are exchanged, or counted twice."""
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(tokenizer, f"{name}_token") == getattr(reference, f"{name}_token")
        assert getattr(tokenizer, f"{name}_token_id") == getattr(reference, f"{name}_token_id")
    assert sorted(tokenizer.all_special_ids) == sorted(reference.all_special_ids)
    assert tokenizer.special_tokens_map == reference.special_tokens_map
    assert tokenizer.num_special_tokens_to_add(pair=True) == 3
    assert tokenizer.build_inputs_with_special_tokens([7], [8]) == [2, 7, 3, 8, 3]


def test_special_tokens_masks_equal_transformers(
    tokenizer: AlbertTokenizer, reference: Any
) -> None:
    """Catches: a mask of the row without special tokens."""
    ids = tokenizer("the cat (was)", "of it")["input_ids"]
    expected = reference.get_special_tokens_mask(ids, already_has_special_tokens=True)
    assert tokenizer.get_special_tokens_mask(ids) == expected
    mask = tokenizer.get_special_tokens_mask([7, 3], already_has_special_tokens=False)
    assert mask == [1, 0, 1, 1]


def test_the_vocabulary_equals_transformers(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Catches: vocab_size with added tokens, a wrong id for an unknown piece."""
    assert (len(tokenizer), tokenizer.vocab_size) == (len(reference), reference.vocab_size)
    assert tokenizer.get_vocab() == reference.get_vocab()
    text = "the cat (was) 'not' , in . 1999, [MASK] 漢"
    ids = tokenizer(text, "of it")["input_ids"]
    assert tokenizer.encode(text, "of it") == ids
    assert tokenizer.tokenize(text) == reference.tokenize(text)
    assert tokenizer.convert_ids_to_tokens(ids) == reference.convert_ids_to_tokens(ids)
    assert tokenizer.convert_ids_to_tokens(ids, True) == reference.convert_ids_to_tokens(ids, True)
    pieces = ["▁the", "zzzz?"]
    assert tokenizer.convert_tokens_to_ids(pieces) == reference.convert_tokens_to_ids(pieces)


def test_decoding_equals_transformers(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Catches: special tokens that are not skipped, spaces that are not removed."""
    ids = tokenizer("the cat (was) 'not' , in . 1999, [MASK] 漢", "of it")["input_ids"]
    for skip_special_tokens, clean_up in itertools.product((False, True), (False, True, None)):
        options: dict[str, Any] = {
            "skip_special_tokens": skip_special_tokens,
            "clean_up_tokenization_spaces": clean_up,
        }
        expected = reference.decode(ids, **options)
        assert tokenizer.decode(ids, **options) == expected
        assert tokenizer.decode([ids, ids], **options) == [expected] * 2
        assert tokenizer.batch_decode(torch.tensor([ids]), **options) == [expected]
    assert tokenizer.decode(5) == reference.decode(5)
    pieces = ["▁the", "s"]
    expected = reference.convert_tokens_to_string(pieces)
    assert tokenizer.convert_tokens_to_string(pieces) == expected


def test_ids_out_of_range_are_refused(small_model_file: Path) -> None:
    """Catches: None for an id that is not in the vocabulary."""
    tokenizer = AlbertTokenizer.from_pretrained(small_model_file)
    for bad_id in (-1, 90):
        match = f"id {bad_id} is not in the vocabulary, whose ids go from 0 to 89"
        with pytest.raises(ValueError, match=match):
            tokenizer.convert_ids_to_tokens(bad_id)


def test_a_saved_tokenizer_is_the_same(model_file: Path, tmp_path: Path) -> None:
    """Catches: a setting or an added token that is lost, files left over."""
    tokenizer = AlbertTokenizer.from_pretrained(
        model_file, do_lower_case=False, model_max_length=77, padding_side="left"
    )
    tokenizer.add_tokens(["<new>"])
    tokenizer.pad_token = "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    saved = AlbertTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [*UNUSUAL_TEXTS, *numeric_texts(100), "The <new>Cat", "[MASK] x [CLS]"]
    expected = tokenizer(texts, padding=True, truncation=True)
    assert saved(texts, padding=True, truncation=True) == expected
    assert saved.get_vocab() == tokenizer.get_vocab() == theirs.get_vocab()
    assert (saved.model_max_length, saved.padding_side) == (77, "left")
    assert saved.pad_token_id == tokenizer.sep_token_id
    # The Rust model alone differs where pieces tie, or where a comma is inside a piece.
    certain = [text for text in texts if not re.search(r"\d,\d|(.)\1\1", text)]
    assert saved(certain)["input_ids"] == theirs(certain)["input_ids"]
    assert len(saved) == len(theirs) == tokenizer.vocab_size + 1
    saved.save_pretrained(tmp_path / "twice")
    first_file = (tmp_path / "tokenizer.json").read_text()
    assert (tmp_path / "twice" / "tokenizer.json").read_text() == first_file


@pytest.mark.assets
def test_transformers_reads_what_is_saved(assets: Path, tmp_path: Path) -> None:
    """Catches: a saved pipeline that gives other ids for real text."""
    tokenizer = AlbertTokenizer.from_pretrained(assets / "assets" / "spiece.model")
    tokenizer.save_pretrained(tmp_path)
    texts = real_texts(assets)[::6]
    expected = tokenizer(texts)["input_ids"]
    for their_class in (transformers.AutoTokenizer, transformers.AlbertTokenizer):
        assert their_class.from_pretrained(tmp_path)(texts)["input_ids"] == expected
