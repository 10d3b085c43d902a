"""Low-rank deltas on the shared layer, and the layer unshared."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.constants import SHARED, TINY
from helpers.reference import batch, inputs_for
from helpers.small_runs import finetune_in_two_parts, recipe
from safetensors.torch import load_file

from albert_torch import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertTokenizer,
    CheckpointError,
)
from albert_torch.finetuning import (
    add_lora,
    expand_groups,
    finetune,
    is_adapter_directory,
    load_adapter,
    load_merged,
    merge_adapter,
    merge_lora,
    save_adapter,
)
from albert_torch.finetuning.lora_layers import LoRALinear


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
    with pytest.raises(ValueError, match="already has low-rank deltas"):
        load_adapter(base, tmp_path)
    with pytest.raises(ValueError, match="does not fit this AlbertForSequenceClassification"):
        load_adapter(model({**SHARED, "hidden_size": 32}), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no adapter in"):
        load_adapter(model(SHARED), tmp_path / "other")
    with pytest.raises(ValueError, match="has no low-rank deltas: add them with add_lora"):
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
    with pytest.raises(
        ValueError,
        match=r"num_groups=4 is not possible: 6 layers in 3 groups can be stored in \[3, 6\] groups",
    ):
        expand_groups(made, 4)


def test_the_trainer_trains_deltas_and_resumes_them(tmp_path: Path) -> None:
    """Kills: a frozen weight that moves, an adapter that does not load, deltas lost in last.pt."""
    pytest.importorskip("accelerate")

    finetune(recipe(tmp_path, steps=2), tmp_path / "start")
    how = recipe(
        tmp_path, model=str(tmp_path / "start"), model_config={}, lora_rank=2, lora_per_depth=True
    )
    finetune(how, tmp_path / "whole")
    finetune_in_two_parts(how, tmp_path / "cut")
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


@pytest.fixture
def adapters(tmp_path: Path) -> dict[bool, Path]:
    """Two fine-tuned adapters of one base model: with shared deltas (False), with per-depth ones (True)."""
    pytest.importorskip("accelerate")
    finetune(recipe(tmp_path, steps=2), tmp_path / "start")
    start = {"model": str(tmp_path / "start"), "model_config": {}, "learning_rate": 0.05}
    directories = {False: tmp_path / "shared", True: tmp_path / "per-depth"}
    for per_depth, directory in directories.items():
        how = recipe(
            tmp_path, steps=4, eval_steps=4, lora_rank=2, lora_per_depth=per_depth, **start
        )
        finetune(how, directory)
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
    """Kills: the base model's head in place of the trained one, deltas that are left out, labels of the base model."""
    directory = adapters[per_depth]
    inputs = {"input_ids": torch.randint(5, 40, (3, 9))}
    want = adapted(directory).eval()(**inputs).logits
    merged = load_merged(directory)
    assert type(merged) is AlbertForSequenceClassification
    assert not merged.training
    assert not any(isinstance(module, LoRALinear) for module in merged.modules())
    torch.testing.assert_close(merged(**inputs).logits, want, rtol=0, atol=1e-6)
    start = AlbertForSequenceClassification.from_pretrained(tmp_path / "start")
    assert not torch.allclose(start(**inputs).logits, want, rtol=0, atol=1e-3)
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
    base = model(SHARED, AlbertForMaskedLM)
    base.save_pretrained(tmp_path / "base")
    tagger = AlbertForTokenClassification.from_pretrained(
        tmp_path / "base",
        id2label={0: "O", 1: "B-X", 2: "I-X"},
        label2id={"O": 0, "B-X": 1, "I-X": 2},
    )
    stir(tagger, per_depth=False)
    save_adapter(tagger, tmp_path / "tagger")
    merged = load_merged(tmp_path / "tagger")
    assert type(merged) is AlbertForTokenClassification
    assert merged.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}
    torch.testing.assert_close(logits(merged, SHARED), logits(tagger, SHARED), rtol=0, atol=1e-10)
    masked_lm = AlbertForMaskedLM.from_pretrained(tmp_path / "base")
    stir(masked_lm, per_depth=True)
    save_adapter(masked_lm, tmp_path / "masked-lm")
    merged = load_merged(tmp_path / "masked-lm")
    torch.testing.assert_close(
        logits(merged, SHARED), logits(masked_lm, SHARED), rtol=0, atol=1e-10
    )


def test_per_depth_deltas_are_not_merged_into_a_shared_layer(
    adapters: dict[bool, Path], tmp_path: Path
) -> None:
    """Kills: a checkpoint that silently holds the deltas of one depth, or three times the layers."""
    with pytest.raises(ValueError, match=r"for each of the 3 layers.*num_hidden_groups = "):
        merge_adapter(adapters[True], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="holds an adapter: write the merged model to another"):
        merge_adapter(adapters[False], adapters[True])


def test_a_base_model_that_was_moved(
    adapters: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a base model looked up from the current directory, an error that does not name it, random weights."""
    inputs = {"input_ids": torch.randint(5, 40, (3, 9))}
    want = load_merged(adapters[False])(**inputs).logits
    (tmp_path / "start").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match=r"base model .*start.* not available.*base_model"):
        load_merged(adapters[False])
    found = load_merged(adapters[False], base_model=tmp_path / "moved")(**inputs).logits
    assert torch.equal(found, want)
    model({**SHARED, "hidden_size": 32}).save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"base model .*other does not fit the adapter in"):
        load_merged(adapters[False], base_model=tmp_path / "other")
    made = stirred(SHARED, per_depth=False)
    save_adapter(made, tmp_path / "random")
    with pytest.raises(FileNotFoundError, match="names no base model"):
        load_merged(tmp_path / "random")
    assert is_adapter_directory(tmp_path / "random")
    assert not is_adapter_directory(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    made = AlbertForSequenceClassification.from_pretrained("moved")
    stir(made, per_depth=False)
    save_adapter(made, "relative")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_merged(tmp_path / "relative")
