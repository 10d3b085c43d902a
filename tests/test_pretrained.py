"""pretrained.py: loading, saving and resizing, with transformers' own classes as the reference."""

import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from helpers.constants import SHARED, TINY
from torch import nn

import albert_torch
from albert_torch import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForSequenceClassification,
    AlbertModel,
)

LABELS = {"AlbertForMultipleChoice": 1, "AlbertForPreTraining": 2, "AlbertForQuestionAnswering": 2}
CLASSES = ["AlbertModel", "AlbertForPreTraining", "AlbertForMaskedLM", "AlbertForSequenceClassification",
           "AlbertForTokenClassification", "AlbertForQuestionAnswering", "AlbertForMultipleChoice"]  # fmt: skip
EMPTY = {
    "missing_keys": set(),
    "unexpected_keys": set(),
    "mismatched_keys": set(),
    "error_msgs": [],
}


def drawn(model):
    """Every parameter random, biases and LayerNorms too."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def saved(tmp_path):
    """A directory with an AlbertForPreTraining."""
    drawn(AlbertForPreTraining(AlbertConfig(**SHARED))).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


# ---- round trips ----


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("config", [TINY, SHARED], ids=["groups", "shared"])
@pytest.mark.parametrize("name", CLASSES)
def test_round_trips_with_transformers(name, config, tied, tmp_path):
    """Kills: a key that the other library misses or does not know, another order, dtype, shape or number."""
    config = {**config, "tie_word_embeddings": tied, "num_labels": LABELS.get(name, 5)}
    theirs = drawn(getattr(transformers, name)(transformers.AlbertConfig(**config)))
    theirs.save_pretrained(tmp_path / "theirs")
    ours, info = getattr(albert_torch, name).from_pretrained(
        tmp_path / "theirs", output_loading_info=True
    )
    assert info == EMPTY
    assert same(ours, theirs)
    assert not ours.training
    assert all(parameter.requires_grad for parameter in ours.parameters())
    drawn(ours).save_pretrained(tmp_path / "ours", max_shard_size="20KB")
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


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_loads_a_pretraining_checkpoint(name, saved, caplog):
    """Kills: a class that refuses the published checkpoints, or draws more than the heads they lack."""
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
    """Kills: a dtype that is not kept, "auto" for float32, a file of mixed dtypes that stays mixed or loses digits."""
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
    assert classifier.classifier.weight.dtype == torch.bfloat16, "a drawn head too"
    for wrong in ("float31", "int8", torch.int64, "nn"):
        with pytest.raises(ValueError, match=r"dtype=.* must be 'auto' or one of torch.float32"):
            AlbertModel.from_pretrained(saved, dtype=wrong)


def test_arguments_of_the_class_and_keys_of_the_config(saved):
    """Kills: an override that is dropped, or given to the wrong one of the two."""
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
    """Kills: a given config that is ignored, changed, or read from the files all the same."""
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
    """Kills: a misspelt argument that does nothing."""
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
            r"the config says vocab_size=70, but the word embeddings have shape \(61, 10\): correct config.json",
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
    """Kills: a model of the wrong size, gigabytes or a billion modules made before the weights are looked at."""
    config = json.loads((saved / "config.json").read_text()) | change
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        AlbertModel.from_pretrained(saved)


def test_the_constructor_takes_a_config_only():
    """Kills: AlbertModel("albert/albert-base-v2") that fails far away."""
    with pytest.raises(
        TypeError,
        match=r"AlbertModel takes an AlbertConfig, not a str. .*AlbertModel.from_pretrained",
    ):
        AlbertModel("albert/albert-base-v2")


def test_loading_draws_nothing_and_imports_no_compiler(saved):
    """Kills: weights drawn and thrown away; the second that torch needs to import its compiler for meta tensors."""
    code = (
        "import sys, torch, albert_torch; before = torch.get_rng_state();"
        f"albert_torch.AlbertForPreTraining.from_pretrained({str(saved)!r});"
        "assert torch.equal(before, torch.get_rng_state()); assert 'torch._dynamo' not in sys.modules"
    )
    root = Path(albert_torch.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


# ---- initial weights ----


def test_initial_weights():
    """Kills: a plain normal, a deviation that is not the config's, biases or the padding row that are not 0."""
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


def test_the_encoder_is_drawn_once(monkeypatch):
    """Kills: the largest tensors drawn again by each class around the encoder."""
    counts = []
    draw = nn.init.trunc_normal_
    monkeypatch.setattr(
        nn.init,
        "trunc_normal_",
        lambda tensor, **kw: counts.append(tensor.shape) or draw(tensor, **kw),
    )
    model = AlbertForPreTraining(AlbertConfig(**SHARED))
    matrices = [p for p in model.parameters() if p.dim() == 2]
    assert len(counts) == len(matrices) + 1, "the decoder is drawn before it is tied"


# ---- resizing ----


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [50, 61, 70])
def test_resize_token_embeddings(size, tied, saved, tmp_path):
    """Kills: a head of the old size, old rows lost, new rows zero, a tie, dtype, frozen flag or config left behind."""
    config = AlbertConfig(**SHARED, tie_word_embeddings=tied)
    model = drawn(AlbertForMaskedLM(config)).double()
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
    """Kills: rounding down, or padding that is added to a multiple."""
    model = AlbertModel(AlbertConfig(**SHARED))
    assert model.resize_token_embeddings(pad_to_multiple_of=8).num_embeddings == 64
    assert model.resize_token_embeddings(pad_to_multiple_of=8).num_embeddings == 64
    assert model.resize_token_embeddings(65, pad_to_multiple_of=8).num_embeddings == 72
    assert model.resize_token_embeddings().num_embeddings == 72


@pytest.mark.parametrize("arguments", [(0,), (-5,), (1.5,), (64, 0.5), (64, -8)])
def test_resize_to_nothing(arguments):
    """Kills: an empty or fractional vocabulary that fails far away."""
    with pytest.raises(
        ValueError, match=r"(new_num_tokens|pad_to_multiple_of)=.* must be a whole number above 0"
    ):
        AlbertModel(AlbertConfig(**SHARED)).resize_token_embeddings(*arguments)


def test_resize_keeps_the_padding_token():
    """Kills: a padding row that is cut off, and an embedding that then zeroes another row's gradient."""
    model = AlbertModel(AlbertConfig(**{**SHARED, "pad_token_id": 60}))
    with pytest.raises(ValueError, match="new_num_tokens=60 cuts off the padding token 60"):
        model.resize_token_embeddings(60)


# ---- what clients ask ----


def test_embeddings_can_be_exchanged():
    """Kills: a new input embedding that the tied decoder does not follow."""
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
    """Kills: tied parameters counted twice, or frozen ones as trainable."""
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
    """Kills: a switch on the outer model that does not reach the encoder."""
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
        ValueError, match=r"preserve_rng_state=False is not supported: .*; leave preserve_rng_state out"
    ):
        model.gradient_checkpointing_enable({"preserve_rng_state": False})
    assert not model.is_gradient_checkpointing


def test_input_require_grads():
    """Kills: adapters behind checkpointing in a frozen model that get no gradient."""
    model = AlbertModel(AlbertConfig(**SHARED)).requires_grad_(False)
    model.enable_input_require_grads()
    assert model(torch.randint(1, 61, (1, 4))).last_hidden_state.requires_grad


def test_push_to_hub(monkeypatch):
    """Kills: an argument that does not reach the Hub, files that are not there when they are sent, a directory left."""
    calls, seen = {}, []

    class Api:
        def __init__(self, token):
            calls["token"] = token

        def create_repo(self, repo_id, **options):
            calls["create"] = (repo_id, options)
            return type("Url", (), {"repo_id": f"me/{repo_id}"})

        def upload_folder(self, folder_path, **options):
            calls["upload"] = options
            seen.extend(sorted(path.name for path in Path(folder_path).iterdir()))
            return "commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    model = AlbertModel(AlbertConfig(**SHARED))
    assert (
        model.push_to_hub("mine", private=True, token="t", revision="r", create_pr=True) == "commit"
    )
    assert calls["token"] == "t"
    assert calls["create"] == ("mine", {"private": True, "exist_ok": True})
    assert calls["upload"] == {
        "repo_id": "me/mine", "commit_message": "Upload AlbertModel", "revision": "r", "create_pr": True
    }  # fmt: skip
    assert seen == ["config.json", "model.safetensors"]


def test_a_state_dict_in_place_of_the_model_s(tmp_path):
    """Kills: a gathered state dict that is ignored in favour of the shards the model holds."""
    model = AlbertModel(AlbertConfig(**SHARED))
    state = {key: torch.full_like(tensor, 2.0) for key, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)
    assert all(
        tensor.eq(2).all() for tensor in AlbertModel.from_pretrained(tmp_path).state_dict().values()
    )
