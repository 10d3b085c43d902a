"""Fixtures of the tests of the fast path."""

import pytest
import torch

import albert_torch
from albert_torch.inference.kernels import linear as linear_kernels
from albert_torch.inference.kernels import quantized_linear

TEXT_CONFIG = {
    "vocab_size": 30000,
    "max_position_embeddings": 64,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 72,
}


@pytest.fixture(params=["mkl", "onednn", "plain"])
def operators(request, monkeypatch):
    """Run with MKL's packed product, with oneDNN's operators only, and with neither of them."""
    if request.param == "plain":
        monkeypatch.setattr(linear_kernels, "onednn_linear_works", lambda dtype: False)
        monkeypatch.setattr(quantized_linear, "onednn_int8_works", lambda: False)
    elif not linear_kernels.onednn_linear_works(torch.float32):
        pytest.skip("oneDNN's fused operators do not run here")
    elif request.param == "mkl" and not torch.backends.mkl.is_available():
        pytest.skip("this torch has no MKL")
    monkeypatch.setattr(linear_kernels, "mkl_is_fast", lambda: request.param == "mkl")
    return request.param


@pytest.fixture
def four_threads():
    """Give torch as many threads as on a machine with four cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(assets, tmp_path_factory):
    """A function that makes a checkpoint of a class, all parameters random, with a tokenizer."""

    def make(class_name, **config):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(class_name)
        model_class = getattr(albert_torch, class_name)
        model = model_class(albert_torch.AlbertConfig(**TEXT_CONFIG, **config))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.2)
        model.save_pretrained(folder)
        (folder / "spiece.model").write_bytes((assets / "assets/spiece.model").read_bytes())
        return folder, model.eval()

    return make


@pytest.fixture(scope="session")
def base(checkpoint):
    """A checkpoint of `AlbertModel` and the model."""
    return checkpoint("AlbertModel")
