"""What clients of transformers ask of a model: embeddings, resizing, counts, switches."""

import pytest
import torch
import transformers
from helpers.checkpoint_files import randomised
from helpers.constants import SHARED
from torch import nn

import albert_torch
from albert_torch import AlbertConfig, AlbertForMaskedLM, AlbertModel


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [50, 61, 70])
def test_resize_token_embeddings(size, tied, tmp_path):
    """Catches: a head of the old size, lost rows, a lost tie, dtype, requires_grad or config."""
    config = AlbertConfig(**SHARED, tie_word_embeddings=tied)
    model = randomised(AlbertForMaskedLM(config)).double()
    model.albert.embeddings.word_embeddings.weight.requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    embeddings = model.resize_token_embeddings(size)
    kept = min(size, 61)
    assert embeddings is model.get_input_embeddings()
    assert (embeddings.num_embeddings, embeddings.padding_idx) == (size, 0)
    assert model.config.vocab_size == model.albert.config.vocab_size == size
    for key, tensor in model.state_dict().items():
        assert torch.equal(
            tensor[:kept] if len(before[key]) == 61 else tensor, before[key][: len(tensor)]
        ), key
        assert tensor.dtype == torch.float64
    decoder = model.get_output_embeddings()
    assert decoder.weight.shape == (size, 10)
    assert decoder.bias.shape == model.predictions.bias.shape == (size,)
    assert decoder.out_features == size
    assert (decoder.weight is embeddings.weight) == (decoder.bias is model.predictions.bias) == tied
    assert not embeddings.weight.requires_grad
    if size > 61:
        assert 0.01 < embeddings.weight[61:].std() < 0.03
        assert not decoder.bias[61:].any()
    ids = torch.randint(1, size, (2, 5))
    assert model(ids).logits.shape == (2, 5, size)
    model.save_pretrained(tmp_path)
    assert not any(
        transformers.AlbertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)[
            1
        ].values()
    )


def test_resize_to_a_multiple():
    """Catches: rounding down, or padding that is added to a multiple."""
    model = AlbertModel(AlbertConfig(**SHARED))
    assert model.resize_token_embeddings(pad_to_multiple_of=8).num_embeddings == 64
    assert model.resize_token_embeddings(pad_to_multiple_of=8).num_embeddings == 64
    assert model.resize_token_embeddings(65, pad_to_multiple_of=8).num_embeddings == 72
    assert model.resize_token_embeddings().num_embeddings == 72


@pytest.mark.parametrize("arguments", [(0,), (-5,), (1.5,), (64, 0.5), (64, -8)])
def test_resize_to_nothing(arguments):
    """Catches: an empty or fractional vocabulary that fails far away."""
    with pytest.raises(
        ValueError, match=r"(new_num_tokens|pad_to_multiple_of)=.* must be a whole number above 0"
    ):
        AlbertModel(AlbertConfig(**SHARED)).resize_token_embeddings(*arguments)


def test_resize_keeps_the_padding_token():
    """Catches: a padding row that is cut off, so that another row would get no gradient."""
    model = AlbertModel(AlbertConfig(**{**SHARED, "pad_token_id": 60}))
    with pytest.raises(ValueError, match="new_num_tokens=60 cuts off the padding token 60"):
        model.resize_token_embeddings(60)


def test_embeddings_can_be_exchanged():
    """Catches: a new input embedding that the tied decoder does not follow."""
    model = AlbertForMaskedLM(AlbertConfig(**SHARED))
    model.set_input_embeddings(nn.Embedding(61, 10))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    model.set_output_embeddings(nn.Linear(10, 61))
    model.tie_weights()
    assert model.predictions.decoder.weight is model.get_input_embeddings().weight
    other = AlbertModel(AlbertConfig(**SHARED))
    assert other.get_output_embeddings() is None
    with pytest.raises(ValueError, match="AlbertModel has no output embeddings"):
        other.set_output_embeddings(nn.Linear(10, 61))


def test_num_parameters():
    """Catches: tied parameters counted twice, or frozen ones counted as trainable."""
    ours, theirs = (
        library.AlbertForMaskedLM(library.AlbertConfig(**SHARED))
        for library in (albert_torch, transformers)
    )
    assert ours.num_parameters() == theirs.num_parameters()
    assert (
        ours.num_parameters(exclude_embeddings=True) == ours.num_parameters() - (61 + 20 + 3) * 10
    )
    ours.albert.requires_grad_(False)
    theirs.albert.requires_grad_(False)
    assert (
        ours.num_parameters(only_trainable=True) == theirs.num_parameters(only_trainable=True) > 0
    )


def test_questions_and_switches():
    """Catches: a switch on the outer model that does not reach the encoder."""
    model = AlbertForMaskedLM(AlbertConfig(**SHARED))
    assert model.base_model is model.albert
    assert model.albert.base_model is model.albert
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert model.attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    assert model.albert.attn_implementation == "eager"
    with pytest.raises(
        ValueError, match="attn_implementation='flash' is not known; use one of eager, sdpa"
    ):
        model.set_attn_implementation("flash")
    assert model.supports_gradient_checkpointing
    assert not model.is_gradient_checkpointing
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert model.is_gradient_checkpointing
    assert model.albert.encoder.gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    with pytest.raises(ValueError, match="always without re-entrance"):
        model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(
        ValueError,
        match=r"preserve_rng_state=False is not supported: .*; leave preserve_rng_state out",
    ):
        model.gradient_checkpointing_enable({"preserve_rng_state": False})
    assert not model.is_gradient_checkpointing


def test_input_require_grads():
    """Catches: adapters in a frozen model with checkpointing that get no gradient."""
    model = AlbertModel(AlbertConfig(**SHARED)).requires_grad_(False)
    model.enable_input_require_grads()
    assert model(torch.randint(1, 61, (1, 4))).last_hidden_state.requires_grad
