"""The keys and defaults of the Hub, what is kept, what is refused, the published shapes."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import transformers
from helpers.constants import ROOT, SHARED

from albert_torch import AlbertConfig
from albert_torch.config import PRESETS

# The config of albert/albert-base-v2, with keys that are not used any more.
HUB = {
    "architectures": ["AlbertForMaskedLM"],
    "attention_probs_dropout_prob": 0,
    "bos_token_id": 2,
    "classifier_dropout_prob": 0.1,
    "down_scale_factor": 1,
    "embedding_size": 128,
    "eos_token_id": 3,
    "gap_size": 0,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "inner_group_num": 1,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "albert",
    "net_structure_type": 0,
    "num_attention_heads": 12,
    "num_hidden_groups": 1,
    "num_hidden_layers": 12,
    "num_memory_blocks": 0,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30000,
}


def test_defaults_are_those_of_transformers() -> None:
    """Catches: a default of base instead of xxlarge."""
    theirs = transformers.AlbertConfig()
    ours = AlbertConfig().to_dict()
    shared = [name for name in ours if hasattr(theirs, name)]
    assert len(shared) >= 25
    assert {name: ours[name] for name in shared} == {name: getattr(theirs, name) for name in shared}


def test_a_hub_config_comes_back_as_it_was(tmp_path: Path) -> None:
    """Catches: lost unknown keys, a value that reading changes, a warning about old keys."""
    (tmp_path / "config.json").write_text(json.dumps(HUB))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = AlbertConfig.from_pretrained(tmp_path)
    assert config.gap_size == 0
    config.save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert {name: written.get(name) for name in HUB} == HUB
    assert AlbertConfig.from_pretrained(tmp_path / "again") == config
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["config.json"]
    theirs = transformers.AlbertConfig.from_pretrained(tmp_path / "again")
    assert theirs.hidden_size == 768


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_the_files_and_the_published_sizes(preset: str) -> None:
    """Catches: a wrong size in the table, files that differ from it."""
    config = AlbertConfig.preset(f"albert/{preset}")
    path = ROOT / "configs" / "model" / f"{preset}.json"
    assert path.read_text() == config.to_json_string()
    backbone = {
        "base": 11_683_584,
        "large": 17_683_968,
        "xlarge": 58_724_864,
        "xxlarge": 222_595_584,
    }
    import torch

    from albert_torch import AlbertModel

    with torch.device("meta"):
        assert AlbertModel(config).num_parameters() == backbone[preset.split("-")[1]]
    first = preset.endswith("v1")
    assert config.hidden_act == ("gelu" if first else "gelu_new")
    assert config.hidden_dropout_prob == (0.1 if first and "xxlarge" not in preset else 0)


def test_presets_can_be_changed_and_misnamed() -> None:
    """Catches: an override that is ignored, a KeyError for a misspelt name."""
    assert AlbertConfig.preset("albert-base-v2", num_labels=3).num_labels == 3
    with pytest.raises(
        ValueError, match="there is no preset 'albert-huge-v2'; use one of albert-base-v1"
    ):
        AlbertConfig.preset("albert-huge-v2")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 0}, "hidden_size=0 must be a whole number above 0"),
        ({"vocab_size": -3}, "vocab_size=-3 must be a whole number above 0"),
        ({"vocab_size": "30000"}, "vocab_size='30000' must be a whole number above 0"),
        ({"num_hidden_layers": 12.0}, r"num_hidden_layers=12\.0 must be a whole number above 0"),
        ({"inner_group_num": True}, "inner_group_num=True must be a whole number above 0"),
        ({"hidden_dropout_prob": 1.5}, r"hidden_dropout_prob=1\.5 must be a number from 0 to 1"),
        (
            {"classifier_dropout_prob": "x"},
            "classifier_dropout_prob='x' must be a number from 0 to 1, or None",
        ),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps=nan must be a finite number, 0 or more"),
        ({"initializer_range": 10**400}, "initializer_range=1000.* must be a finite number"),
        ({"hidden_act": 3}, "hidden_act=3 must be the name of an activation"),
        (
            {"problem_type": "ranking"},
            "problem_type='ranking' must be None or one of regression, single",
        ),
        (
            {"architectures": "AlbertModel"},
            "architectures='AlbertModel' must be a list of class names",
        ),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings=1 must be true or false"),
        ({"chunk_size_feed_forward": -1}, "chunk_size_feed_forward=-1 must be a number of tokens"),
        (
            {"eos_token_id": [1, "2"]},
            r"eos_token_id=\[1, '2'\] must be a token id, a list of them, or None",
        ),
        (
            {"num_attention_heads": 5},
            "hidden_size=24 is not a multiple of num_attention_heads=5: change one",
        ),
        (
            {"num_hidden_groups": 4},
            "num_hidden_groups=4 does not divide num_hidden_layers=6: each group must",
        ),
        (
            {"pad_token_id": 61},
            r"pad_token_id=61 is outside the vocabulary \(vocab_size=61\): give an id from 0 to 60",
        ),
        ({"num_labels": 0}, "num_labels=0 must be a whole number from 1 to 1,000,000"),
        ({"num_labels": 10**9}, "num_labels=1000000000 must be a whole number from 1 to 1,000,000"),
        (
            {"id2label": {"a": "b"}},
            "id2label={'a': 'b'} must map the numbers of labels to their names",
        ),
        ({"id2label": {0: "a", 2: "b"}}, r"id2label has the numbers \[0, 2\], must be 0 to 1"),
        (
            {"id2label": {0: "a", 1: "b"}, "num_labels": 3},
            "num_labels=3, but id2label names 2 labels: give one",
        ),
        ({"model_type": "bert"}, "model_type is 'bert', must be 'albert'"),
        ({"to_dict": 1}, "config key 'to_dict' is the name of a method"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], message: str) -> None:
    """Catches: a config that is accepted and fails much later, deep inside torch."""
    with pytest.raises(ValueError, match=message):
        AlbertConfig(**{**SHARED, **values})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ('{"hidden_size": 768', "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[1, 2]", "holds a JSON list instead of an object"),
        ('{"model_type": "gpt2"}', r"config\.json: model_type is 'gpt2'"),
    ],
)
def test_files_that_are_not_a_config(tmp_path: Path, text: str, message: str) -> None:
    """Catches: an error of the JSON parser that does not name the file."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        AlbertConfig.from_pretrained(tmp_path)


def test_no_file() -> None:
    """Catches: defaults in place of a config that is missing."""
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        AlbertConfig.from_pretrained(ROOT / "tests")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("dropout", "hidden_dropout_prob"),
        ("hidden_sizes", "hidden_size"),
        ("num_layers", "num_hidden"),
    ],
)
def test_a_misspelt_key_is_kept_and_warned_of_once(key: str, hint: str) -> None:
    """Catches: silence about a key that does nothing (`dropout=0.1` is common)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            config = AlbertConfig(**SHARED, **{key: 0.1})
    assert [key in str(w.message) and hint in str(w.message) for w in caught] == [True]
    assert config.to_dict()[key] == 0.1


def test_labels_from_files_and_arguments() -> None:
    """Catches: labels of a file that survive `num_labels`, numbers that remain strings."""
    file = {
        **SHARED,
        "id2label": {"0": "no", "1": "yes", "2": "?"},
        "label2id": {"no": 0, "yes": 1, "?": 2},
    }
    assert AlbertConfig(**SHARED).num_labels == 2
    assert AlbertConfig.from_dict(file).id2label == {0: "no", 1: "yes", 2: "?"}
    assert AlbertConfig.from_dict(file, num_labels=5).label2id == {
        f"LABEL_{i}": i for i in range(5)
    }
    assert AlbertConfig.from_dict(file, id2label={0: "a", 1: "b"}).label2id == {"a": 0, "b": 1}
    config = AlbertConfig(**SHARED)
    config.num_labels = 4
    assert config.id2label == {i: f"LABEL_{i}" for i in range(4)}


def test_equal_configs_do_not_share_their_lists() -> None:
    """Catches: two configs that change together."""
    names = ["AlbertModel"]
    first, second = (AlbertConfig(**SHARED, architectures=names) for _ in range(2))
    assert first == second
    assert first.architectures is not None
    first.architectures.append("AlbertForMaskedLM")
    assert first != second
    assert names == ["AlbertModel"]
