"""Reading a tokenizer's files: settings, added tokens, damaged files."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import transformers
from helpers.google_tokenizer import train_sentencepiece

from albert_torch.tokenization.tokenizer import AlbertTokenizer

WORDPIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "漢", "字", "the", "cat", "##s"]
WORDPIECES += ["The", "cafe", "café", "漢字", ",", "1", "##0"]


@pytest.mark.parametrize(
    "options",
    [{}, {"do_lower_case": False}, {"tokenize_chinese_chars": False, "strip_accents": False}],
)
def test_vocab_txt_equals_bert(tmp_path: Path, options: dict[str, Any]) -> None:
    """Catches: Chinese text given to SentencePiece, an option or a special token that is lost."""
    (tmp_path / "vocab.txt").write_text("\n".join(WORDPIECES) + "\n", encoding="utf-8")
    texts = ["漢字 the cats The café", "[MASK]字, 10", "x\x00y", "ＡB"]
    bert = transformers.BertTokenizer.from_pretrained(tmp_path, **options)
    expected = dict(bert(texts, texts[::-1], padding=True))
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path / "vocab.txt", **options)
    assert tokenizer(texts, texts[::-1], padding=True) == expected
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = AlbertTokenizer.from_pretrained(tmp_path / "saved")
    assert saved(texts, texts[::-1], padding=True) == expected
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert theirs(texts)["input_ids"] == tokenizer(texts)["input_ids"]
    assert (saved.pad_token, saved.bos_token) == ("[PAD]", None)
    assert saved.decode(tokenizer("the cats")["input_ids"], True) == "the cats"
    match = "pipeline of its own, so do_lower_case cannot be set"
    with pytest.raises(ValueError, match=match):
        AlbertTokenizer.from_pretrained(tmp_path / "saved", do_lower_case=True)


def test_settings_come_from_the_config_and_overrides_win(
    small_model_file: Path, tmp_path: Path
) -> None:
    """Catches: tokenizer_config.json or an override ignored, an added token forgotten."""
    (tmp_path / "spiece.model").write_bytes(small_model_file.read_bytes())
    config = {
        "do_lower_case": False,
        "model_max_length": 64,
        "mask_token": {"content": "[MASK]", "lstrip": True},
        "x": 1,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    added_tokens = {"<b>": 91, "<a>": 92, "<c>": 90}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added_tokens))
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.model_max_length, tokenizer.mask_token) == (64, "[MASK]")
    assert tokenizer.convert_tokens_to_ids(["<c>", "<b>", "<a>"]) == [90, 91, 92]
    assert tokenizer.tokenize("THE") != tokenizer.tokenize("the")
    lower = AlbertTokenizer.from_pretrained(tmp_path, do_lower_case=True, model_max_length=8)
    assert lower.tokenize("THE") == tokenizer.tokenize("the")
    assert len(lower("the cat sat on a mat", truncation=True).input_ids) == 8
    match = r"no setting do_lowercase; the settings are .*do_lower_case"
    with pytest.raises(TypeError, match=match):
        AlbertTokenizer.from_pretrained(tmp_path, do_lowercase=True)


def test_what_transformers_writes_for_a_missing_setting_is_ignored(
    small_model_file: Path, tmp_path: Path
) -> None:
    """Catches: truncation to 1e30 tokens, which the Rust library refuses; a missing pad token."""
    (tmp_path / "spiece.model").write_bytes(small_model_file.read_bytes())
    config = {"model_max_length": int(1e30), "pad_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.model_max_length, tokenizer.pad_token) == (512, "<pad>")
    assert len(tokenizer("a " * 600, truncation=True).input_ids) == 512


def test_added_tokens_keep_their_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Catches: a missing special token added before the tokens that have an id already."""
    model = train_sentencepiece(control_symbols=["[CLS]", "[SEP]"])
    (tmp_path / "spiece.model").write_bytes(model)
    (tmp_path / "added_tokens.json").write_text('{"<a>": 90}')
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_tokens_to_ids(["<a>", "[MASK]"]) == [90, 91]
    assert "the vocabulary does not have [MASK]; added at its end" in caplog.text


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
    """Catches: a KeyError, or a message of the Rust library without the name of the file."""
    (tmp_path / name).write_text(content)
    if name == "tokenizer_config.json":
        (tmp_path / "vocab.txt").write_text("[UNK]")
    with pytest.raises(ValueError, match=message):
        AlbertTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_every_damaged_json_file_is_read_or_refused(
    small_model_file: Path, tmp_path: Path, name: str
) -> None:
    """Catches: any exception but ValueError for a value that is missing or of another type."""
    AlbertTokenizer.from_pretrained(small_model_file).save_pretrained(tmp_path)
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


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    """Catches: an empty directory taken for the name of a model on the Hub."""
    match = r"does not contain tokenizer\.json or spiece\.model or vocab\.txt"
    with pytest.raises(FileNotFoundError, match=match):
        AlbertTokenizer.from_pretrained(tmp_path)
