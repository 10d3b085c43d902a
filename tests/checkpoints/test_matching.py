"""Matching a checkpoint to a model: renamed, tied, missing, unexpected and misshapen tensors."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.checkpoint_files import CONFIG, rewrite, weights
from torch import Tensor

from albert_torch import (
    AlbertConfig,
    AlbertForAnswerableQuestions,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertModel,
    AlbertPreTrainedModel,
    CheckpointError,
)
from albert_torch.checkpoints.matching import ExpectedWeights, match_checkpoint

WORDS, DECODER = "albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"
PROJECTION = "albert.encoder.embedding_hidden_mapping_in.weight"


# ---- names ----


@pytest.mark.parametrize(
    "rename",
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
def test_names_are_translated(
    model_class: type[AlbertPreTrainedModel],
    rename: Callable[[str], str],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Catches: a prefix or an old name that is not recognised, or only for one kind of class."""
    before = model_class.from_pretrained(folder).state_dict()
    before = {key: tensor.clone() for key, tensor in before.items()}
    rewrite(folder, {rename(key): tensor for key, tensor in weights(folder).items()})
    caplog.clear()
    after, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert all(torch.equal(before[key], tensor) for key, tensor in after.state_dict().items())
    assert not info["missing_keys"]
    assert not caplog.records


def test_position_ids_are_dropped(folder: Path) -> None:
    """Catches: the buffer that older transformers saved taken for a weight of a wrong dtype."""
    rewrite(folder, {**weights(folder), "albert.embeddings.position_ids": torch.arange(20)[None]})
    _, info = AlbertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert info == {
        "missing_keys": set(),
        "unexpected_keys": set(),
        "mismatched_keys": set(),
        "error_msgs": [],
    }


@pytest.mark.parametrize(
    ("extra", "original"),
    [
        ("module.albert.pooler.bias", "albert.pooler.bias"),
        ("pooler.bias", "albert.pooler.bias"),
        ("albert.embeddings.LayerNorm.beta", "albert.embeddings.LayerNorm.bias"),
    ],
)
def test_two_names_of_one_weight(extra: str, original: str, folder: Path) -> None:
    """Catches: the later of two names winning."""
    state = weights(folder)
    rewrite(folder, {**state, extra: state[original].clone()})
    with pytest.raises(CheckpointError, match=f"contains {original} twice"):
        AlbertModel.from_pretrained(folder)


# ---- tied weights ----


def test_tied_copies_must_be_equal(folder: Path) -> None:
    """Catches: one of two different matrices dropped in silence."""
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
    message = f"{DECODER} and {WORDS} differ, .* set tie_word_embeddings=False"
    with pytest.raises(CheckpointError, match=message):
        AlbertForMaskedLM.from_pretrained(folder)
    untied = AlbertForMaskedLM.from_pretrained(folder, tie_word_embeddings=False)
    assert torch.equal(untied.predictions.decoder.weight, state[DECODER])
    assert torch.equal(untied.albert.embeddings.word_embeddings.weight, state[WORDS])


def test_the_copy_stands_in_for_the_original(folder: Path) -> None:
    """Catches: a checkpoint that kept the matrix under the decoder's name refused."""
    state = weights(folder)
    words = state.pop(WORDS)
    rewrite(folder, {**state, DECODER: words})
    model = AlbertForMaskedLM.from_pretrained(folder)
    assert torch.equal(model.albert.embeddings.word_embeddings.weight, words)


# ---- heads ----


def test_heads_of_other_classes_are_ignored(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Catches: a pretraining checkpoint refused, or warned about, where the encoder is wanted."""
    names = (
        "qa_outputs.bias",
        "impossible.bias",
        "classifier.weight",
        "cls.x",
        "seq_relationship.bias",
    )
    extra = {name: torch.ones(2) for name in names}
    rewrite(folder, {**weights(folder), **extra})
    with caplog.at_level(logging.INFO):
        _, info = AlbertModel.from_pretrained(folder, output_loading_info=True)
    heads = extra.keys() | {"predictions.bias", "sop_classifier.classifier.weight"}
    assert heads < info["unexpected_keys"]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "ignored" in caplog.text


def test_a_checkpoint_of_answerable_questions_loads_into_each_class_that_it_fills(
    tmp_path: Path,
) -> None:
    """Catches: the head for "no answer" refused as unexpected, or lost by its own class."""
    saved = AlbertForAnswerableQuestions(AlbertConfig(**CONFIG))
    saved.save_pretrained(tmp_path)
    for model_class in (AlbertForAnswerableQuestions, AlbertForQuestionAnswering, AlbertModel):
        model, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
        pooler = {"pooler.weight", "pooler.bias"} if model_class is AlbertModel else set()
        assert info["missing_keys"] == pooler
        loaded = model.base_model.encoder.embedding_hidden_mapping_in.weight
        assert torch.equal(loaded, saved.albert.encoder.embedding_hidden_mapping_in.weight)
        for name in ("impossible", "qa_outputs"):
            module = getattr(model, name, None)
            if module is not None:
                assert torch.equal(module.weight, saved.get_submodule(name).weight)


def test_a_missing_head_is_initialised_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches: random weights without a word; two warnings; other parameters initialised again."""
    state = {
        key: tensor
        for key, tensor in weights(folder).items()
        if "pooler" not in key and "sop" not in key
    }
    rewrite(folder, state)
    model, info = AlbertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "AlbertForPreTraining: newly initialised because" in caplog.text
    assert "albert.pooler.weight" in caplog.text
    assert len(info["missing_keys"]) == 4
    assert model.albert.pooler is not None
    assert model.albert.pooler.weight.std() > 0.01
    assert not model.albert.pooler.bias.any()
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


def test_a_strange_key_in_a_head_of_ones_own(folder: Path) -> None:
    """Catches: a misspelt weight of the pooler taken for another class's head and dropped."""
    rewrite(folder, {**weights(folder), "albert.pooler.wieght": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"unexpected +albert.pooler.wieght"):
        AlbertModel.from_pretrained(folder)


def test_a_head_that_no_table_knows(caplog: pytest.LogCaptureFixture) -> None:
    """Catches: a missing head of an unregistered class refused like a part of the encoder."""
    tensors = {"albert.encoder.x": torch.ones(1), "regressor.weight": torch.ones(2)}
    expected = ExpectedWeights("Own", tensors)
    match = match_checkpoint({"encoder.x": torch.ones(1)}, "file", expected)
    assert match.missing == ["regressor.weight"]
    assert "regressor.weight" in caplog.text


# ---- errors ----


def test_one_error_lists_everything(folder: Path) -> None:
    """Catches: errors one at a time, or without shapes; a half-missing head that is initialised."""
    state = weights(folder)
    del state[PROJECTION], state["albert.pooler.weight"]
    state |= {"junk": torch.ones(1), "albert.pooler.bias": torch.ones(3)}
    state["albert.embeddings.LayerNorm.bias"] = torch.ones(10, dtype=torch.int64)
    state["albert.embeddings.LayerNorm.weight"] = torch.ones(10, dtype=torch.int32)
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        AlbertModel.from_pretrained(folder)
    allowed = "weights are float32, bfloat16, float16, float64"
    assert str(caught.value).splitlines() == [
        f"checkpoint does not fit AlbertModel ({folder / 'model.safetensors'}):",
        "  missing      encoder.embedding_hidden_mapping_in.weight",
        "  missing      pooler.weight",
        "  unexpected   junk",
        "  wrong shape  pooler.bias: (3,) in the file, (24,) in the model",
        f"  wrong dtype  albert.embeddings.LayerNorm.weight: int32; {allowed}",
        f"  wrong dtype  albert.embeddings.LayerNorm.bias: int64; {allowed}",
    ]


@pytest.mark.parametrize("part", ["embeddings", "encoder"])
def test_a_whole_part_of_the_backbone_is_missing(part: str, folder: Path) -> None:
    """Catches: an encoder initialised at random because, like a head, it is missing as a whole."""
    state = {key: x for key, x in weights(folder).items() if f"albert.{part}" not in key}
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match=f"missing +{part}"):
        AlbertModel.from_pretrained(folder)


def test_unexpected_keys_when_not_strict(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Catches: strict=False that is silent, or that forgives a missing encoder."""
    state = {**weights(folder), "junk": torch.ones(1)}
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match=r"unexpected +junk"):
        AlbertForPreTraining.from_pretrained(folder)
    AlbertForPreTraining.from_pretrained(folder, strict=False)
    messages = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert messages == ["ignored unexpected junk"]
    del state[PROJECTION]
    rewrite(folder, state)
    with pytest.raises(CheckpointError, match=f"missing +{PROJECTION}"):
        AlbertForPreTraining.from_pretrained(folder, strict=False)


def test_another_shape(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Catches: misshapen weights loaded as they are; a vocabulary size blamed without advice."""
    message = (
        r"\(61, 10\) in the file, \(70, 10\) in the model\n(.*\n)*"
        r".*vocab_size=70, but the word embeddings have shape \(61, 10\)"
    )
    with pytest.raises(CheckpointError, match=message):
        AlbertForMaskedLM.from_pretrained(folder, vocab_size=70)
    model, info = AlbertForMaskedLM.from_pretrained(
        folder, vocab_size=70, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert info["mismatched_keys"] == {
        (WORDS, (61, 10), (70, 10)),
        ("predictions.bias", (61,), (70,)),
    }
    decoder: Tensor = model.predictions.decoder.weight
    assert decoder.shape == (70, 10)
    assert decoder.std() > 0.01
    assert "newly initialised" in caplog.text
