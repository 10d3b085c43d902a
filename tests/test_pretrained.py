"""Loading, saving and resizing models, with the classes of transformers as the reference."""

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from helpers.checkpoint_files import randomised
from helpers.constants import SHARED, TINY
from helpers.reference import CLASS_NAMES

import albert_torch
from albert_torch import (
    AlbertConfig,
    AlbertForPreTraining,
    AlbertForSequenceClassification,
    AlbertModel,
)

LABELS = {"AlbertForMultipleChoice": 1, "AlbertForPreTraining": 2, "AlbertForQuestionAnswering": 2}
EMPTY = {
    "missing_keys": set(),
    "unexpected_keys": set(),
    "mismatched_keys": set(),
    "error_msgs": [],
}


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def saved(tmp_path):
    """A directory with an AlbertForPreTraining."""
    randomised(AlbertForPreTraining(AlbertConfig(**SHARED))).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


# ---- round trips ----


# transformers 4 leaves the decoder's bias out of an untied checkpoint.
@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.transformers5)])
@pytest.mark.parametrize("config", [TINY, SHARED], ids=["groups", "shared"])
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_round_trips_with_transformers(name, config, tied, tmp_path):
    """Catches: a key that the other library misses or does not know, another order or number."""
    config = {**config, "tie_word_embeddings": tied, "num_labels": LABELS.get(name, 5)}
    theirs = randomised(getattr(transformers, name)(transformers.AlbertConfig(**config)))
    theirs.save_pretrained(tmp_path / "theirs")
    ours, info = getattr(albert_torch, name).from_pretrained(
        tmp_path / "theirs", output_loading_info=True
    )
    assert info == EMPTY
    assert same(ours, theirs)
    assert not ours.training
    assert all(parameter.requires_grad for parameter in ours.parameters())
    randomised(ours).save_pretrained(tmp_path / "ours", max_shard_size="20KB")
    again, info = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values())
    assert same(again, ours)
    assert (
        type(transformers.AutoConfig.from_pretrained(tmp_path / "ours")).__name__ == "AlbertConfig"
    )
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert (config["architectures"], config["dtype"], config["model_type"]) == (
        [name],
        "float32",
        "albert",
    )


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_every_class_loads_a_pretraining_checkpoint(name, saved, caplog):
    """Catches: a class that refuses the published checkpoints, or initialises more than it must."""
    theirs, reference = getattr(transformers, name).from_pretrained(saved, output_loading_info=True)
    ours, info = getattr(albert_torch, name).from_pretrained(saved, output_loading_info=True)
    assert info["missing_keys"] == set(reference["missing_keys"])
    assert info["unexpected_keys"] == set(reference["unexpected_keys"])
    state, expected = ours.state_dict(), theirs.state_dict()
    assert all(
        torch.equal(state[key], expected[key])
        for key in expected
        if key not in info["missing_keys"]
    )
    warned = [record for record in caplog.records if record.name.startswith("albert_torch")]
    assert len(warned) == bool(info["missing_keys"])


# ---- arguments ----


def test_dtype(saved, tmp_path):
    """Catches: a dtype that is not kept, a file of mixed dtypes that stays mixed."""
    assert AlbertModel.from_pretrained(saved).dtype == torch.float32
    for given in (torch.bfloat16, "bfloat16", "torch.bfloat16"):
        assert {p.dtype for p in AlbertModel.from_pretrained(saved, dtype=given).parameters()} == {
            torch.bfloat16
        }
    assert AlbertModel.from_pretrained(saved, torch_dtype="float16").dtype == torch.float16
    half = AlbertModel.from_pretrained(saved).half()
    half.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
    for given in (None, "auto"):
        assert AlbertModel.from_pretrained(tmp_path / "half", dtype=given).dtype == torch.float16
    half.pooler.bfloat16()
    half.save_pretrained(tmp_path / "half")
    assert {p.dtype for p in AlbertModel.from_pretrained(tmp_path / "half").parameters()} == {
        torch.float32
    }
    classifier = AlbertForSequenceClassification.from_pretrained(saved, dtype="bfloat16")
    assert classifier.classifier.weight.dtype == torch.bfloat16, "an initialised head too"
    for wrong in ("float31", "int8", torch.int64, "nn"):
        with pytest.raises(ValueError, match=r"dtype=.* must be 'auto' or one of torch.float32"):
            AlbertModel.from_pretrained(saved, dtype=wrong)


def test_arguments_of_the_class_and_keys_of_the_config(saved):
    """Catches: an override that is dropped, or given to the wrong one of the two."""
    model = AlbertModel.from_pretrained(
        saved,
        add_pooling_layer=False,
        num_hidden_layers=3,
        attn_implementation="eager",
        unpad=True,
        device="cpu",
    )
    assert model.pooler is None
    assert (model.config.num_hidden_layers, model.attn_implementation, model.unpad) == (
        3,
        "eager",
        True,
    )
    assert model.name_or_path == str(saved)
    model = AlbertForSequenceClassification.from_pretrained(saved, num_labels=7)
    assert model.classifier.out_features == 7


def test_a_config_of_ones_own(saved):
    """Catches: a given config that is ignored or changed, or read from the files nevertheless."""
    config = AlbertConfig(**SHARED, hidden_dropout_prob=0.5, own_key=1)
    (saved / "config.json").unlink()
    model = AlbertModel.from_pretrained(saved, config=config, num_hidden_layers=3)
    assert (
        model.config.num_hidden_layers,
        model.config.hidden_dropout_prob,
        model.config.own_key,
    ) == (3, 0.5, 1)
    assert config.num_hidden_layers == SHARED["num_hidden_layers"]
    assert AlbertModel.from_pretrained(saved, config=config).config is not config
    with pytest.raises(FileNotFoundError, match=r"does not contain config.json"):
        AlbertModel.from_pretrained(saved)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "num_label",
            r"AlbertModel.from_pretrained\(\) got 'num_label': did you mean 'num_labels'\?",
        ),
        ("add_pooling_layers", "did you mean 'add_pooling_layer'"),
        ("trust_remote_code", "it is no argument of from_pretrained and no field of AlbertConfig"),
    ],
)
def test_an_unknown_argument(argument, message, saved):
    """Catches: a misspelt argument that does nothing."""
    with pytest.raises(TypeError, match=message):
        AlbertModel.from_pretrained(saved, **{argument: 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": -1}, r"config.json: hidden_size=-1"),
        ({"hidden_size": "big"}, r"hidden_size='big'"),
        ({"hidden_size": 25}, r"not a multiple of num_attention_heads"),
        ({"model_type": "bert"}, r"model_type is 'bert'"),
        (
            {"vocab_size": 70},
            r"vocab_size=70, but the word embeddings have shape \(61, 10\): correct config.json",
        ),
        (
            {"vocab_size": 10**12},
            r"vocab_size=1000000000000, but the word embeddings have shape \(61, 10\)",
        ),
        ({"vocab_size": 10**18}, r"AlbertModel cannot be built from this config"),
        ({"vocab_size": 10**30}, r"AlbertModel cannot be built from this config"),
        (
            {"num_hidden_groups": 10**9, "num_hidden_layers": 10**9},
            r"1000000000 groups of 1 layers, but .* contains 32 tens",
        ),
        ({"inner_group_num": 10**9}, r"1 groups of 1000000000 layers"),
        ({"inner_group_num": 2}, r"missing +encoder.albert_layer_groups.0.albert_layers.1"),
        ({"hidden_act": "no"}, r"hidden_act='no' is not known"),
    ],
)
def test_a_config_that_does_not_fit(change, message, saved):
    """Catches: gigabytes or a billion modules that are created before the weights are read."""
    config = json.loads((saved / "config.json").read_text()) | change
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        AlbertModel.from_pretrained(saved)


def test_the_constructor_takes_a_config_only():
    """Catches: AlbertModel("albert/albert-base-v2") that fails far away."""
    with pytest.raises(
        TypeError,
        match=r"AlbertModel takes an AlbertConfig, not a str. .*AlbertModel.from_pretrained",
    ):
        AlbertModel("albert/albert-base-v2")


# ---- the Hub ----


def test_push_to_hub(monkeypatch):
    """Catches: an argument that does not reach the Hub, files that are missing."""
    calls, uploaded = {}, []

    class Api:
        def __init__(self, token):
            calls["token"] = token

        def create_repo(self, repo_id, **options):
            calls["create"] = (repo_id, options)
            return type("Url", (), {"repo_id": f"me/{repo_id}"})

        def upload_folder(self, folder_path, **options):
            calls["upload"] = options
            uploaded.extend(sorted(path.name for path in Path(folder_path).iterdir()))
            return "commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    model = AlbertModel(AlbertConfig(**SHARED))
    assert (
        model.push_to_hub("mine", private=True, token="t", revision="r", create_pr=True) == "commit"
    )
    assert calls["token"] == "t"
    assert calls["create"] == ("mine", {"private": True, "exist_ok": True})
    assert calls["upload"] == {
        "repo_id": "me/mine",
        "commit_message": "Upload AlbertModel",
        "revision": "r",
        "create_pr": True,
    }
    assert uploaded == ["config.json", "model.safetensors"]


def test_a_state_dict_in_place_of_the_model_s(tmp_path):
    """Catches: a gathered state dict that is ignored in favour of the shards the model holds."""
    model = AlbertModel(AlbertConfig(**SHARED))
    state = {key: torch.full_like(tensor, 2.0) for key, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)
    assert all(
        tensor.eq(2).all() for tensor in AlbertModel.from_pretrained(tmp_path).state_dict().values()
    )
