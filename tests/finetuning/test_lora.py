"""Low-rank deltas on the shared layer, and the layer unshared."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.reference import batch, inputs_for
from helpers.small_runs import interrupt_and_resume, recipe
from safetensors.torch import load_file

from albert_torch import AlbertConfig, AlbertForMaskedLM, AlbertForSequenceClassification
from albert_torch.finetuning import (
    add_lora,
    expand_groups,
    finetune,
    load_adapter,
    merge_lora,
    save_adapter,
)
from albert_torch.finetuning.lora import LoRALinear


def model(config: dict[str, Any], name: type = AlbertForSequenceClassification) -> Any:
    made = name(AlbertConfig(**config)).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3)
    return made


def stir(made: Any, per_depth: bool) -> None:
    """Add deltas that are not zero."""
    add_lora(made, rank=3, alpha=6.0, per_depth=per_depth)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, LoRALinear):
                module.lora_up.normal_(std=0.1)


def stirred(config: dict[str, Any], per_depth: bool) -> Any:
    made = model(config)
    stir(made, per_depth)
    return made


def logits(made: Any, config: dict[str, Any]) -> Any:
    torch.manual_seed(4)
    return made(**batch(config)).logits


@pytest.mark.parametrize("per_depth", [False, True])
@pytest.mark.parametrize("config", [TINY, SHARED], ids=["groups", "shared"])
def test_new_deltas_change_nothing_and_are_what_is_trained(
    config: dict[str, Any], per_depth: bool
) -> None:
    """Kills: deltas that start at something, a layer that is trained beside them, one delta for all depths."""
    made = model(config)
    before = logits(made, config)
    add_lora(made, rank=3, per_depth=per_depth)
    assert torch.equal(logits(made, config), before)
    trained = {name for name, p in made.named_parameters() if p.requires_grad}
    assert all(
        "lora_" in name or name.startswith(("classifier", "albert.pooler")) for name in trained
    )
    layers = config["num_hidden_layers"] if per_depth else config["num_hidden_groups"]
    assert sum("lora_up" in name for name in trained) == 6 * config["inner_group_num"] * layers
    frozen = {id(p) for p in made.base_model.encoder.parameters() if not p.requires_grad}
    plain = model(config)
    assert len(frozen) == len(list(plain.base_model.encoder.parameters()))


def test_each_depth_has_its_own_delta() -> None:
    """Kills: a delta that every run shares, or that another depth uses."""
    made = stirred(SHARED, per_depth=True)
    inputs = {**batch(SHARED), "output_hidden_states": True}
    before = made(**inputs).hidden_states
    with torch.no_grad():
        made.base_model.encoder.albert_layer_groups[2].albert_layers[0].ffn.lora_up.add_(1.0)
    after = made(**inputs).hidden_states
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [
        True,
        True,
        True,
        *[False] * 4,
    ]


@pytest.mark.parametrize("per_depth", [False, True])
def test_merged_deltas_give_the_same_numbers(tmp_path: Path, per_depth: bool) -> None:
    """Kills: a scale left out, a transposed delta, a merge into one layer of what belongs to L."""
    made = stirred(SHARED, per_depth)
    merged = merge_lora(made)
    torch.testing.assert_close(logits(merged, SHARED), logits(made, SHARED), rtol=0, atol=1e-10)
    assert merged.config.num_hidden_groups == (SHARED["num_hidden_layers"] if per_depth else 1)
    merged.save_pretrained(tmp_path)
    again = AlbertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(again, SHARED), logits(merged, SHARED))


@pytest.mark.parametrize("per_depth", [False, True])
def test_an_adapter_is_small_and_fits_its_base_alone(tmp_path: Path, per_depth: bool) -> None:
    """Kills: a file of all weights, deltas put on another depth, one loaded twice or on another shape."""
    base = model(SHARED)
    made = copy.deepcopy(base)
    stir(made, per_depth)
    save_adapter(made, tmp_path)
    load_adapter(base, tmp_path)
    assert torch.equal(logits(base.eval(), SHARED), logits(made, SHARED))
    names = load_file(tmp_path / "adapter" / "model.safetensors").keys()
    assert names == {name for name, p in made.named_parameters() if p.requires_grad}
    with pytest.raises(ValueError, match="has low-rank deltas already"):
        load_adapter(base, tmp_path)
    with pytest.raises(ValueError, match="does not fit AlbertForSequenceClassification"):
        load_adapter(model({**SHARED, "hidden_size": 32}), tmp_path)
    with pytest.raises(FileNotFoundError, match="no adapter in"):
        load_adapter(model(SHARED), tmp_path / "other")
    with pytest.raises(ValueError, match="has no low-rank deltas: add_lora makes them"):
        save_adapter(model(SHARED), tmp_path)


def test_expanded_groups_are_copies() -> None:
    """Kills: groups that still share weights, another order of groups, a config that does not say so."""
    made = model(TINY, AlbertForMaskedLM)
    six = expand_groups(made)
    assert six.config.num_hidden_groups == 6
    assert made.config.num_hidden_groups == 3
    inputs = inputs_for("AlbertForMaskedLM", TINY)
    torch.testing.assert_close(six(**inputs).logits, made(**inputs).logits, rtol=0, atol=1e-12)
    groups = six.base_model.encoder.albert_layer_groups
    assert len({id(p) for p in groups.parameters()}) == 6 * len(list(groups[0].parameters()))
    assert six.predictions.decoder.weight is six.albert.embeddings.word_embeddings.weight
    six(**inputs).loss.backward()
    one, two = (groups[i].albert_layers[0].ffn.weight.grad for i in (0, 1))
    made(**inputs).loss.backward()
    torch.testing.assert_close(
        one + two, made.base_model.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight.grad
    )
    with pytest.raises(ValueError, match=r"num_groups=4: 6 layers in 3 groups can have \[3, 6\]"):
        expand_groups(made, 4)


def test_the_trainer_trains_deltas_and_resumes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a frozen weight that moves, an adapter that does not load, deltas lost in last.pt."""
    pytest.importorskip("accelerate")

    finetune(recipe(tmp_path, steps=2), tmp_path / "start")
    how = recipe(
        tmp_path, model=str(tmp_path / "start"), model_config={}, lora_rank=2, lora_per_depth=True
    )
    finetune(how, tmp_path / "whole")
    interrupt_and_resume(how, tmp_path / "cut", monkeypatch)
    whole, cut = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["model"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    start = AlbertForSequenceClassification.from_pretrained(tmp_path / "start")
    name = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    assert torch.equal(whole[name], start.state_dict()[name])
    load_adapter(start, tmp_path / "whole")
    assert (
        start.base_model.encoder.albert_layer_groups[2].albert_layers[0].ffn.lora_up.abs().sum() > 0
    )
