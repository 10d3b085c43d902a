"""Initial values of weights, and loading without them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.constants import SHARED
from torch import nn

import albert_torch
from albert_torch import AlbertConfig, AlbertForPreTraining


def test_initial_weights():
    """Catches: a normal that is not cut off, biases or a padding row that are not 0."""
    model = AlbertForPreTraining(
        AlbertConfig(**{**SHARED, "vocab_size": 5000, "pad_token_id": 3}, initializer_range=0.5)
    )
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "LayerNorm" in name or "layer_norm" in name:
            assert parameter.eq(1).all(), name
        else:
            assert parameter.abs().max() <= 1.0, name
    words = model.albert.embeddings.word_embeddings.weight
    assert not words[3].any()
    assert words[4:].abs().max() > 0.99
    assert words[4:].std().item() == pytest.approx(
        0.5 * 0.8796, rel=0.02
    )  # a normal cut at two deviations
    before = words.clone()
    model.init_weights()
    assert not torch.equal(before, words)


def test_the_encoder_is_initialised_once(monkeypatch):
    """Catches: the largest tensors initialised again by each class around the encoder."""
    counts = []
    draw = nn.init.trunc_normal_
    monkeypatch.setattr(
        nn.init,
        "trunc_normal_",
        lambda tensor, **kw: counts.append(tensor.shape) or draw(tensor, **kw),
    )
    model = AlbertForPreTraining(AlbertConfig(**SHARED))
    matrices = [p for p in model.parameters() if p.dim() == 2]
    assert len(counts) == len(matrices) + 1, "the decoder is initialised before it is tied"


def test_loading_uses_no_random_numbers_and_imports_no_compiler(tmp_path):
    """Catches: random numbers for weights that are loaded; an import of torch's compiler."""
    AlbertForPreTraining(AlbertConfig(**SHARED)).save_pretrained(tmp_path)
    code = (
        "import sys, torch, albert_torch; before = torch.get_rng_state();"
        f"albert_torch.AlbertForPreTraining.from_pretrained({str(tmp_path)!r});"
        "assert torch.equal(before, torch.get_rng_state());"
        "assert 'torch._dynamo' not in sys.modules"
    )
    root = Path(albert_torch.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
