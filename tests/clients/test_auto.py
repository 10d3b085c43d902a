"""transformers' Auto classes and pipelines, after `register_with_transformers()`."""

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from helpers.clients import SENTENCES, shape, unregister  # noqa: E402
from helpers.reference import batch, labels  # noqa: E402

import albert_torch  # noqa: E402
from albert_torch.integrations import transformers as register  # noqa: E402

PAIRS = list(register.AUTO_CLASSES.items())


def draw(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)


@pytest.mark.parametrize(("auto_class", "name"), PAIRS)
def test_an_auto_class_gives_our_model_with_their_numbers(
    auto_class: str, name: str, tmp_path: Path, registered: None
) -> None:
    """Kills: a class left out, weights lost on the way, another forward pass than ours."""
    theirs = getattr(transformers, name)(transformers.AlbertConfig(**shape(61))).double()
    draw(theirs)
    theirs.eval().save_pretrained(tmp_path / "theirs")
    auto = getattr(transformers, auto_class)
    ours, info = auto.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert isinstance(ours, getattr(albert_torch, name))
    assert isinstance(ours, transformers.PreTrainedModel)
    assert not any(info.values()), info
    inputs: dict[str, Any] = batch(shape(61), pairs=False)
    if name == "AlbertForMultipleChoice":
        inputs = {key: value[:, None] for key, value in inputs.items()}
    inputs |= labels(name, inputs)
    for model in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        for key, value in theirs(**inputs).items():
            torch.testing.assert_close(model(**inputs)[key], value, rtol=0, atol=1e-10)
    ours.save_pretrained(tmp_path / "ours")
    back, info = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values()), info
    assert all(
        torch.equal(value, theirs.state_dict()[key]) for key, value in back.state_dict().items()
    )


def test_what_a_checkpoint_lacks_is_drawn(checkpoint: Path, registered: None) -> None:
    """Kills: head weights left as they were in memory, tied weights cut loose, loaded weights drawn over."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoint)
    head = model.predictions
    assert head.decoder.weight is model.albert.embeddings.word_embeddings.weight
    assert head.decoder.bias is head.bias
    assert not head.bias.any()
    assert not head.dense.bias.any()
    assert bool((head.LayerNorm.weight == 1).all())
    assert 0.015 < float(head.dense.weight.detach().std()) < 0.025
    backbone = transformers.AutoModel.from_pretrained(checkpoint)
    assert torch.equal(model.get_input_embeddings().weight, backbone.get_input_embeddings().weight)
    fresh = transformers.AutoModelForMaskedLM.from_config(model.config)
    assert (
        0.015
        < float(fresh.albert.encoder.embedding_hidden_mapping_in.weight.detach().std())
        < 0.025
    )


def test_arguments_reach_the_model(checkpoint: Path, registered: None) -> None:
    """Kills: options of `from_pretrained` that stop at transformers; two configs, of which clients write to one."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        checkpoint, num_labels=3, dtype=torch.bfloat16, attn_implementation="eager"
    )
    assert (model.classifier.out_features, model.num_labels) == (3, 3)
    assert (model.dtype, model.attn_implementation) == (torch.bfloat16, "eager")
    assert model.config is model.albert.config is model.albert.encoder.config
    assert (
        transformers.AutoModel.from_pretrained(checkpoint, add_pooling_layer=False).pooler is None
    )
    model.resize_token_embeddings(100)
    assert model.get_input_embeddings().num_embeddings == model.config.vocab_size == 100
    model.config.num_hidden_layers = 1
    assert len(model(torch.tensor([[2, 5, 3]]), output_hidden_states=True).hidden_states) == 2


def test_masked_words_keep_their_tie_when_the_vocabulary_grows(
    checkpoint: Path, registered: None
) -> None:
    """Kills: a decoder whose bias keeps the old size, or is another parameter than the head's."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(checkpoint)
    model.resize_token_embeddings(100)
    assert model.predictions.decoder.weight is model.get_input_embeddings().weight
    assert model.predictions.decoder.bias is model.predictions.bias
    assert model(torch.tensor([[2, 99, 3]])).logits.shape == (1, 3, 100)


@pytest.mark.parametrize(
    ("task", "auto_class", "text"),
    [
        ("text-classification", "AutoModelForSequenceClassification", SENTENCES[0][0]),
        ("token-classification", "AutoModelForTokenClassification", SENTENCES[0][0]),
        ("fill-mask", "AutoModelForMaskedLM", "a warm and [MASK] film"),
        ("feature-extraction", "AutoModel", SENTENCES[0][0]),
    ],
)
def test_a_pipeline_runs_on_our_model(
    task: str, auto_class: str, text: str, checkpoint: Path, tmp_path: Path
) -> None:
    """Kills: a pipeline that refuses our class, or reads our outputs wrong."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    theirs = getattr(transformers, auto_class).from_pretrained(checkpoint)
    draw(theirs)
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    want = transformers.pipeline(task, model=str(tmp_path))(text)
    register.register_with_transformers()
    try:
        pipe = transformers.pipeline(task, model=str(tmp_path))
    finally:
        unregister()
    assert isinstance(pipe.model, albert_torch.AlbertPreTrainedModel)
    got = pipe(text)
    assert plain(got) == pytest.approx(plain(want), abs=1e-5)


@pytest.mark.parametrize(
    ("package", "call"), [("transformers", "with_transformers"), ("peft", "with_peft")]
)
def test_a_missing_package_is_named(
    package: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a bare ImportError that does not say what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{package} is not installed: pip install"):
        getattr(register, f"register_{call}")()


def plain(result: Any) -> list[Any]:
    """Nested lists and dicts as one flat list of their numbers, and of how long each text is."""
    if isinstance(result, dict):
        return [number for key in sorted(result) for number in plain(result[key])]
    if isinstance(result, list):
        return [number for value in result for number in plain(value)]
    return [float(len(result)) if isinstance(result, str) else float(result)]
