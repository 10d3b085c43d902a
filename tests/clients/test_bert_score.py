"""bert-score, which lowers `encoder.config.num_hidden_layers` and expects fewer layers to run."""

from pathlib import Path
from typing import Any

import pytest
import torch

bert_score = pytest.importorskip("bert_score")

from helpers.clients import SENTENCES, unregister  # noqa: E402

import albert_torch  # noqa: E402
from albert_torch.integrations.transformers import register_with_transformers  # noqa: E402


def score(checkpoint: Path, layers: int) -> tuple[Any, Any]:
    scorer = bert_score.BERTScorer(
        model_type=str(checkpoint), num_layers=layers, device="cpu", batch_size=4
    )
    texts = [text for text, _ in SENTENCES]
    return scorer._model, torch.stack(scorer.score(texts[2:], texts[:-2]))


def test_the_scores_are_those_with_transformers_model(checkpoint: Path) -> None:
    """Catches: a config that is read at construction only, so that all layers always run."""
    want = {layers: score(checkpoint, layers)[1] for layers in (1, 2)}
    register_with_transformers()
    try:
        found = {layers: score(checkpoint, layers) for layers in (1, 2)}
    finally:
        unregister()
    for layers, (model, scores) in found.items():
        assert isinstance(model, albert_torch.AlbertModel)
        assert (
            len(model(torch.tensor([[2, 5, 3]]), output_hidden_states=True).hidden_states)
            == layers + 1
        )
        torch.testing.assert_close(scores, want[layers], rtol=0, atol=1e-5)
    assert not torch.allclose(want[1], want[2], atol=1e-4)
