"""The packaged model: found by its name without a network, equal to transformers, and trained."""

import json

import pytest
import torch
import transformers
from helpers.constants import ROOT

from albert_torch import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertModel,
    AlbertTokenizer,
    parity,
)
from albert_torch.cli.main import main
from albert_torch.hub import NANO, Source
from albert_torch.losses import IGNORE_INDEX

SENTENCES = [
    "Alice was beginning to get very tired of sitting by her sister on the bank.",
    "The state of the union is good.",
]


def test_it_is_found_without_a_network_and_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a name that asks the Hub; a checkpoint in float32."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    directory = Source(NANO).directory
    assert directory is not None
    assert sum(path.stat().st_size for path in directory.glob("*.safetensors")) < 4_000_000
    for model_class in (AlbertModel, AlbertForPreTraining, AlbertForMaskedLM):
        assert model_class.from_pretrained(NANO).dtype == torch.bfloat16


def test_it_equals_transformers() -> None:
    """Catches: a packaged file that transformers reads differently."""
    options = parity.ParityOptions(
        heads=["PreTraining"], dtypes=["float64"], backends=["sdpa", "unpad"]
    )
    report = parity.check(NANO, options)
    assert report.equal
    ours = AlbertTokenizer.from_pretrained(NANO)
    theirs = transformers.AutoTokenizer.from_pretrained(Source(NANO).directory)
    assert ours(SENTENCES)["input_ids"] == theirs(SENTENCES)["input_ids"]


def masked_lm_loss(model: AlbertForMaskedLM, tokenizer: AlbertTokenizer) -> float:
    """The loss summed over all tokens of the sentences, of which one at a time is masked."""
    total = 0.0
    for sentence in SENTENCES:
        original = tokenizer(sentence, return_tensors="pt")["input_ids"]
        for position in range(1, original.shape[1] - 1):
            input_ids = original.clone()
            input_ids[0, position] = tokenizer.mask_token_id
            labels = torch.full_like(original, IGNORE_INDEX)
            labels[0, position] = original[0, position]
            with torch.no_grad():
                total += float(model(input_ids, labels=labels).loss)
    return total


def test_it_is_trained() -> None:
    """Catches: untrained weights, or weights that belong to another vocabulary."""
    tokenizer = AlbertTokenizer.from_pretrained(NANO)
    trained = AlbertForMaskedLM.from_pretrained(NANO, dtype=torch.float32)
    random = AlbertForMaskedLM(trained.config).eval()
    assert masked_lm_loss(trained, tokenizer) < 0.75 * masked_lm_loss(random, tokenizer)


def test_fill_mask_needs_no_model_and_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: a command that must be given a model, and so a network, to show anything."""
    text = "the captain stood on the [MASK] of the ship"
    assert main(["fill-mask", text, "--top-k", "4", "--format", "jsonl"]) == 0
    (predictions,) = json.loads(capsys.readouterr().out)["masks"]
    assert len(predictions) == 4
    assert {"side", "top"} < {prediction["token"] for prediction in predictions}


def test_the_model_card_describes_this_model() -> None:
    """Catches: a model card that was written for another model."""
    directory = ROOT / "albert_torch" / "nano"
    config = AlbertConfig.from_pretrained(directory)
    card = (directory / "README.md").read_text()
    card = " ".join(card.split())
    assert f"{config.num_hidden_layers} layers that share their weights" in card
    assert f"hidden size {config.hidden_size}, embedding size {config.embedding_size}" in card
    assert f"{config.vocab_size:,} pieces" in card
