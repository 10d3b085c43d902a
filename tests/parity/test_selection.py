"""What a check selects: heads, inputs, and the comparison of token ids."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from helpers.constants import SHARED

from albert_torch.heads import HEADS
from albert_torch.model import AlbertEmbeddings
from albert_torch.parity import ParityOptions, check
from albert_torch.parity.reference import generate_checkpoint
from albert_torch.parity.report import details, format_table
from albert_torch.parity.selection import select_packaged_and_generated
from albert_torch.tokenization.tokenizer import AlbertTokenizer

FAST: dict[str, Any] = {"dtypes": ["float64"], "backends": ["sdpa"]}
WORDS = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "fine", "ships", "year", "it", "the"]


def save_word_tokenizer(directory: Path) -> None:
    """Write a `tokenizer.json` of single words, for both libraries."""
    model = tokenizers.models.WordLevel(
        {word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def test_texts_are_read_by_both_tokenizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: ids that are compared with themselves, a wrong id, a pair read as one text."""
    generate_checkpoint("Model", SHARED, tmp_path, seed=0)
    save_word_tokenizer(tmp_path)
    texts = tmp_path / "texts"
    texts.write_text(
        "Fine ships\tit\n\nthe\u2028year\nthe ships the ships\nit\nfine\n", encoding="utf-8"
    )
    options = ParityOptions(texts=texts, **FAST)
    report = check(tmp_path, options)
    assert report.equal, format_table(report)
    assert [one.scale for one in report.cases[0].measurements] == [6, 4, 6, 3, 3]
    assert report.notes == ["inputs: 5 texts, 22 tokens"]
    assert check(tmp_path, ParityOptions(**FAST)).equal
    original = AlbertTokenizer.__call__

    def wrong(self: Any, first: str, *args: Any, **options: Any) -> Any:
        encoded = original(self, first, *args, **options)
        if first == "the\u2028year":
            encoded["input_ids"][1] = 5
        return encoded

    monkeypatch.setattr(AlbertTokenizer, "__call__", wrong)
    report = check(tmp_path, options)
    assert not report.equal
    assert "  first text 2: 1.0e+00, allowed 0" in details(report)


def test_texts_without_a_tokenizer(checkpoints: dict[str, Path]) -> None:
    """Catches: texts that are silently replaced by random ids."""
    options = ParityOptions(texts=__file__)
    with pytest.raises(ValueError, match=r"has no tokenizer for the texts in .*test_selection\.py"):
        check(checkpoints["Model"], options)
    with pytest.raises(ValueError, match="generated checkpoints have no tokenizer"):
        check(None, options)


def test_without_a_checkpoint_every_head_is_selected() -> None:
    """Catches: a head that is missing where no checkpoint is named."""
    selection = select_packaged_and_generated(ParityOptions())
    selected = [(one.checkpoint, one.head) for one in selection.heads]
    assert selected[:3] == [
        ("albert-torch/nano", head) for head in ("Model", "PreTraining", "MaskedLM")
    ]
    for shape in ("generated, base shape", "generated, 3 groups of 2 layers"):
        assert [head for checkpoint, head in selected if checkpoint == shape] == list(HEADS)
    assert len(selection.token_cases) == 1
    assert any(
        note.startswith("AnswerableQuestions: transformers has no") for note in selection.notes
    )
    only = select_packaged_and_generated(ParityOptions(heads=["MultipleChoice"]))
    assert {one.head for one in only.heads} == {"MultipleChoice"}
    assert only.token_cases == []


@pytest.mark.parametrize("position", [0, 4], ids=["first-batch", "second-batch"])
def test_a_difference_in_any_batch_is_reported(
    position: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a report on the first, the last or the best batch only."""
    generate_checkpoint("Model", SHARED, tmp_path, seed=0)
    save_word_tokenizer(tmp_path)
    lines = ["ships"] * 5
    lines[position] = "year"
    (tmp_path / "texts").write_text("\n".join(lines))
    original = AlbertEmbeddings.forward

    def wrong(self: Any, input_ids: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        embedded = original(self, input_ids, *args, **options)
        return embedded + 1e-3 * input_ids.eq(WORDS.index("year")).unsqueeze(-1)

    options = ParityOptions(texts=tmp_path / "texts", **FAST)
    assert check(tmp_path, options).equal
    monkeypatch.setattr(AlbertEmbeddings, "forward", wrong)
    assert not check(tmp_path, options).equal
