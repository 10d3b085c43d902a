"""LoRA layers in ALBERT's shared layer, and the shared layer stored several times."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.lora import add_random_lora, logits, random_model
from helpers.reference import batch, inputs_for

from albert_torch import AlbertForMaskedLM, AlbertForSequenceClassification
from albert_torch.finetuning import add_lora, expand_groups, merge_lora


@pytest.mark.parametrize("per_depth", [False, True])
@pytest.mark.parametrize("config", [TINY, SHARED], ids=["groups", "shared"])
def test_new_deltas_change_nothing_and_are_what_is_trained(
    config: dict[str, Any], per_depth: bool
) -> None:
    """Kills: deltas that are not zero at the start, a trained layer of the encoder, one delta
    for all depths.
    """
    model = random_model(config)
    before = logits(model, config)
    add_lora(model, rank=3, per_depth=per_depth)
    assert torch.equal(logits(model, config), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(
        "lora_" in name or name.startswith(("classifier", "albert.pooler")) for name in trained
    )
    num_groups = config["num_hidden_layers"] if per_depth else config["num_hidden_groups"]
    assert sum("lora_up" in name for name in trained) == 6 * config["inner_group_num"] * num_groups
    frozen = {id(p) for p in model.base_model.encoder.parameters() if not p.requires_grad}
    plain = random_model(config)
    assert len(frozen) == len(list(plain.base_model.encoder.parameters()))


def test_each_depth_has_its_own_delta() -> None:
    """Kills: a delta that all depths share, or that is used at another depth."""
    model = add_random_lora(random_model(SHARED), per_depth=True)
    inputs = {**batch(SHARED), "output_hidden_states": True}
    before = model(**inputs).hidden_states
    with torch.no_grad():
        model.base_model.encoder.albert_layer_groups[2].albert_layers[0].ffn.lora_up.add_(1.0)
    after = model(**inputs).hidden_states
    unchanged = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert unchanged == [True] * 3 + [False] * 4


@pytest.mark.parametrize("per_depth", [False, True])
def test_a_merged_model_has_the_same_outputs(tmp_path: Path, per_depth: bool) -> None:
    """Kills: a scale that is left out, a transposed delta, deltas of L depths merged into one
    layer.
    """
    model = add_random_lora(random_model(SHARED), per_depth)
    merged = merge_lora(model)
    torch.testing.assert_close(logits(merged, SHARED), logits(model, SHARED), rtol=0, atol=1e-10)
    assert merged.config.num_hidden_groups == (SHARED["num_hidden_layers"] if per_depth else 1)
    merged.save_pretrained(tmp_path)
    again = AlbertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(again, SHARED), logits(merged, SHARED))


def test_expanded_groups_are_copies() -> None:
    """Kills: groups that still share weights, a wrong order of groups, a config that is not
    changed.
    """
    model = random_model(TINY, AlbertForMaskedLM)
    expanded = expand_groups(model)
    assert expanded.config.num_hidden_groups == 6
    assert model.config.num_hidden_groups == 3
    inputs = inputs_for("AlbertForMaskedLM", TINY)
    torch.testing.assert_close(
        expanded(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-12
    )
    groups = expanded.base_model.encoder.albert_layer_groups
    assert len({id(p) for p in groups.parameters()}) == 6 * len(list(groups[0].parameters()))
    assert expanded.predictions.decoder.weight is expanded.albert.embeddings.word_embeddings.weight
    expanded(**inputs).loss.backward()
    first, second = (groups[i].albert_layers[0].ffn.weight.grad for i in (0, 1))
    model(**inputs).loss.backward()
    torch.testing.assert_close(
        first + second,
        model.base_model.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight.grad,
    )
    message = r"num_groups=4 is not possible: 6 layers in 3 groups can be stored in \[3, 6\]"
    with pytest.raises(ValueError, match=message):
        expand_groups(model, 4)
