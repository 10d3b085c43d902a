"""int8 against float32, and oneDNN's int8 operators against their definition."""

import json
import logging

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.inference import model_inputs
from helpers.reference import pair, worst
from torch.nn.functional import cosine_similarity

import albert_torch
from albert_torch.inference import optimize
from albert_torch.inference.kernels import attention, quantized_linear
from albert_torch.inference.kernels import linear as linear_kernels


def test_the_trial_notices_missing_operators(monkeypatch, caplog):
    """Catches: a check of names or versions in place of a trial."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(
        quantized_linear.OneDnnQuantizedLinear,
        "_prepare",
        lambda self, weight, scales: torch.ops.onednn.no_such_operator(weight),
    )
    quantized_linear.onednn_int8_works.cache_clear()
    assert not quantized_linear.onednn_int8_works()
    assert "using torch's own" in caplog.text
    quantized_linear.onednn_int8_works.cache_clear()


def test_bytes_are_rounded_and_shifted():
    """Catches: bytes that are off by one at the ends of the range; rounding towards zero."""
    x = torch.tensor([-200.0, -128.0, -1.6, -0.4, 0.0, 1.6, 127.0, 200.0])
    assert quantized_linear.to_bytes(x).tolist() == [0, 0, 126, 128, 128, 130, 255, 255]


@pytest.mark.parametrize("bfloat16_is_fast", [False, True])
def test_attention_gets_the_dtype_that_is_faster_here(bfloat16_is_fast, monkeypatch, operators):
    """Catches: bfloat16 where its products are slow; float32 where they are fast."""
    monkeypatch.setattr(linear_kernels, "bfloat16_is_fast", lambda: bfloat16_is_fast)
    _, ours = pair("AlbertModel", {**SHARED, "hidden_size": 96}, dtype=torch.float32)
    rows = [[token + 5 for token in range(length)] for length in (20, 19, 18, 17)]
    fast, dtypes = optimize(ours, torch.int8), []
    monkeypatch.setattr(
        attention.CpuAttention,
        "__call__",
        lambda self, qkv: dtypes.append(qkv.dtype) or qkv[:, :96],
    )
    fast.packed(rows)
    assert set(dtypes) == {torch.bfloat16 if bfloat16_is_fast else torch.float32}
    monkeypatch.undo()
    got = fast.packed(rows)["last_hidden_state"]
    want = optimize(ours).packed(rows)["last_hidden_state"]
    assert cosine_similarity(got, want, dim=-1).min() > 0.99


@pytest.mark.parametrize(
    "config", [TINY, {**SHARED, "intermediate_size": 200}], ids=["groups", "shared"]
)
def test_int8_is_close_and_does_not_depend_on_the_other_rows(config, operators):
    """Catches: a wrong zero point or scale; a mean that is not folded into the bias; one half of
    the feed-forward layer left out; ranges taken from the batch."""
    _, ours = pair("AlbertModel", config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in ours.encoder.parameters():
            parameter.mul_(0.3)
        for layer in (m for m in ours.modules() if isinstance(m, albert_torch.layers.AlbertLayer)):
            layer.full_layer_layer_norm.bias[3] = -8.0  # an outlier, as trained ALBERTs have
    fast = optimize(ours, torch.int8)
    inputs = model_inputs("AlbertModel", config, lengths=(9, 5, 9, 1))
    got, want = fast(**inputs).last_hidden_state, ours(**inputs).last_hidden_state
    is_token = inputs["attention_mask"].bool()
    channels = [i for i in range(config["hidden_size"]) if i != 3]  # it would hide the others
    cosine = cosine_similarity(got[..., channels], want[..., channels], dim=-1)
    assert cosine[is_token].mean() > 0.99
    alone = fast(**{key: value[2:3] for key, value in inputs.items()}).last_hidden_state
    assert worst(alone[0], got[2]) < 1e-5


def test_plain_and_onednn_agree(monkeypatch):
    """Catches: a fallback that computes something else."""
    if not quantized_linear.onednn_int8_works():
        pytest.skip("oneDNN's int8 operators do not run here")
    _, ours = pair("AlbertModel", {**SHARED, "intermediate_size": 200}, dtype=torch.float32)
    inputs = model_inputs("AlbertModel", SHARED)
    fused = optimize(ours, torch.int8)(**inputs).last_hidden_state
    monkeypatch.setattr(quantized_linear, "onednn_int8_works", lambda: False)
    plain = optimize(ours, torch.int8)(**inputs).last_hidden_state
    is_token = inputs["attention_mask"].bool()
    assert cosine_similarity(fused, plain, dim=-1)[is_token].min() > 0.9995


@pytest.mark.assets
def test_int8_keeps_a_trained_model(assets):
    """Catches: naive int8 (0.995), whose rounding errors add up over twelve runs of one layer."""
    model = albert_torch.AlbertModel.from_pretrained(
        assets / "assets/plbert", add_pooling_layer=False, dtype=torch.float32
    )
    symbols = json.loads((assets / "assets/plbert/vocab.json").read_text(encoding="utf-8"))
    lines = (assets / "data/SST-2/dev.tsv").read_text(encoding="utf-8").splitlines()[1:13]
    rows = [[symbols[c] for c in line if c in symbols] for line in lines]
    got = optimize(model, torch.int8).packed(rows)["last_hidden_state"]
    want = optimize(model).packed(rows)["last_hidden_state"]
    assert cosine_similarity(got, want, dim=-1).mean() > 0.998
