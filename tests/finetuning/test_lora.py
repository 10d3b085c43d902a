"""Adapter directories: written by training, loaded as plain models, merged into checkpoints."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import SHARED
from helpers.lora import add_random_lora, logits, random_model
from helpers.small_runs import finetune_in_two_parts, small_config
from safetensors.torch import load_file

from albert_torch import (
    AlbertForMaskedLM,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertTokenizer,
    CheckpointError,
)
from albert_torch.finetuning import (
    finetune,
    is_adapter_directory,
    load_adapter,
    load_merged,
    merge_adapter,
    save_adapter,
)
from albert_torch.finetuning.lora_layers import LoRALinear


@pytest.mark.parametrize("per_depth", [False, True])
def test_an_adapter_holds_what_was_trained(tmp_path: Path, per_depth: bool) -> None:
    """Kills: a file of all weights, deltas loaded at another depth, an adapter that is loaded twice
    or into a model of another shape.
    """
    base = random_model(SHARED)
    model = copy.deepcopy(base)
    add_random_lora(model, per_depth)
    save_adapter(model, tmp_path)
    load_adapter(base, tmp_path)
    assert torch.equal(logits(base.eval(), SHARED), logits(model, SHARED))
    names = load_file(tmp_path / "adapter" / "model.safetensors").keys()
    assert names == {name for name, p in model.named_parameters() if p.requires_grad}
    with pytest.raises(ValueError, match="already has LoRA layers"):
        load_adapter(base, tmp_path)
    with pytest.raises(ValueError, match="does not fit this AlbertForSequenceClassification"):
        load_adapter(random_model({**SHARED, "hidden_size": 32}), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no adapter in"):
        load_adapter(random_model(SHARED), tmp_path / "other")
    with pytest.raises(ValueError, match="has no LoRA layers: add them with add_lora"):
        save_adapter(random_model(SHARED), tmp_path)


def test_a_run_trains_lora_layers_and_can_be_resumed(tmp_path: Path) -> None:
    """Kills: a frozen weight that moves, an adapter that does not load, deltas lost in last.pt."""
    pytest.importorskip("accelerate")
    finetune(small_config(tmp_path, steps=2), tmp_path / "start")
    config = small_config(
        tmp_path, model=str(tmp_path / "start"), model_config={}, lora_rank=2, lora_per_depth=True
    )
    finetune(config, tmp_path / "whole")
    finetune_in_two_parts(config, tmp_path / "cut")
    whole, cut = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["model"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    start = AlbertForSequenceClassification.from_pretrained(tmp_path / "start")
    name = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    assert torch.equal(whole[name], start.state_dict()[name])
    load_adapter(start, tmp_path / "whole")
    last_layer = start.base_model.encoder.albert_layer_groups[2].albert_layers[0]
    assert last_layer.ffn.lora_up.abs().sum() > 0


@pytest.fixture
def adapters(tmp_path: Path) -> dict[bool, Path]:
    """Two fine-tuned adapters of one base model, with shared deltas (False) and per-depth
    ones (True).
    """
    pytest.importorskip("accelerate")
    finetune(small_config(tmp_path, steps=2), tmp_path / "start")
    start = {"model": str(tmp_path / "start"), "model_config": {}, "learning_rate": 0.05}
    directories = {False: tmp_path / "shared", True: tmp_path / "per-depth"}
    for per_depth, directory in directories.items():
        config = small_config(
            tmp_path, steps=4, eval_steps=4, lora_rank=2, lora_per_depth=per_depth, **start
        )
        finetune(config, directory)
    return directories


def adapted(directory: Path) -> Any:
    """The base model with the adapter's layers still in it."""
    base = AlbertForSequenceClassification.from_pretrained(directory.parent / "start")
    load_adapter(base, directory)
    return base


@pytest.mark.parametrize("per_depth", [False, True])
def test_a_directory_with_an_adapter_can_be_loaded_and_merged(
    adapters: dict[bool, Path], per_depth: bool, tmp_path: Path
) -> None:
    """Kills: the head of the base model in place of the trained one, deltas that are left out, a
    checkpoint without a tokenizer.
    """
    directory = adapters[per_depth]
    inputs = {"input_ids": torch.randint(5, 40, (3, 9))}
    expected = adapted(directory).eval()(**inputs).logits
    merged = load_merged(directory)
    assert type(merged) is AlbertForSequenceClassification
    assert not merged.training
    assert not any(isinstance(module, LoRALinear) for module in merged.modules())
    torch.testing.assert_close(merged(**inputs).logits, expected, rtol=0, atol=1e-6)
    start = AlbertForSequenceClassification.from_pretrained(tmp_path / "start")
    assert not torch.allclose(start(**inputs).logits, expected, rtol=0, atol=1e-3)
    saved = merge_adapter(directory, tmp_path / "out", expand=per_depth)
    plain = AlbertForSequenceClassification.from_pretrained(tmp_path / "out")
    assert torch.equal(plain(**inputs).logits, saved(**inputs).logits)
    assert plain.config.num_hidden_groups == (3 if per_depth else 1)
    text = "w1 good w2"
    tokenizers = [AlbertTokenizer.from_pretrained(path) for path in (directory, tmp_path / "out")]
    assert tokenizers[0](text)["input_ids"] == tokenizers[1](text)["input_ids"]
    assert load_merged(directory, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_labels_and_class_come_from_the_adapter(tmp_path: Path) -> None:
    """Kills: a config read from the base model, a head class guessed from the base model."""
    base = random_model(SHARED, AlbertForMaskedLM)
    base.save_pretrained(tmp_path / "base")
    tagger = AlbertForTokenClassification.from_pretrained(
        tmp_path / "base",
        id2label={0: "O", 1: "B-X", 2: "I-X"},
        label2id={"O": 0, "B-X": 1, "I-X": 2},
    )
    add_random_lora(tagger, per_depth=False)
    save_adapter(tagger, tmp_path / "tagger")
    merged = load_merged(tmp_path / "tagger")
    assert type(merged) is AlbertForTokenClassification
    assert merged.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}
    torch.testing.assert_close(logits(merged, SHARED), logits(tagger, SHARED), rtol=0, atol=1e-10)
    masked_lm = AlbertForMaskedLM.from_pretrained(tmp_path / "base")
    add_random_lora(masked_lm, per_depth=True)
    save_adapter(masked_lm, tmp_path / "masked-lm")
    merged = load_merged(tmp_path / "masked-lm")
    torch.testing.assert_close(
        logits(merged, SHARED), logits(masked_lm, SHARED), rtol=0, atol=1e-10
    )


def test_per_depth_deltas_are_not_merged_into_a_shared_layer(
    adapters: dict[bool, Path], tmp_path: Path
) -> None:
    """Kills: a checkpoint that holds the deltas of one depth only, or is larger without being
    asked.
    """
    with pytest.raises(ValueError, match=r"for each of the 3 layers.*num_hidden_groups = "):
        merge_adapter(adapters[True], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="holds an adapter: write the merged model to another"):
        merge_adapter(adapters[False], adapters[True])


def test_a_base_model_that_was_moved(
    adapters: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a base model that is searched in the current directory, an error that does not name
    it, random weights in its place.
    """
    inputs = {"input_ids": torch.randint(5, 40, (3, 9))}
    expected = load_merged(adapters[False])(**inputs).logits
    (tmp_path / "start").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match=r"base model .*start.* not available.*base_model"):
        load_merged(adapters[False])
    actual = load_merged(adapters[False], base_model=tmp_path / "moved")(**inputs).logits
    assert torch.equal(actual, expected)
    random_model({**SHARED, "hidden_size": 32}).save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"base model .*other does not fit the adapter in"):
        load_merged(adapters[False], base_model=tmp_path / "other")
    model = add_random_lora(random_model(SHARED), per_depth=False)
    save_adapter(model, tmp_path / "random")
    with pytest.raises(FileNotFoundError, match="names no base model"):
        load_merged(tmp_path / "random")
    assert is_adapter_directory(tmp_path / "random")
    assert not is_adapter_directory(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    model = AlbertForSequenceClassification.from_pretrained("moved")
    add_random_lora(model, per_depth=False)
    save_adapter(model, "relative")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_merged(tmp_path / "relative")
