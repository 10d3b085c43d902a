"""AlbertTokenizer: ids against Google's tokenizer, everything else against transformers."""

import itertools
import pickle
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from helpers.google_tokenizer import (
    UNUSUAL_TEXTS,
    google_clean,
    google_ids,
    numeric_texts,
    real_texts,
)

from albert_torch.tokenization.tokenizer import AlbertTokenizer

# Characters that the Unicode tables of the Rust library do not have yet.
NEW_CHARACTERS = {*range(0xA7F2, 0xA7F5), 0x107A5, 0x1F16C, *range(0x1FBF0, 0x1FBFA)}


def texts_with_other_ids(
    tokenizer: AlbertTokenizer, processor: Any, texts: list[str], **settings: bool
) -> list[str]:
    """The texts whose ids differ from those of Google's tokenizer."""
    rows = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [
        text
        for text, row in zip(texts, rows, strict=True)
        if row != google_ids(processor, google_clean(text, **settings))
    ]


@pytest.mark.parametrize(
    "settings",
    [{}, {"do_lower_case": False}, {"keep_accents": True}, {"remove_space": False}],
    ids=str,
)
def test_ids_of_unusual_texts_equal_google(
    model_file: Path, processor: Any, settings: dict[str, Any]
) -> None:
    """Catches: a setting that is ignored, another set of combining characters or white space."""
    tokenizer = AlbertTokenizer.from_pretrained(model_file, **settings)
    joined_texts = [" ".join(pair) for pair in itertools.pairwise(UNUSUAL_TEXTS)]
    texts = [*UNUSUAL_TEXTS, *joined_texts, *numeric_texts(300)]
    if settings.get("keep_accents"):
        # A documented difference: the Rust library replaces a ligature together with its marks.
        texts = [text for text in texts if "\ufb01\u0301" not in text]
    assert texts_with_other_ids(tokenizer, processor, texts, **settings) == []


def test_ids_of_every_character_equal_google(tokenizer: AlbertTokenizer, processor: Any) -> None:
    """Catches: another Unicode table, a new character that the documentation does not list."""
    # Of private, unassigned, Chinese and Korean characters, some are enough.
    codes = [
        code
        for code in range(0x110000)
        if not 0xD800 <= code < 0xE000 and (code < 0x30000 or code >= 0xE0000 or code % 97 == 0)
    ]
    codes = [code for code in codes if not 0x3400 <= code < 0xD7A4 or code % 31 == 0]
    codes = codes[:: 1 if len(tokenizer) > 1000 else 7]
    texts = [f"ab{chr(code)}cd" for code in codes]
    different = texts_with_other_ids(tokenizer, processor, texts)
    assert {ord(text[2]) for text in different} <= NEW_CHARACTERS


@pytest.mark.assets
def test_ids_of_real_texts_equal_google(assets: Path) -> None:
    """Catches: any difference on 30,000 lines of SST-2, XQuAD, COPA and books."""
    path = assets / "assets" / "spiece.model"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    texts = real_texts(assets)
    assert len(texts) > 25_000
    assert texts_with_other_ids(AlbertTokenizer.from_pretrained(path), processor, texts) == []


@pytest.mark.assets
def test_offsets_contain_the_piece(assets: Path) -> None:
    """Catches: offsets in normalized text, or those of the steps for plain text."""
    tokenizer = AlbertTokenizer.from_pretrained(assets / "assets" / "spiece.model")
    texts = [*real_texts(assets)[:3000], *UNUSUAL_TEXTS, *numeric_texts(200)]
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    for row, text in enumerate(texts):
        previous_start = 0
        for (start, end), piece, token_id in zip(
            batch.offset_mapping[row], batch.tokens(row), batch.input_ids[row], strict=True
        ):
            assert previous_start <= start + 1 <= end + 1 <= len(text) + 1, (text, piece)
            previous_start = start
            # A quotation mark may stand for two characters.
            if token_id != tokenizer.unk_token_id and piece not in ("▁", '"'):
                original = google_clean(text[start:end]).replace(" ", "")
                assert piece.strip("▁") in original, (text, piece)


TEXTS = [
    "the cat sat on a mat",
    "of it 1999, (was) [MASK] not",
    "ﬁne café Ａｂ x",
    "",
    "a " * 30,
]
WORDS = [text.split() for text in TEXTS]
# Positional arguments of a call, and whether the texts are lists of words.
CALLS: list[tuple[tuple[Any, ...], bool]] = [
    ((TEXTS,), False),
    ((TEXTS[0],), False),
    ((TEXTS, TEXTS[::-1]), False),
    ((TEXTS[0], TEXTS[1]), False),
    ((list(zip(TEXTS, TEXTS[::-1], strict=True)),), False),
    ((WORDS,), True),
    ((WORDS[0],), True),
    ((WORDS, WORDS[::-1]), True),
]
OPTIONS: dict[str, tuple[Any, ...]] = {
    "padding": (False, True, "max_length", "do_not_pad"),
    "truncation": (None, True, "only_first", "only_second", False),
    "max_length": (None, 12, 16),
    "stride": (0, 3),
    "pad_to_multiple_of": (None, 8),
    "padding_side": (None, "left"),
    "return_overflowing_tokens": (False, True),
    "return_offsets_mapping": (False, True),
    "add_special_tokens": (True, False),
}


def test_calls_equal_transformers(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Catches: another default, key or order of keys, another rule of padding or truncation."""
    combinations = list(itertools.product(CALLS, *OPTIONS.values()))
    random.seed(3)
    compared = 0
    for (arguments, is_split_into_words), *values in random.sample(combinations, 1500):
        options = {
            **dict(zip(OPTIONS, values, strict=True)),
            "is_split_into_words": is_split_into_words,
            "return_special_tokens_mask": True,
            "return_length": True,
        }
        try:
            ours = tokenizer(*arguments, **options)
        except ValueError:
            with pytest.raises(BaseException, match=r"Truncation error|stride|multiple"):
                reference(*arguments, **options)
            continue
        theirs = reference(*arguments, **options)
        assert list(ours) == list(theirs)
        assert dict(ours) == dict(theirs), options
        for row in range(len(theirs.encodings)):
            assert ours.word_ids(row) == theirs.word_ids(row)
            assert ours.sequence_ids(row) == theirs.sequence_ids(row)
            assert ours.tokens(row) == theirs.tokens(row)
        compared += 1
    assert compared > 1000


def test_truncation_side(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Catches: a truncation_side that is ignored."""
    left = pickle.loads(pickle.dumps(tokenizer))
    left.truncation_side = reference.truncation_side = "left"
    text, pair = "the cat sat on a mat", "in 1,000 and of 2010, it"
    try:
        assert left(text, pair, max_length=9) == dict(reference(text, pair, max_length=9))
    finally:
        reference.truncation_side = "right"


def test_words_may_be_tuples(tokenizer: AlbertTokenizer) -> None:
    """Catches: a tuple of two words taken for a pair."""
    lists = [["the", "cat"], ["a", "mat"]]
    tuples = [tuple(words) for words in lists]
    options: dict[str, Any] = {"is_split_into_words": True, "max_length": 3}
    rows = tokenizer(lists, **options).input_ids
    assert tokenizer(tuples, **options).input_ids == rows
    assert tokenizer(tuples[0], **options).input_ids == rows[0]
    pair = tokenizer([tuple(lists)], is_split_into_words=True)
    assert pair.sequence_ids().count(1) > 0


def test_exact_rows_keep_words_offsets_and_special_tokens(tokenizer: AlbertTokenizer) -> None:
    """Catches: an exact row in which commas are words of their own, or [MASK] is lost."""
    text = "é 21,007 [MASK] b"
    batch = tokenizer([text], ["666 1,0"], return_offsets_mapping=True)
    number_tokens = [
        token
        for token, (word, sequence) in enumerate(
            zip(batch.word_ids(), batch.sequence_ids(), strict=True)
        )
        if (word, sequence) == (1, 0)
    ]
    start = batch.offset_mapping[0][number_tokens[0]][0]
    end = batch.offset_mapping[0][number_tokens[-1]][1]
    assert text[start:end] == "21,007"
    assert batch.input_ids[0].count(tokenizer.mask_token_id) == 1
    assert batch.input_ids[0].count(tokenizer.sep_token_id) == 2


@pytest.mark.parametrize("number", ["21,007", "1,0871", "31,4", "6666", "1,000,666"])
def test_truncated_rows_are_exact(tokenizer: AlbertTokenizer, number: str) -> None:
    """Catches: a suspect piece that truncation removes, so that half of its word stays wrong."""
    text = f"the {number} cat"
    whole = tokenizer(text, add_special_tokens=False).input_ids
    for length in range(1, len(whole)):
        truncated = tokenizer(text, add_special_tokens=False, max_length=length).input_ids
        assert truncated == whole[:length]


def test_pickled_tokenizers_and_threads_give_the_same_ids(tokenizer: AlbertTokenizer) -> None:
    """Catches: settings of truncation that are shared between threads."""
    text = "the cat sat on a mat 21,007"
    expected = {
        length: pickle.loads(pickle.dumps(tokenizer))(text, max_length=length)["input_ids"]
        for length in (4, 5, 30)
    }
    wrong_lengths: list[int] = []

    def encode_often(length: int) -> None:
        for _ in range(200):
            if tokenizer(text, max_length=length)["input_ids"] != expected[length]:
                wrong_lengths.append(length)

    threads = [threading.Thread(target=encode_often, args=(length,)) for length in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong_lengths == []


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((None,), {}, TypeError, "a text must be a str, not NoneType"),
        ((3,), {}, TypeError, "a text must be a str, not int: '3'"),
        ((["a", None],), {}, TypeError, "a text must be a str, not NoneType"),
        ((["a", ["b"]],), {}, TypeError, "a text must be a str, not list"),
        (("a b",), {"is_split_into_words": True}, TypeError, "must be a list of words"),
        (([],), {}, ValueError, "the batch is empty"),
        ((["a", "b"], ["c"]), {}, ValueError, "text_pair must be a list of 2 too, not 1"),
        ((["a", "b"], "c"), {}, ValueError, "text_pair must be a list of 2 too, not str"),
        (
            ("a",),
            {"padding": "longets"},
            ValueError,
            "padding='longets' must be one of 'longest', 'max_length'",
        ),
        (
            ("a",),
            {"padding": True, "padding_side": "top"},
            ValueError,
            "padding_side='top' must be one of 'left', 'right'",
        ),
        (
            ("a",),
            {"truncation": "first"},
            ValueError,
            "truncation='first' must be one of .*'only_first'",
        ),
        (
            ("a",),
            {"truncation": True, "max_length": 8, "stride": 6},
            ValueError,
            "stride=6 must be .* below 6, which is max_length=8",
        ),
        (("a",), {"max_length": 8, "stride": -1}, ValueError, "stride=-1 must be at least 0"),
        (
            ("a",),
            {"truncation": True, "max_length": 1},
            ValueError,
            "max_length=1 has no room for the 2 special tokens",
        ),
        (
            ("a", "b"),
            {"truncation": True, "max_length": 2},
            ValueError,
            "no room for the 3 special tokens",
        ),
        (
            (["a", "a a a"],),
            {"return_tensors": "pt"},
            ValueError,
            "rows of input_ids have .* pass padding=True",
        ),
        (("a",), {"return_tensors": "tf"}, ValueError, "return_tensors='tf' must be one of 'pt'"),
        (("a \ud800",), {}, ValueError, "lone surrogate"),
        (
            ("a " * 9, "b " * 40),
            {"truncation": "only_first", "max_length": 12},
            ValueError,
            "cannot encode .*only_first",
        ),
    ],
)
def test_bad_arguments_are_refused(
    small_model_file: Path,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """Catches: a crash of the Rust library, or a wrong result, instead of advice."""
    tokenizer = AlbertTokenizer.from_pretrained(small_model_file)
    with pytest.raises(error, match=message):
        tokenizer(*arguments, **options)
