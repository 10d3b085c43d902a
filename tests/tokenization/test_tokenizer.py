"""AlbertTokenizer: ids against sentencepiece and Google's clean-up, everything else against transformers."""

import itertools
import json
import pickle
import random
import re
import sys
import threading
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
import transformers
from tokenization.test_sentencepiece import google, numbers, train

from albert_torch.tokenization.tokenizer import AlbertTokenizer

HARD = [
    "", " ", "\t\n", "a\x00b", "a\x0bb", "a\x1cb\x1db", "\x85a\xa0b\u2003c", "zero\u200bwidth\u200d\ufeffjoin",
    "😀 emoji 👩‍👩‍👧 end", "漢字とかな 混じり", "한글 \u1112\u1161\u11ab", "ＦＵＬＬ ｗｉｄｔｈ，１，２３４",
    "ﬁne ﬄoat ㎏ ½ ②", "cafe\u0301 café Ångström", "İstanbul Iı ẞ ΣΑΣ", "कि \u0903x a\u093fb",
    "``quoted'' 'single' “curly”", "1,234 2010,000 21,007 1,2,3,4 ,, 9,", "▁a a▁b ▁ ▁▁x", "x" * 3000,
    "3.14 £5 €6 1–2 (a)-b", "in 1999, and 2010,", "\u0301\u0302", "\ufb01\u0301", "<s> &amp; [unk]",
    "hello   world  ", "𝕳𝖊𝖑𝖑𝖔 ℌ", "\u202eabc\u202c", "soft\xadhyphen", "a\u0338=b",
]  # fmt: skip
# unknown to the Unicode tables of the Rust library, known to newer ones
YOUNG = {*range(0xA7F2, 0xA7F5), 0x107A5, 0x1F16C, *range(0x1FBF0, 0x1FBFA)}


def clean(
    text: str, do_lower_case: bool = True, keep_accents: bool = False, remove_space: bool = True
) -> str:
    """preprocess_text of google-research/albert, with the quote rule of its users."""
    text = " ".join(text.strip().split()) if remove_space else text
    text = text.replace("``", '"').replace("''", '"')
    if not keep_accents:
        text = "".join(
            c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)
        )
    return text.lower() if do_lower_case else text


def differing(
    tokenizer: AlbertTokenizer, processor: Any, texts: list[str], **flags: bool
) -> list[str]:
    rows = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return [
        t for t, row in zip(texts, rows, strict=True) if row != google(processor, clean(t, **flags))
    ]


def real_texts(assets: Path) -> list[str]:
    data = assets / "data"
    texts = [line.split("\t")[0] for line in (data / "SST-2/dev.tsv").read_text().splitlines()[1:]]
    for article in json.loads((data / "XQuAD-en/xquad.en.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            texts += [paragraph["context"], *(qa["question"] for qa in paragraph["qas"])]
    for path in (data / "COPA").glob("*.xml"):
        texts += re.findall(r"<(?:p|a1|a2)>(.*?)</", path.read_text())
    books = [
        p.read_text(encoding="utf-8", errors="replace")
        for p in sorted((data / "gutenberg").glob("[!D]*.txt"))
    ]
    return texts + list(itertools.chain.from_iterable(book.split("\n")[:1500] for book in books))


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spiece") / "spiece.model"
    path.write_bytes(train())
    return path


@pytest.fixture(
    scope="session", params=["small", pytest.param("published", marks=pytest.mark.assets)]
)
def source(request: pytest.FixtureRequest, model_file: Path) -> Path:
    if request.param == "small":
        return model_file
    return request.getfixturevalue("assets") / "assets" / "spiece.model"


@pytest.fixture(scope="session")
def tokenizer(source: Path) -> AlbertTokenizer:
    return AlbertTokenizer.from_pretrained(source)


@pytest.fixture(scope="session")
def processor(source: Path) -> "sentencepiece.SentencePieceProcessor":
    return sentencepiece.SentencePieceProcessor(model_file=str(source))


@pytest.fixture(scope="session")
def reference(tokenizer: AlbertTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "flags",
    [{}, {"do_lower_case": False}, {"keep_accents": True}, {"remove_space": False}],
    ids=lambda flags: str(flags),
)
def test_hard_strings_equal_the_original(
    source: Path, processor: Any, flags: dict[str, bool]
) -> None:
    """Kills: a flag not honoured, StripAccents for combining(), \\x1c kept, a raw U+2581, unknowns that do not fuse."""
    tokenizer = AlbertTokenizer.from_pretrained(source, **flags)
    texts = [*HARD, *(" ".join(pair) for pair in itertools.pairwise(HARD)), *numbers(300)]
    if flags.get(
        "keep_accents"
    ):  # documented: the Rust library maps a ligature and its marks as one
        texts = [text for text in texts if "\ufb01\u0301" not in text]
    assert differing(tokenizer, processor, texts, **flags) == []


def test_every_code_point_equals_the_original(tokenizer: AlbertTokenizer, processor: Any) -> None:
    """Kills: another Unicode table in normalization, lower casing or white space; a young character not listed."""
    codes = [
        c
        for c in range(0x110000)
        if not 0xD800 <= c < 0xE000 and (c < 0x30000 or c >= 0xE0000 or c % 97 == 0)
    ]
    codes = [c for c in codes if not 0x3400 <= c < 0xD7A4 or c % 31 == 0]
    codes = codes[:: 1 if len(tokenizer) > 1000 else 7]
    wrong = differing(tokenizer, processor, [f"ab{chr(c)}cd" for c in codes])
    assert {ord(text[2]) for text in wrong} <= YOUNG


@pytest.mark.assets
def test_real_text_equals_the_original(assets: Path) -> None:
    """Kills: any difference on 30,000 lines of SST-2, XQuAD, COPA and books."""
    path = assets / "assets" / "spiece.model"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    texts = real_texts(assets)
    assert len(texts) > 25_000
    assert differing(AlbertTokenizer.from_pretrained(path), processor, texts) == []


@pytest.mark.assets
def test_offsets_hold_the_piece_in_the_original_text(assets: Path) -> None:
    """Kills: offsets into the normalized text, or those of the slow and the quick way mixed up."""
    tokenizer = AlbertTokenizer.from_pretrained(assets / "assets" / "spiece.model")
    texts = [*real_texts(assets)[:3000], *HARD, *numbers(200)]
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    for i, text in enumerate(texts):
        last = 0
        for (start, end), token, token_id in zip(
            batch.offset_mapping[i], batch.tokens(i), batch.input_ids[i], strict=True
        ):
            assert last <= start + 1 <= end + 1 <= len(text) + 1, (text, token)
            last = start
            if token_id != tokenizer.unk_token_id and token not in (
                "▁",
                '"',
            ):  # a quote of two characters
                assert token.strip("▁") in clean(text[start:end]).replace(" ", ""), (text, token)


def test_call_equals_transformers_over_the_grid(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Kills: a default, a key or its order, a padding or truncation rule, words or sequences that differ."""
    texts = [
        "the cat sat on a mat",
        "of it 1999, (was) [MASK] not",
        "ﬁne café Ａｂ x",
        "",
        "a " * 30,
    ]
    other = texts[::-1]
    words = [text.split() for text in texts]
    calls = [
        (texts,),
        (texts[0],),
        (texts, other),
        (texts[0], texts[1]),
        (list(zip(texts, other, strict=True)),),
    ]
    calls = [(call, False) for call in calls] + [
        ((words,), True),
        ((words[0],), True),
        ((words, words[::-1]), True),
    ]
    grid = list(
        itertools.product(
            calls, (False, True, "max_length", "do_not_pad"), (None, True, "only_first", "only_second", False),
            (None, 12, 16), (0, 3), (None, 8), (None, "left"), (False, True), (False, True), (True, False),
        )
    )  # fmt: skip
    random.seed(3)
    compared = 0
    for (
        (call, split),
        padding,
        truncation,
        length,
        stride,
        multiple,
        side,
        overflow,
        offsets,
        special,
    ) in random.sample(grid, 1500):
        options = {
            "padding": padding, "truncation": truncation, "max_length": length, "stride": stride,
            "pad_to_multiple_of": multiple, "padding_side": side, "return_overflowing_tokens": overflow,
            "return_offsets_mapping": offsets, "return_special_tokens_mask": True, "return_length": True,
            "add_special_tokens": special, "is_split_into_words": split,
        }  # fmt: skip
        try:
            ours = tokenizer(*call, **options)
        except ValueError:
            with pytest.raises(BaseException, match=r"Truncation error|stride|multiple"):
                reference(*call, **options)
            continue
        theirs = reference(*call, **options)
        assert list(ours) == list(theirs)
        assert dict(ours) == dict(theirs), options
        for i in range(len(theirs.encodings)):
            assert ours.word_ids(i) == theirs.word_ids(i)
            assert ours.sequence_ids(i) == theirs.sequence_ids(i)
            assert ours.tokens(i) == theirs.tokens(i)
        compared += 1
    assert compared > 1000


def test_truncation_side_and_char_to_token(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Kills: an ignored truncation_side; characters looked up in the wrong row or sequence."""
    left = pickle.loads(pickle.dumps(tokenizer))
    left.truncation_side = reference.truncation_side = "left"
    text, pair = "the cat sat on a mat", "in 1,000 and of 2010, it"
    try:
        assert left(text, pair, max_length=9) == dict(reference(text, pair, max_length=9))
    finally:
        reference.truncation_side = "right"
    ours, theirs = tokenizer([text, text], [pair, pair]), reference([text, text], [pair, pair])
    for sequence, length in ((0, len(text)), (1, len(pair))):
        found = [ours.char_to_token(1, i, sequence) for i in range(length)]
        assert found == [theirs.char_to_token(1, i, sequence) for i in range(length)]
    assert ours.token_to_chars(1, 2) == tuple(theirs.token_to_chars(1, 2))
    assert ours.word_to_tokens(1, 1) == tuple(theirs.word_to_tokens(1, 1))


def test_words_may_be_tuples(tokenizer: AlbertTokenizer) -> None:
    """Kills: a tuple of two words taken for a pair."""
    lists = [["the", "cat"], ["a", "mat"]]
    rows = tokenizer(lists, is_split_into_words=True, max_length=3).input_ids
    assert (
        tokenizer(
            [tuple(words) for words in lists], is_split_into_words=True, max_length=3
        ).input_ids
        == rows
    )
    assert tokenizer(tuple(lists[0]), is_split_into_words=True, max_length=3).input_ids == rows[0]
    assert tokenizer([tuple(lists)], is_split_into_words=True).sequence_ids().count(1) > 0


def test_exact_rows_keep_words_offsets_and_special_tokens(tokenizer: AlbertTokenizer) -> None:
    """Kills: an exact row whose cut commas count as words of their own, or that loses [MASK] or its pair."""
    batch = tokenizer(["é 21,007 [MASK] b"], ["666 1,0"], return_offsets_mapping=True)
    text = "é 21,007 [MASK] b"
    number = [
        i for i, word in enumerate(batch.word_ids()) if word == 1 and batch.sequence_ids()[i] == 0
    ]
    assert (
        text[batch.offset_mapping[0][number[0]][0] : batch.offset_mapping[0][number[-1]][1]]
        == "21,007"
    )
    assert batch.input_ids[0].count(tokenizer.mask_token_id) == 1
    assert batch.input_ids[0].count(tokenizer.sep_token_id) == 2


def test_the_cut_of_a_truncated_row_is_exact(tokenizer: AlbertTokenizer) -> None:
    """Kills: a suspect piece that truncation removes before it is seen, its half of the word left wrong."""
    for text in (
        f"the {number} cat" for number in ("21,007", "1,0871", "31,4", "6666", "1,000,666")
    ):
        whole = tokenizer(text, add_special_tokens=False).input_ids
        for length in range(1, len(whole)):
            assert (
                tokenizer(text, add_special_tokens=False, max_length=length).input_ids
                == whole[:length]
            )


def test_save_and_load_again(
    source: Path, tokenizer: AlbertTokenizer, reference: Any, tmp_path: Path
) -> None:
    """Kills: a save that transformers or we read to other ids, a lost setting or added token, a file left half."""
    saved = AlbertTokenizer.from_pretrained(
        source, do_lower_case=False, model_max_length=77, padding_side="left"
    )
    saved.add_tokens(["<new>"])
    saved.pad_token = "[SEP]"
    saved.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    again = AlbertTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [*HARD, *numbers(100), "The <new>Cat", "[MASK] x [CLS]"]
    assert again(texts, padding=True, truncation=True) == saved(
        texts, padding=True, truncation=True
    )
    assert again.get_vocab() == saved.get_vocab() == theirs.get_vocab()
    assert (again.model_max_length, again.padding_side, again.pad_token_id) == (
        77,
        "left",
        saved.sep_token_id,
    )
    plain = [text for text in texts if not re.search(r"\d,\d|(.)\1\1", text)]
    assert again(plain)["input_ids"] == theirs(plain)["input_ids"]
    assert len(again) == len(theirs) == saved.vocab_size + 1
    again.save_pretrained(tmp_path / "twice")
    assert (tmp_path / "twice" / "tokenizer.json").read_text() == (
        tmp_path / "tokenizer.json"
    ).read_text()


@pytest.mark.assets
def test_transformers_reads_what_we_save_to_the_same_ids(assets: Path, tmp_path: Path) -> None:
    """Kills: a saved pipeline that differs on real text, in AutoTokenizer or in AlbertTokenizer."""
    tokenizer = AlbertTokenizer.from_pretrained(assets / "assets" / "spiece.model")
    tokenizer.save_pretrained(tmp_path)
    texts = real_texts(assets)[::6]
    ours = tokenizer(texts)["input_ids"]
    for kind in (transformers.AutoTokenizer, transformers.AlbertTokenizer):
        assert kind.from_pretrained(tmp_path)(texts)["input_ids"] == ours


def test_special_tokens_and_vocabulary_equal_transformers(
    tokenizer: AlbertTokenizer, reference: Any
) -> None:
    """Kills: a swapped special token, vocab_size with added tokens, a wrong unknown id, decode that skips nothing."""
    for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(tokenizer, f"{name}_token") == getattr(reference, f"{name}_token")
        assert getattr(tokenizer, f"{name}_token_id") == getattr(reference, f"{name}_token_id")
    assert sorted(tokenizer.all_special_ids) == sorted(reference.all_special_ids)
    assert tokenizer.special_tokens_map == reference.special_tokens_map
    assert (len(tokenizer), tokenizer.vocab_size) == (len(reference), reference.vocab_size)
    assert tokenizer.get_vocab() == reference.get_vocab()
    text = "the cat (was) 'not' , in . 1999, [MASK] 漢"
    ids = tokenizer.encode(text, "of it")
    assert tokenizer.tokenize(text) == reference.tokenize(text)
    assert tokenizer.convert_ids_to_tokens(ids) == reference.convert_ids_to_tokens(ids)
    assert tokenizer.convert_ids_to_tokens(ids, True) == reference.convert_ids_to_tokens(ids, True)
    assert tokenizer.convert_tokens_to_ids(["▁the", "zzzz?"]) == reference.convert_tokens_to_ids(
        ["▁the", "zzzz?"]
    )
    assert tokenizer.convert_tokens_to_string(["▁the", "s"]) == reference.convert_tokens_to_string(
        ["▁the", "s"]
    )
    for options in itertools.product((False, True), (False, True, None)):
        named = dict(
            zip(("skip_special_tokens", "clean_up_tokenization_spaces"), options, strict=True)
        )
        assert tokenizer.decode(ids, **named) == reference.decode(ids, **named)
        assert tokenizer.batch_decode(torch.tensor([ids]), **named) == reference.batch_decode(
            [ids], **named
        )
    assert tokenizer.decode(5) == reference.decode(5)
    assert tokenizer.num_special_tokens_to_add(pair=True) == 3
    assert tokenizer.build_inputs_with_special_tokens([7], [8]) == [2, 7, 3, 8, 3]
    assert tokenizer.get_special_tokens_mask(ids) == reference.get_special_tokens_mask(
        ids, already_has_special_tokens=True
    )
    assert tokenizer.get_special_tokens_mask([7, 3], already_has_special_tokens=False) == [
        1,
        0,
        1,
        1,
    ]


def test_pad_equals_transformers_and_collates(tokenizer: AlbertTokenizer, reference: Any) -> None:
    """Kills: labels padded or lost, float labels cut to whole numbers, a mask padded with ones, a lost dtype."""
    rows = [
        {**tokenizer(text), "labels": label}
        for text, label in (("the cat", 0.5), ("a cat sat on it", 1.5))
    ]
    for options in (
        {},
        {"padding": "max_length", "max_length": 30},
        {"pad_to_multiple_of": 8, "padding_side": "left"},
    ):
        ours, theirs = (
            t.pad([dict(row) for row in rows], return_tensors="pt", **options)
            for t in (tokenizer, reference)
        )
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=0, atol=0)
    assert tokenizer.pad({"input_ids": [5, 6]}, padding="max_length", max_length=3) == {
        "input_ids": [5, 6, tokenizer.pad_token_id], "attention_mask": [1, 1, 0]
    }  # fmt: skip
    batch = transformers.DataCollatorWithPadding(tokenizer)(
        [{"input_ids": torch.tensor([5]), "label": 1}]
    )
    assert batch["labels"].tolist() == [1]
    masked = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5)(
        [tokenizer("the cat sat")]
    )
    assert set(masked) == {"input_ids", "token_type_ids", "attention_mask", "labels"}


def test_batch_is_a_dict_with_attributes_tensors_and_a_device(tokenizer: AlbertTokenizer) -> None:
    """Kills: a batch that is no dict, tensors of another dtype, .to() that leaves one behind, pickling that fails."""
    batch = tokenizer(["the cat", "a"], padding=True, return_tensors="pt")
    assert isinstance(batch, dict)
    assert batch.input_ids is batch["input_ids"]
    assert {value.dtype for value in batch.values()} == {torch.int64}
    assert {value.device.type for value in batch.to("meta").values()} == {"meta"}
    one = tokenizer("the cat", return_tensors="pt", return_offsets_mapping=True)
    assert one["input_ids"].shape[0] == 1
    assert one["offset_mapping"].shape[2] == 2
    copy = pickle.loads(pickle.dumps(one))
    assert copy.input_ids.equal(one.input_ids)
    with pytest.raises(ValueError, match="pickled, copied or made by pad"):
        copy.word_ids()
    with pytest.raises(AttributeError, match=r"no 'labels'; it has input_ids"):
        _ = one.labels


def test_pickled_tokenizer_and_threads_give_the_same(tokenizer: AlbertTokenizer) -> None:
    """Kills: state that one call leaves for another: settings of truncation shared between threads."""
    text = "the cat sat on a mat 21,007"
    want = {
        length: pickle.loads(pickle.dumps(tokenizer))(text, max_length=length)["input_ids"]
        for length in (4, 5, 30)
    }
    wrong: list[int] = []

    def work(length: int) -> None:
        wrong.extend(
            length
            for _ in range(200)
            if tokenizer(text, max_length=length)["input_ids"] != want[length]
        )

    threads = [threading.Thread(target=work, args=(length,)) for length in want]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "options",
    [{}, {"do_lower_case": False}, {"tokenize_chinese_chars": False, "strip_accents": False}],
)
def test_vocab_txt_equals_bert(tmp_path: Path, options: dict[str, bool]) -> None:
    """Kills: Chinese text through SentencePiece, a lost option, a wrong special token, a save that loses WordPiece."""
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "漢",
        "字",
        "the",
        "cat",
        "##s",
        "The",
        "cafe",
        "café",
        "漢字",
        ",",
        "1",
        "##0",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    texts = ["漢字 the cats The café", "[MASK]字, 10", "x\x00y", "ＡB"]
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path, **options)
    want = dict(theirs(texts, texts[::-1], padding=True))
    ours = AlbertTokenizer.from_pretrained(tmp_path / "vocab.txt", **options)
    assert ours(texts, texts[::-1], padding=True) == want
    ours.save_pretrained(tmp_path / "saved")
    again = AlbertTokenizer.from_pretrained(tmp_path / "saved")
    assert again(texts, texts[::-1], padding=True) == want
    assert (
        transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")(texts)["input_ids"]
        == ours(texts)["input_ids"]
    )
    assert (
        again.pad_token,
        again.bos_token,
        again.decode(ours("the cats")["input_ids"], True),
    ) == (
        "[PAD]",
        None,
        "the cats",
    )
    with pytest.raises(ValueError, match="pipeline of its own, so do_lower_case cannot be set"):
        AlbertTokenizer.from_pretrained(tmp_path / "saved", do_lower_case=True)


def test_settings_come_from_the_config_and_overrides_win(model_file: Path, tmp_path: Path) -> None:
    """Kills: tokenizer_config.json ignored, an override that loses, an added token of an older save forgotten."""
    (tmp_path / "spiece.model").write_bytes(model_file.read_bytes())
    config = {
        "do_lower_case": False,
        "model_max_length": 64,
        "mask_token": {"content": "[MASK]", "lstrip": True},
        "x": 1,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "added_tokens.json").write_text('{"<b>": 91, "<a>": 90}')
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.model_max_length, tokenizer.mask_token) == (64, "[MASK]")
    assert tokenizer.convert_tokens_to_ids(["<a>", "<b>"]) == [90, 91]
    assert tokenizer.tokenize("THE") != tokenizer.tokenize("the")
    lower = AlbertTokenizer.from_pretrained(tmp_path, do_lower_case=True, model_max_length=8)
    assert lower.tokenize("THE") == tokenizer.tokenize("the")
    assert len(lower("the cat sat on a mat", truncation=True).input_ids) == 8
    with pytest.raises(TypeError, match=r"no setting do_lowercase; the settings are .*do_lower_case"):
        AlbertTokenizer.from_pretrained(tmp_path, do_lowercase=True)


def test_what_transformers_writes_for_not_set_is_not_set(model_file: Path, tmp_path: Path) -> None:
    """Kills: truncation to 1e30 tokens, which the Rust library cannot take; a special token that is None."""
    (tmp_path / "spiece.model").write_bytes(model_file.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": int(1e30), "pad_token": None})
    )
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.model_max_length, tokenizer.pad_token) == (512, "<pad>")
    assert len(tokenizer("a " * 600, truncation=True).input_ids) == 512


def test_tokens_of_an_older_save_keep_their_ids(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kills: a special token that the vocabulary lacks, added before those that have an id already."""
    (tmp_path / "spiece.model").write_bytes(train(control_symbols=["[CLS]", "[SEP]"]))
    (tmp_path / "added_tokens.json").write_text('{"<a>": 90}')
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_tokens_to_ids(["<a>", "[MASK]"]) == [90, 91]
    assert "the vocabulary does not have [MASK]; added at its end" in caplog.text


@pytest.mark.parametrize(
    ("call", "options", "error", "message"),
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
def test_bad_input_is_refused(
    model_file: Path,
    call: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """Kills: a crash in the Rust library, or a wrong answer, in place of a sentence that says what to do."""
    with pytest.raises(error, match=message):
        AlbertTokenizer.from_pretrained(model_file)(*call, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "not json", r"tokenizer.json is not valid JSON"),
        ("tokenizer.json", "[1]", "holds a JSON list instead of an object"),
        ("tokenizer.json", "{}", "is valid JSON but not a tokenizer"),
        (
            "tokenizer.json",
            '{"model": {"type": "Unigram", "vocab": 3}}',
            "is valid JSON but not a tokenizer",
        ),
        ("tokenizer_config.json", "{", "tokenizer_config.json is not valid JSON"),
        (
            "tokenizer_config.json",
            '{"do_lower_case": "yes"}',
            "do_lower_case='yes' must be of type bool",
        ),
        ("tokenizer_config.json", '{"cls_token": 3}', "cls_token=3 must be of type str"),
        ("spiece.model", "", r"spiece.model \(0 bytes\) is not a SentencePiece unigram model"),
        ("vocab.txt", "", r"is not a WordPiece vocabulary: none of its 1 lines is '\[UNK\]'"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    """Kills: KeyError or a Rust message without the name of the file."""
    (tmp_path / name).write_text(content)
    if name == "tokenizer_config.json":
        (tmp_path / "vocab.txt").write_text("[UNK]")
    with pytest.raises(ValueError, match=message):
        AlbertTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_every_damaged_json_is_read_or_refused(model_file: Path, tmp_path: Path, name: str) -> None:
    """Kills: KeyError, TypeError or the Rust library's plain Exception for a value of another type, or none."""
    AlbertTokenizer.from_pretrained(model_file).save_pretrained(tmp_path)
    whole = (tmp_path / name).read_text()
    random.seed(4)
    refused = 0
    for _ in range(120):
        damaged = json.loads(whole)
        inner = damaged
        while True:
            key = random.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
            if not isinstance(inner[key], (dict, list)) or not inner[key] or random.random() < 0.2:
                break
            inner = inner[key]
        inner[key] = random.choice([None, 3, -1, 0.5, True, "x", [], {}, float("inf")])
        (tmp_path / name).write_text(json.dumps(damaged))
        try:
            AlbertTokenizer.from_pretrained(tmp_path)
        except ValueError:
            refused += 1
    assert 10 < refused < 120


def test_an_empty_directory_and_ids_out_of_range_are_refused(
    model_file: Path, tmp_path: Path
) -> None:
    """Kills: a directory without a tokenizer taken for a Hub name; None for an id that is no piece."""
    with pytest.raises(
        FileNotFoundError, match=r"does not contain tokenizer.json or spiece.model or vocab.txt"
    ):
        AlbertTokenizer.from_pretrained(tmp_path)
    tokenizer = AlbertTokenizer.from_pretrained(model_file)
    for bad in (-1, 90):
        with pytest.raises(ValueError, match=f"id {bad} is not in the vocabulary, whose ids go from 0 to 89"):
            tokenizer.convert_ids_to_tokens(bad)


def test_tokenizing_needs_no_torch(model_file: Path, tmp_path: Path) -> None:
    """Kills: an import of torch at the top of a tokenizer module."""
    import subprocess

    root = Path(sys.modules["albert_torch"].__file__ or "").parent
    code = (
        "import sys, types; package = types.ModuleType('albert_torch'); package.__path__ = [sys.argv[1]];"
        "sys.modules['albert_torch'] = package; from albert_torch.tokenization import AlbertTokenizer;"
        "AlbertTokenizer.from_pretrained(sys.argv[2])(['a b', 'c'], padding=True); assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(root), str(model_file)], check=True, cwd=tmp_path
    )
