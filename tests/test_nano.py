"""The packaged model: found by its name without a network, equal to transformers, and trained."""

import re
from pathlib import Path

import pytest
import torch
import transformers
from helpers.constants import ROOT

import albert_torch
from albert_torch import AlbertForMaskedLM, AlbertTokenizer, parity
from albert_torch.cli.main import main
from albert_torch.hub import NANO, Source

TEXTS = (
    "Alice was beginning to get very tired of sitting by her sister on the bank.",
    "The state of the union is good.",
)


def test_it_is_found_by_its_name_and_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a name that asks the Hub, a checkpoint in float32."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = Source(NANO).directory
    assert folder is not None
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 4_000_000
    for kind in (albert_torch.AlbertModel, albert_torch.AlbertForPreTraining, AlbertForMaskedLM):
        assert kind.from_pretrained(NANO).dtype == torch.bfloat16


def test_it_equals_transformers() -> None:
    """Kills: a packaged file that transformers reads otherwise."""
    found = parity.check(
        Source(NANO), heads=["PreTraining"], dtypes=["float64"], backends=["sdpa", "unpad"]
    )
    assert found.equal
    theirs = transformers.AutoTokenizer.from_pretrained(Source(NANO).directory)
    assert (
        AlbertTokenizer.from_pretrained(NANO)(list(TEXTS))["input_ids"]
        == theirs(list(TEXTS))["input_ids"]
    )


def test_it_is_trained() -> None:
    """Kills: weights that were never trained, or belong to another vocabulary: it must beat random ones by far."""
    tokenizer = AlbertTokenizer.from_pretrained(NANO)
    model = AlbertForMaskedLM.from_pretrained(NANO, dtype=torch.float32)
    drawn = AlbertForMaskedLM(model.config).eval()
    losses = []
    for one in (model, drawn):
        total = 0.0
        for text in TEXTS:
            batch = tokenizer(text, return_tensors="pt")
            for place in range(1, batch["input_ids"].shape[1] - 1):
                ids, labels = batch["input_ids"].clone(), torch.full_like(batch["input_ids"], -100)
                labels[0, place], ids[0, place] = ids[0, place].clone(), tokenizer.mask_token_id
                with torch.no_grad():
                    total += float(one(ids, labels=labels).loss)
        losses.append(total)
    assert losses[0] < 0.75 * losses[1]


def test_fill_mask_needs_no_model_and_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    """Kills: a command that needs a name, and so a network, to show anything."""
    assert main(["fill-mask", "the captain stood on the [MASK] of the ship", "--top-k", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(re.fullmatch(r"mask 1 +\d+\.\d\d%  \S+", line) for line in lines)


def test_the_card_tells_the_truth_about_the_shape() -> None:
    """Kills: a card that was written for another model."""
    folder = Path(ROOT / "albert_torch" / "nano")
    config, card = (
        albert_torch.AlbertConfig.from_pretrained(folder),
        (folder / "README.md").read_text(),
    )
    assert f"{config.num_hidden_layers} runs of one layer, hidden {config.hidden_size}" in card
    assert f"{config.vocab_size:,} pieces" in card
