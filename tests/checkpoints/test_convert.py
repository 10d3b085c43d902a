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
    AlbertModel,
    CheckpointError,
)
from albert_torch.checkpoints.convert import convert
from albert_torch.checkpoints.writer import save_state_dict

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
    """Catches: a lost head, a wrong prefix, keys that transformers then misses or does not expect."""
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
    """Catches: a pooler that is dropped since the named class has none; a file copied onto itself."""
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
    with pytest.raises(CheckpointError, match=r"holds bert.encoder.x, which is in no ALBERT"):
        convert(tmp_path, tmp_path / "new")
    save_state_dict({"classifier.bias": torch.ones(1)}, tmp_path, config=config)
    with pytest.raises(CheckpointError, match="no embeddings and no encoder"):
        convert(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()
