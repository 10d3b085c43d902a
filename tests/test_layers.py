"""Chunks, checkpoints and dropout in the layers."""

import copy

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.reference import batch, pair, run, worst
from torch import nn

from albert_torch import AlbertConfig, AlbertModel
from albert_torch.attention import PACKED_BACKENDS, backend_names


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("unpad", [False, True])
def test_chunks_of_the_feed_forward_change_nothing(chunk: int, unpad: bool) -> None:
    """Catches: chunks along the batch, a lost last chunk."""
    _, ours = pair("AlbertModel", SHARED, unpad=unpad)
    inputs = batch(SHARED)
    want = run(ours, inputs).last_hidden_state
    ours.config.chunk_size_feed_forward = chunk
    calls = []
    ours.encoder.albert_layer_groups[0].albert_layers[0].ffn.register_forward_hook(
        lambda *_: calls.append(1)
    )
    assert worst(run(ours, inputs).last_hidden_state, want) < 1e-12
    tokens = int(inputs["attention_mask"].sum()) if unpad else 9
    assert len(calls) == TINY["num_hidden_layers"] * -(-tokens // chunk)


@pytest.mark.parametrize("unpad", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(unpad: bool) -> None:
    """Catches: other dropout in the second pass, a run left out, a checkpoint per stored layer."""
    config = {
        **SHARED,
        "hidden_dropout_prob": 0.3,
        "attention_probs_dropout_prob": 0.2,
        "ffn_dropout_prob": 0.1,
    }
    plain = AlbertModel(AlbertConfig(**config), unpad=unpad).double().train()
    saving = copy.deepcopy(plain)
    saving.gradient_checkpointing_enable()
    runs: list[int] = []
    saving.encoder.albert_layer_groups[0].register_forward_pre_hook(lambda *_: runs.append(1))
    inputs = batch(config)
    for model in (plain, saving):
        torch.manual_seed(1)
        output = model(**inputs, output_hidden_states=True, output_attentions=True)
        (
            output.pooler_output.sum()
            + output.hidden_states[2].sum()
            + output.attentions[1].square().sum()
        ).backward()
    assert len(runs) == 2 * config["num_hidden_layers"]
    assert len(output.attentions) == config["num_hidden_layers"]
    for mine, other in zip(saving.parameters(), plain.parameters(), strict=True):
        assert worst(mine.grad, other.grad) < 1e-12
    runs.clear()
    saving.eval()(**inputs)
    assert len(runs) == config["num_hidden_layers"]


def test_every_dropout_fires_as_often_as_it_should() -> None:
    """Catches: a dropout that is declared but never called (as in transformers)."""
    rates = {
        "hidden_dropout_prob": 0.11,
        "attention_probs_dropout_prob": 0.22,
        "ffn_dropout_prob": 0.33,
    }
    model = AlbertModel(AlbertConfig(**SHARED, **rates), attn_implementation="eager").train()
    counts: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(
                lambda *_, name=name: counts.__setitem__(
                    name.split(".")[-1], counts.get(name.split(".")[-1], 0) + 1
                )
            )
    inputs = batch(SHARED)
    first = model(**inputs).last_hidden_state
    layers = SHARED["num_hidden_layers"]
    assert counts == {"dropout": 1 + layers, "output_dropout": layers}
    assert worst(first, model(**inputs).last_hidden_state) > 1e-3


@pytest.mark.parametrize("attention", backend_names())
def test_attention_dropout_fires_in_training_alone(attention: str) -> None:
    """Catches: a backend without dropout in training, or with it in evaluation."""
    config = AlbertConfig(**SHARED, attention_probs_dropout_prob=0.5)
    unpad = attention in PACKED_BACKENDS
    model = AlbertModel(config, attn_implementation=attention, unpad=unpad).train()
    inputs = batch(SHARED)
    assert worst(model(**inputs).last_hidden_state, model(**inputs).last_hidden_state) > 1e-3
    model.eval()
    assert worst(model(**inputs).last_hidden_state, model(**inputs).last_hidden_state) == 0
