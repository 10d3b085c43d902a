"""The linear kernels against their definition, and the trials that choose between them."""

import logging

import pytest
import torch
from helpers.constants import SHARED
from helpers.inference import model_inputs
from helpers.reference import pair, worst

from albert_torch.activations import ACTIVATIONS
from albert_torch.inference import optimize
from albert_torch.inference.kernels import linear as linear_kernels
from albert_torch.inference.kernels.linear import LinearWeights, MklLinear, PlainLinear

needs_mkl = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="this torch has no MKL"
)


@pytest.mark.parametrize("act", list(ACTIVATIONS))
def test_every_activation(act, operators):
    """Catches: the tanh form of GELU in place of the erf form; an activation that kernels lack."""
    _, ours = pair("AlbertModel", {**SHARED, "hidden_act": act}, dtype=torch.float32)
    inputs = model_inputs("AlbertModel", SHARED)
    want = ours(**inputs).last_hidden_state
    assert worst(optimize(ours)(**inputs).last_hidden_state, want, inputs["attention_mask"]) < 5e-6


def test_the_trial_notices_wrong_operators(monkeypatch, caplog):
    """Catches: a check of names or versions in place of a trial."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(
        linear_kernels.OneDnnLinear, "__call__", lambda self, x, residual=None: x.new_zeros(5, 16)
    )
    linear_kernels.onednn_linear_works.cache_clear()
    assert not linear_kernels.onednn_linear_works(torch.float32)
    assert "using torch's own operators" in caplog.text
    linear_kernels.onednn_linear_works.cache_clear()


@needs_mkl
@pytest.mark.parametrize("rows", [1, 63, 64, 65, 700])
@pytest.mark.parametrize("act", [None, *ACTIVATIONS])
def test_mkl_serves_any_number_of_rows(act, rows):
    """Catches: a packed weight that is right for one number of rows; a residual added before the
    activation; an activation that overwrites its input before it has read it."""
    weight, bias = torch.randn(200, 96) / 5, torch.randn(200)
    x, residual = torch.randn(rows, 96), torch.randn(rows, 200)
    definition = PlainLinear(LinearWeights(weight.double(), bias.double()), act)
    want = definition(x.double(), residual.double())
    kernel, before = MklLinear(LinearWeights(weight, bias), act), residual.clone()
    assert worst(kernel(x, residual), want) < 2e-5
    assert torch.equal(residual, before)


@needs_mkl
def test_mkl_is_tried_before_it_is_used(monkeypatch, caplog):
    """Catches: a product that is used although it is wrong for some numbers of rows, or slower."""
    caplog.set_level(logging.INFO)
    is_mkl_fast = linear_kernels.mkl_is_fast.__wrapped__
    monkeypatch.setattr(linear_kernels, "_is_faster", lambda *calls, margin=1.0: False)
    assert is_mkl_fast()
    monkeypatch.setattr(linear_kernels, "_is_faster", lambda *calls, margin=1.0: True)
    assert not is_mkl_fast()
    monkeypatch.setattr(linear_kernels, "_is_faster", lambda *calls, margin=1.0: False)
    original = MklLinear.__call__
    monkeypatch.setattr(
        MklLinear, "__call__", lambda self, x, *rest: original(self, x, *rest) * (len(x) != 5)
    )
    assert not is_mkl_fast()
    assert "using oneDNN's" in caplog.text
