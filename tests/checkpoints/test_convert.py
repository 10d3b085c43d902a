"""Converting checkpoints of every kind and class to clean safetensors."""

import json

import pytest
import torch
import transformers
from helpers.constants import SHARED, TINY
from safetensors.torch import load_file

from albert_torch import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForSequenceClassification,
    AlbertModel,
    CheckpointError,
)
from albert_torch.checkpoints.convert import convert, filled_heads
from albert_torch.checkpoints.writer import save_state_dict
from albert_torch.finetuning.lora import save_adapter
from albert_torch.finetuning.lora_layers import add_lora
from albert_torch.heads import AlbertForAnswerableQuestions, AlbertHeadModel
from albert_torch.outputs import SequenceClassifierOutput

CONFIG = {**SHARED, "num_hidden_layers": 2}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


CLASSES = [
    "AlbertModel",
    "AlbertForPreTraining",
    "AlbertForMaskedLM",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertForQuestionAnswering",
    "AlbertForMultipleChoice",
]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_convert_an_old_pickle(name, named, tmp_path):
    """Catches: a lost head, a wrong prefix, or keys that transformers misses."""
    torch.manual_seed(1)
    theirs = getattr(transformers, name)(transformers.AlbertConfig(**TINY)).eval()
    theirs.config.architectures = [name] if named else None
    theirs.config.save_pretrained(tmp_path / "old")
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma"): value
        for key, value in theirs.state_dict().items()
    }
    old = {f"module.{key}": value.clone() for key, value in old.items()}  # copies of tied tensors
    torch.save(old, tmp_path / "old" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "old" / "spiece.model").write_bytes(b"pieces")
    convert(tmp_path / "old", tmp_path / "new")
    assert names(tmp_path / "new") == ["config.json", "model.safetensors", "spiece.model"]
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    if not named and name == "AlbertForMultipleChoice":
        name = "AlbertForSequenceClassification"  # they differ only in the number of labels
    assert config["architectures"] == [name]
    assert config["dtype"] == "float32"
    theirs.save_pretrained(tmp_path / "theirs")
    ours, reference = (
        load_file(tmp_path / which / "model.safetensors") for which in ("new", "theirs")
    )
    assert ours.keys() == reference.keys()
    assert all(torch.equal(ours[key], reference[key]) for key in reference)


def test_convert_keeps_all_heads_and_works_in_place(tmp_path):
    """Catches: a pooler dropped since the named class has none; a file copied onto itself."""
    model = AlbertForPreTraining(AlbertConfig(**CONFIG))
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    config = json.loads((tmp_path / "config.json").read_text()) | {
        "architectures": ["AlbertForMaskedLM"]
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    before = load_file(tmp_path / "model.safetensors")
    convert(str(tmp_path), tmp_path)
    after = load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert "albert.pooler.weight" in after
    AlbertForMaskedLM.from_pretrained(tmp_path)


def test_convert_changes_the_dtype_when_asked(tmp_path):
    """Catches: a dtype that is not applied, or not written to the config."""
    model = AlbertForPreTraining(AlbertConfig(**CONFIG))
    model.save_pretrained(tmp_path)
    convert(tmp_path, tmp_path / "half", torch.bfloat16)
    half = AlbertForPreTraining.from_pretrained(tmp_path / "half").state_dict()
    assert all(
        torch.equal(half[name], value.bfloat16()) for name, value in model.state_dict().items()
    )
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"


def test_convert_refuses_what_is_not_an_albert(tmp_path):
    """Catches: a checkpoint of another model that is rewritten as an ALBERT."""
    AlbertModel(AlbertConfig(**CONFIG)).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    save_state_dict({"bert.encoder.x": torch.ones(1)}, tmp_path, config=config)
    with pytest.raises(
        CheckpointError, match=r"contains bert.encoder.x, which belong to no known ALBERT class"
    ):
        convert(tmp_path, tmp_path / "new")
    save_state_dict({"classifier.bias": torch.ones(1)}, tmp_path, config=config)
    with pytest.raises(CheckpointError, match="no embeddings and no encoder"):
        convert(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("parts", "architectures", "heads"),
    [
        ({"albert.pooler", "predictions", "sop_classifier"}, None, ["PreTraining", "MaskedLM"]),
        ({"albert.pooler", "predictions"}, ["AlbertForPreTraining"], ["MaskedLM"]),
        ({"predictions", "sop_classifier"}, None, ["MaskedLM"]),
        ({"albert.pooler", "classifier"}, ["AlbertForMultipleChoice"], ["MultipleChoice"]),
        ({"albert.pooler", "classifier"}, None, ["SequenceClassification"]),
        ({"classifier"}, ["AlbertForTokenClassification"], ["TokenClassification"]),
        ({"classifier"}, ["AlbertForMultipleChoice"], ["TokenClassification"]),
        ({"qa_outputs"}, None, ["QuestionAnswering"]),
        ({"qa_outputs", "impossible"}, None, ["AnswerableQuestions", "QuestionAnswering"]),
        ({"impossible"}, None, []),
        (
            {"albert.pooler", "classifier"},
            ["AlbertForTokenClassification"],
            ["TokenClassification"],
        ),
        (set(), ["AlbertForMaskedLM"], []),
    ],
)
def test_the_heads_that_a_checkpoint_fills(parts, architectures, heads):
    """Catches: a head that is compared, or named in a config, though the files lack its weights."""
    assert filled_heads(parts, architectures) == [*heads, "Model"]


class AlbertForConvertedToy(AlbertHeadModel):
    """A head that is defined outside the package."""

    output_class = SequenceClassifierOutput
    head_modules = ("converted_toy",)
    uses_pooler = True
    reads_pooler_only = True

    def __init__(self, config, *, attn_implementation="sdpa", unpad=False):
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.converted_toy = torch.nn.Linear(config.hidden_size, 3)
        self.post_init()

    def compute_logits(self, hidden, pooled):
        return {"logits": self.converted_toy(pooled)}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("head", [AlbertForAnswerableQuestions, AlbertForConvertedToy])
def test_convert_keeps_heads_that_transformers_does_not_have(head, named, tmp_path):
    """Catches: a list of heads that is kept apart from the table of them."""
    model = head(AlbertConfig(**CONFIG)).eval()
    model.save_pretrained(tmp_path / "old")
    if not named:
        config = AlbertConfig.from_pretrained(tmp_path / "old")
        config.architectures = None
        config.save_pretrained(tmp_path / "old")
    convert(tmp_path / "old", tmp_path / "new")
    config = AlbertConfig.from_pretrained(tmp_path / "new")
    assert config.architectures == [head.__name__]
    state = head.from_pretrained(tmp_path / "new").state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@pytest.fixture
def adapter(tmp_path, request):
    """The directory of an adapter with random deltas, and the same model with its deltas."""
    AlbertForSequenceClassification(AlbertConfig(**CONFIG)).save_pretrained(tmp_path / "base")
    model = AlbertForSequenceClassification.from_pretrained(tmp_path / "base").double()
    add_lora(model, rank=3, per_depth=request.param)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_up" in name:
                parameter.normal_()
    save_adapter(model, tmp_path / "run")
    (tmp_path / "run" / "spiece.model").write_bytes(b"pieces")
    return tmp_path / "run", model.eval()


@pytest.mark.parametrize("adapter", [False, True], indirect=True, ids=["shared", "per-depth"])
def test_convert_merges_an_adapter(adapter, tmp_path, caplog):
    """Catches: an adapter directory that is refused, or its base model converted without deltas."""
    folder, model = adapter
    convert(folder, tmp_path / "plain")
    assert names(tmp_path / "plain") == ["config.json", "model.safetensors", "spiece.model"]
    merged = AlbertForSequenceClassification.from_pretrained(tmp_path / "plain")
    ids = torch.randint(5, CONFIG["vocab_size"], (2, 7))
    torch.testing.assert_close(merged(ids).logits, model(ids).logits, rtol=0, atol=1e-10)
    per_depth = merged.config.num_hidden_groups == CONFIG["num_hidden_layers"]
    assert ("share no weights" in caplog.text) == per_depth
    convert(folder, tmp_path / "half", torch.bfloat16)
    half = AlbertForSequenceClassification.from_pretrained(tmp_path / "half")
    assert half.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="contains an adapter: write the converted model"):
        convert(folder, folder)
