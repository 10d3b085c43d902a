"""transformers' Auto classes and pipelines, after `register_with_transformers()`."""

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")

from helpers.clients import SENTENCES, shape, unregister  # noqa: E402
from helpers.reference import batch, labels  # noqa: E402

import albert_torch  # noqa: E402
from albert_torch.heads import HEADS, AlbertHeadModel  # noqa: E402
from albert_torch.integrations.peft import register_with_peft  # noqa: E402
from albert_torch.integrations.transformers import (  # noqa: E402
    auto_classes,
    register_with_transformers,
)
from albert_torch.outputs import SequenceClassifierOutput  # noqa: E402

PAIRS = [
    (auto_class, model_class.__name__)
    for auto_class, model_class in auto_classes().items()
    if model_class.__module__.startswith("albert_torch.")
]


def randomise(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)


@pytest.mark.parametrize(("auto_class", "name"), PAIRS)
def test_an_auto_class_gives_our_model_with_their_numbers(
    auto_class: str, name: str, tmp_path: Path, registered: None
) -> None:
    """Catches: a class left out, weights lost on the way, another forward pass than ours."""
    theirs = getattr(transformers, name)(transformers.AlbertConfig(**shape(61))).double()
    randomise(theirs)
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
    """Catches: uninitialised head weights, tied weights cut loose, loaded weights overwritten."""
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
    """Catches: options of `from_pretrained` that stop at transformers; two configs in one model."""
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
    """Catches: a decoder whose bias keeps the old size, or is another parameter than the head's."""
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
    """Catches: a pipeline that refuses our class, or reads our outputs wrong."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    theirs = getattr(transformers, auto_class).from_pretrained(checkpoint)
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    want = transformers.pipeline(task, model=str(tmp_path))(text)
    register_with_transformers()
    try:
        pipe = transformers.pipeline(task, model=str(tmp_path))
    finally:
        unregister()
    assert isinstance(pipe.model, albert_torch.AlbertPreTrainedModel)
    got = pipe(text)
    assert plain(got) == pytest.approx(plain(want), abs=1e-5)


class AlbertForNextSentences(AlbertHeadModel):
    """A head from outside the package that has an Auto class."""

    output_class = SequenceClassifierOutput
    head_modules = ("next_sentence",)
    reads_pooler_only = True
    auto_class = "AutoModelForNextSentencePrediction"

    def __init__(self, config: albert_torch.AlbertConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.next_sentence = torch.nn.Linear(config.hidden_size, 2)
        self.post_init()

    def compute_logits(self, hidden: torch.Tensor, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.next_sentence(pooled)}


# Its definition entered the class into the table; the fixture does that for its tests only.
del HEADS["NextSentences"]


@pytest.fixture
def next_sentences() -> Iterator[None]:
    """The table of heads with the class above, registered with transformers."""
    HEADS["NextSentences"] = AlbertForNextSentences
    register_with_transformers()
    yield
    unregister()
    del HEADS["NextSentences"]


def test_a_head_from_outside_the_package_is_registered(
    checkpoint: Path, tmp_path: Path, next_sentences: None
) -> None:
    """Catches: a list of heads in place of the table; weights of the head lost on the way."""
    auto_class = transformers.AutoModelForNextSentencePrediction
    model = auto_class.from_pretrained(checkpoint)
    assert isinstance(model, AlbertForNextSentences)
    model.save_pretrained(tmp_path)
    again = auto_class.from_pretrained(tmp_path).eval()
    plain = AlbertForNextSentences.from_pretrained(tmp_path)
    ids = torch.tensor([[2, 5, 3]])
    torch.testing.assert_close(plain(ids).logits, again(ids).logits)


def test_an_auto_class_that_does_not_exist(
    next_sentences: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: an AttributeError from deep inside that names no class."""
    message = r"AlbertForNextSentences.auto_class is 'AutoModelForNothing'"
    monkeypatch.setattr(AlbertForNextSentences, "auto_class", "AutoModelForNothing")
    with pytest.raises(ValueError, match=message):
        register_with_transformers()
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("package", "register"),
    [("transformers", register_with_transformers), ("peft", register_with_peft)],
)
def test_a_missing_package_is_named(
    package: str, register: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a bare ImportError that does not say what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{package} is not installed: pip install"):
        register()


def plain(result: Any) -> list[Any]:
    """Nested lists and dicts as one flat list of their numbers, and of how long each text is."""
    if isinstance(result, dict):
        return [number for key in sorted(result) for number in plain(result[key])]
    if isinstance(result, list):
        return [number for value in result for number in plain(value)]
    return [float(len(result)) if isinstance(result, str) else float(result)]
