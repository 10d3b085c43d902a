"""Matching a checkpoint's tensors to a model: renamed, tied, missing, unexpected and misshapen ones."""

import logging

import pytest
import torch
from helpers.checkpoint_files import rewrite, weights

from albert_torch import AlbertForMaskedLM, AlbertForPreTraining, AlbertModel, CheckpointError
from albert_torch.checkpoints.matching import fit


def renamed(state, how):
    return {how(key): tensor for key, tensor in state.items()}


@pytest.mark.parametrize(
    "how",
    [
        lambda key: f"module.{key}",
        lambda key: key.removeprefix("albert."),
        lambda key: f"module.module.{key.removeprefix('albert.')}",
        lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ),
    ],
)
@pytest.mark.parametrize("model_class", [AlbertModel, AlbertForPreTraining])
def test_names_are_moved(model_class, how, folder, caplog):
    """Kills: a prefix or an old TF name that is not seen, or seen for one kind of class only."""
    before = model_class.from_pretrained(folder).state_dict()
    before = {key: tensor.clone() for key, tensor in before.items()}
    rewrite(folder, renamed(weights(folder), how))
    caplog.clear()
    after, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert all(torch.equal(before[key], tensor) for key, tensor in after.state_dict().items())
    assert not info["missing_keys"]
    assert not caplog.records


def test_position_ids_are_dropped(folder):
    """Kills: the buffer that older transformers saved taken for a weight of a wrong dtype."""
    rewrite(folder, {**weights(folder), "albert.embeddings.position_ids": torch.arange(20)[None]})
    _, info = AlbertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert info == {
        "missing_keys": set(),
        "unexpected_keys": set(),
        "mismatched_keys": set(),
        "error_msgs": [],
    }


WORDS, DECODER = "albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"


def test_tied_copies_must_be_equal(folder):
    """Kills: one of two different matrices dropped in silence."""
    state = weights(folder)
    state |= {
        DECODER: state[WORDS].clone(),
        "predictions.decoder.bias": state["predictions.bias"].clone(),
    }
    rewrite(folder, state)
    model = AlbertForMaskedLM.from_pretrained(folder)
    assert model.predictions.decoder.weight is model.albert.embeddings.word_embeddings.weight
    assert model.predictions.decoder.bias is model.predictions.bias
    state[DECODER] += 1
    rewrite(folder, state)
    with pytest.raises(
        CheckpointError, match=f"{DECODER} and {WORDS} differ.* set tie_word_embeddings=False"
    ):
        AlbertForMaskedLM.from_pretrained(folder)
    untied = AlbertForMaskedLM.from_pretrained(folder, tie_word_embeddings=False)
    assert torch.equal(untied.predictions.decoder.weight, state[DECODER])
    assert torch.equal(untied.albert.embeddings.word_embeddings.weight, state[WORDS])


def test_the_copy_stands_in_for_the_original(folder):
    """Kills: a checkpoint that kept the matrix under the decoder's name refused."""
    state = weights(folder)
    words = state.pop(WORDS)
    rewrite(folder, {**state, DECODER: words})
    assert torch.equal(
        AlbertForMaskedLM.from_pretrained(folder).albert.embeddings.word_embeddings.weight, words
    )


def test_heads_of_other_classes_are_dropped(folder, caplog):
    """Kills: a pretraining checkpoint refused, or warned about, where the backbone is wanted."""
    extra = {
        name: torch.ones(2)
        for name in ("qa_outputs.bias", "classifier.weight", "cls.x", "seq_relationship.bias")
    }
    rewrite(folder, {**weights(folder), **extra})
    with caplog.at_level(logging.INFO):
        _, info = AlbertModel.from_pretrained(folder, output_loading_info=True)
    assert (
        extra.keys() | {"predictions.bias", "sop_classifier.classifier.weight"}
        < info["unexpected_keys"]
    )
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "left out" in caplog.text


def test_a_missing_head_is_drawn_and_warned_of_once(folder, caplog):
    """Kills: random weights without a word; two warnings; other parameters drawn anew."""
    state = {
        key: tensor
        for key, tensor in weights(folder).items()
        if "pooler" not in key and "sop" not in key
    }
    rewrite(folder, state)
    model, info = AlbertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert (
        "AlbertForPreTraining: newly initialised, train before use: albert.pooler.weight"
        in caplog.text
    )
    assert len(info["missing_keys"]) == 4
    assert model.albert.pooler.weight.std() > 0.01
    assert not model.albert.pooler.bias.any()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


def test_one_error_lists_everything(folder):
    """Kills: errors one at a time, or without shapes; a half-missing head or an encoder weight that is drawn."""
    state = weights(folder)
    del state["albert.encoder.embedding_hidden_mapping_in.weight"], state["albert.pooler.weight"]
    state |= {"junk": torch.ones(1), "albert.pooler.bias": torch.ones(3)}
    state["albert.embeddings.LayerNorm.bias"] = torch.ones(10, dtype=torch.int64)
    state["albert.embeddings.LayerNorm.weight"] = torch.ones(10, dtype=torch.complex64)
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        AlbertModel.from_pretrained(folder)
    floats = "weights are float32, bfloat16, float16, float64"
    assert str(caught.value).splitlines() == [
        f"checkpoint does not fit AlbertModel ({folder / 'model.safetensors'}):",
        f"  no weight  albert.embeddings.LayerNorm.weight: complex64; {floats}",
        f"  no weight  albert.embeddings.LayerNorm.bias: int64; {floats}",
        "  missing    encoder.embedding_hidden_mapping_in.weight",
        "  missing    pooler.weight",
        "  unexpected junk",
        "  mis-shaped pooler.bias: file (3,), model (24,)",
    ]


@pytest.mark.parametrize("part", ["embeddings", "encoder"])
def test_a_whole_part_of_the_backbone_is_missing(part, folder):
    """Kills: an encoder drawn at random because, like a head, it is missing as a whole."""
    rewrite(
        folder,
        {key: tensor for key, tensor in weights(folder).items() if f"albert.{part}" not in key},
    )
    with pytest.raises(CheckpointError, match=f"missing    {part}"):
        AlbertModel.from_pretrained(folder)


def test_a_strange_key_in_a_head_of_ones_own(folder):
    """Kills: a misspelt weight of the pooler taken for another class's head and dropped."""
    rewrite(folder, {**weights(folder), "albert.pooler.wieght": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"unexpected albert.pooler.wieght"):
        AlbertModel.from_pretrained(folder)


def test_unexpected_keys_when_not_strict(folder, caplog):
    """Kills: strict=False that is silent, or that forgives a missing encoder."""
    state = {**weights(folder), "junk": torch.ones(1)}
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match="unexpected junk"):
        AlbertForPreTraining.from_pretrained(folder)
    AlbertForPreTraining.from_pretrained(folder, strict=False)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "left out unexpected junk"
    ]
    del state["albert.encoder.embedding_hidden_mapping_in.weight"]
    rewrite(folder, state)
    with pytest.raises(
        CheckpointError, match=r"missing    albert.encoder.embedding_hidden_mapping_in.weight"
    ):
        AlbertForPreTraining.from_pretrained(folder, strict=False)


def test_another_shape(folder, caplog):
    """Kills: mismatched weights loaded as they are; the vocabulary blamed without saying what to change."""
    with pytest.raises(
        CheckpointError,
        match=r"file \(61, 10\), model \(70, 10\)\n(.*\n)*.*vocab_size=70, the weights 61",
    ):
        AlbertForMaskedLM.from_pretrained(folder, vocab_size=70)
    model, info = AlbertForMaskedLM.from_pretrained(
        folder, vocab_size=70, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert info["mismatched_keys"] == {
        (WORDS, (61, 10), (70, 10)),
        ("predictions.bias", (61,), (70,)),
    }
    assert model.predictions.decoder.weight.shape == (70, 10)
    assert model.predictions.decoder.weight.std() > 0.01
    assert "newly initialised" in caplog.text


@pytest.mark.parametrize(
    ("one", "other"),
    [("module.albert.pooler.bias", "albert.pooler.bias"), ("pooler.bias", "albert.pooler.bias"),
     ("albert.embeddings.LayerNorm.beta", "albert.embeddings.LayerNorm.bias")],
)  # fmt: skip
def test_two_names_of_one_weight(one, other, folder):
    """Kills: the later of two names winning."""
    state = weights(folder)
    rewrite(folder, {**state, one: state[other].clone()})
    with pytest.raises(CheckpointError, match=f"holds {other} twice"):
        AlbertModel.from_pretrained(folder)


def test_a_class_of_ones_own(caplog):
    """Kills: a head that is not in our list refused as if it were part of the encoder."""
    expected = {"albert.encoder.x": torch.ones(1), "regressor.weight": torch.ones(2)}
    result = fit({"encoder.x": torch.ones(1)}, expected, model="Own", where="file", tied={})
    assert result.missing == ["regressor.weight"]
    assert "regressor.weight" in caplog.text
