"""Every head against transformers, and a head that is defined outside the package."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.constants import GROUP_IDS, GROUPS, SHARED, TINY
from helpers.reference import CLASS_NAMES, batch, inputs_for, pair, worst
from torch import Tensor, nn
from torch.nn import functional as F

import albert_torch
from albert_torch import (
    AlbertConfig,
    AlbertForAnswerableQuestions,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertHeadModel,
    AlbertModel,
)
from albert_torch.checkpoints.convert import convert
from albert_torch.config import PRESETS
from albert_torch.heads import HEADS
from albert_torch.outputs import AnswerableQuestionsModelOutput, SequenceClassifierOutput

LOGITS = (
    "logits",
    "prediction_logits",
    "sop_logits",
    "start_logits",
    "end_logits",
    "pooler_output",
)


# ---- every head against transformers ----


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_state_dict_is_that_of_transformers(name: str, preset: str) -> None:
    """Catches: a renamed module, another order, a head of another size, a buffer that is saved."""
    config = AlbertConfig.preset(preset)
    their_class = getattr(transformers, name)  # an import, which fails on the meta device
    with torch.device("meta"):
        theirs = their_class(transformers.AlbertConfig(**config.to_dict()))
        ours = getattr(albert_torch, name)(config)
    expected = [(key, value.shape) for key, value in theirs.state_dict().items()]
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == expected
    parameters = [key for key, _ in theirs.named_parameters()]
    assert [key for key, _ in ours.named_parameters()] == parameters
    assert not list(ours.buffers())


@pytest.mark.parametrize("config", GROUPS, ids=GROUP_IDS)
@pytest.mark.parametrize("attention", ["eager", "sdpa", "unpad", "varlen"])
@pytest.mark.parametrize("lengths", [(9, 5, 1), (7, 7, 7)], ids=["ragged", "full"])
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_logits_loss_and_every_gradient_equal_transformers(
    name: str, lengths: tuple[int, ...], attention: str, config: dict[str, Any]
) -> None:
    """Catches: a copy in place of a tie, a loss over ignored labels, a pooler on a wrong token."""
    unpad = attention in ("unpad", "varlen")
    backend = "sdpa" if unpad else attention
    theirs, ours = pair(name, config, attention=backend, unpad=unpad)
    if attention == "varlen":
        ours.set_attn_implementation("varlen")
    inputs = inputs_for(name, config, lengths=lengths)
    want, got = theirs(**inputs), ours(**inputs)
    real = inputs["attention_mask"]
    for field in LOGITS:
        if field in want:
            by_token = unpad and want[field].shape[:2] == real.shape and "sop" not in field
            assert worst(got[field], want[field], real if by_token else None) < 1e-10, field
    if name == "AlbertForQuestionAnswering" and unpad:
        return  # the softmax includes the padding, for which transformers has other logits
    for output in (want, got):
        if name == "AlbertModel":
            loss = (output.last_hidden_state * real[..., None]).square().sum()
        else:
            loss = output.loss
        loss.backward()
    if name != "AlbertModel":
        assert worst(got.loss, want.loss) < 1e-10
    parameters = zip(ours.named_parameters(), theirs.named_parameters(), strict=True)
    for (key, mine), (_, other) in parameters:
        assert (mine.grad is None) == (other.grad is None), key
        if mine.grad is not None:
            bound = 1e-10 * max(1.0, float(other.grad.abs().max()))
            assert worst(mine.grad, other.grad) < bound, key


@pytest.mark.parametrize("name", CLASS_NAMES[1:])
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
def test_twenty_steps_of_adamw_give_the_same_losses(name: str, unpad: bool) -> None:
    """Catches: parameters that an optimizer sees twice or never, a tie that training breaks."""
    theirs, ours = pair(name, TINY, attention="sdpa", unpad=unpad)
    lengths = (9, 9, 9) if name == "AlbertForQuestionAnswering" else (9, 5, 1)
    batches = [inputs_for(name, TINY, lengths=lengths) for _ in range(4)]
    losses: list[list[float]] = []
    for model in (theirs, ours):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses.append([])
        for step in range(20):
            loss = model(**batches[step % 4]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert len(set(losses[0])) == 20
    assert losses[1] == pytest.approx(losses[0], abs=1e-8, rel=0)


@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels"),
    [
        (1, None, torch.tensor([0.5, -1.0, 2.0])),
        (3, None, torch.tensor([0, 2, 1])),
        (3, None, torch.tensor([[1.0, 0.0, 1.0]] * 3)),
        (3, "regression", torch.tensor([[0.3, 0.1, -1.0]] * 3)),
        (3, "single_label_classification", torch.tensor([2, 1, 0])),
        (4, "multi_label_classification", torch.tensor([[0.0, 1.0, 1.0, 0.0]] * 3)),
    ],
)
def test_kinds_of_classification(num_labels: int, problem_type: str | None, labels: Tensor) -> None:
    """Catches: a problem type that is guessed although it is given, or guessed wrongly."""
    config = {**SHARED, "num_labels": num_labels, "problem_type": problem_type}
    theirs, ours = pair("AlbertForSequenceClassification", config)
    inputs = {**batch(SHARED), "labels": labels.double() if labels.is_floating_point() else labels}
    want, got = theirs(**inputs), ours(**inputs)
    assert got.logits.shape == (3, num_labels)
    assert worst(got.loss, want.loss) < 1e-10


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_outputs_have_the_fields_and_positions_of_transformers(name: str) -> None:
    """Catches: a field renamed or out of order, None counted as a position."""
    theirs, ours = pair(name, SHARED)
    inputs = inputs_for(name, SHARED)
    for options in ({}, {"output_hidden_states": True, "output_attentions": True}):
        want, got = theirs(**inputs, **options), ours(**inputs, **options)
        assert list(got.keys()) == list(want.keys())
        as_tuple = ours(**inputs, **options, return_dict=False)
        assert isinstance(as_tuple, tuple)
        assert len(as_tuple) == len(got) == len(theirs(**inputs, **options, return_dict=False))
        first = got[next(iter(got))]
        assert worst(as_tuple[0], got[0]) == worst(got[0], first) == 0


@pytest.mark.transformers5
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_forward_takes_the_arguments_of_transformers(name: str) -> None:
    """Catches: an argument with another name or position (Trainer reads the signature)."""
    theirs = inspect.signature(getattr(transformers, name).forward).parameters
    want = [parameter for parameter in theirs if parameter != "kwargs"]
    got = list(inspect.signature(getattr(albert_torch, name).forward).parameters)
    assert got[: len(want)] == want
    assert got[len(want) :] == ["output_attentions", "output_hidden_states", "return_dict"]


# ---- dropout ----


def test_the_classifier_dropout_falls_back_to_the_hidden_one() -> None:
    """Catches: a dropout rate of None, or of 0."""
    config = AlbertConfig(**SHARED, classifier_dropout_prob=None, hidden_dropout_prob=0.25)
    assert albert_torch.AlbertForTokenClassification(config).dropout.p == 0.25
    config = AlbertConfig(**SHARED, classifier_dropout_prob=0.5, hidden_dropout_prob=0.25)
    for name in (
        "AlbertForSequenceClassification",
        "AlbertForTokenClassification",
        "AlbertForMultipleChoice",
    ):
        assert getattr(albert_torch, name)(config).dropout.p == 0.5
    assert albert_torch.AlbertForPreTraining(config).sop_classifier.dropout.p == 0.5


def test_the_classifier_dropout_fires() -> None:
    """Catches: a head without its dropout in training, or with it in evaluation."""
    config = AlbertConfig(**SHARED, classifier_dropout_prob=0.5)
    for name in (
        "AlbertForSequenceClassification",
        "AlbertForTokenClassification",
        "AlbertForMultipleChoice",
    ):
        model = getattr(albert_torch, name)(config).train()
        inputs = inputs_for(name, SHARED)
        assert worst(model(**inputs).logits, model(**inputs).logits) > 0, name
        model.eval()
        assert worst(model(**inputs).logits, model(**inputs).logits) == 0, name


# ---- question answering ----


def test_question_answering_has_two_labels() -> None:
    """Catches: a head of another size, whose logits nobody reads."""
    message = "num_labels=3, but question answering has two labels, start and end: set num_labels=2"
    with pytest.raises(ValueError, match=message):
        AlbertForQuestionAnswering(AlbertConfig(**SHARED, num_labels=3))


def random_answerable(unpad: bool = False) -> tuple[AlbertForAnswerableQuestions, Any]:
    """Return a model for answerable questions and one for question answering with its weights."""
    _, plain = pair("AlbertForQuestionAnswering", SHARED, unpad=unpad)
    model = AlbertForAnswerableQuestions(AlbertConfig(**SHARED), unpad=unpad).double().eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    nn.init.normal_(model.impossible.weight)
    nn.init.normal_(model.impossible.bias)
    return model, plain


@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
def test_answerable_questions_add_an_output_to_question_answering(unpad: bool) -> None:
    """Catches: another span loss, "no answer" from a wrong token, a weight other than a half."""
    model, plain = random_answerable(unpad)
    inputs = inputs_for("AlbertForQuestionAnswering", SHARED)
    want = plain(**inputs, output_hidden_states=True)
    impossible = torch.tensor([1.0, 0.0, 1.0])
    got = model(**inputs, is_impossible=impossible, output_hidden_states=True)
    assert isinstance(got, AnswerableQuestionsModelOutput)
    assert worst(got.start_logits, want.start_logits) < 1e-10
    assert worst(got.end_logits, want.end_logits) < 1e-10
    first_tokens = want.hidden_states[-1][:, 0]
    logits = first_tokens @ model.impossible.weight[0] + model.impossible.bias
    assert worst(got.impossible_logits, logits) < 1e-10
    loss = want.loss + 0.5 * F.binary_cross_entropy_with_logits(logits, impossible.double())
    assert worst(got.loss, loss) < 1e-10
    assert len(got.hidden_states) == len(want.hidden_states)


def test_answerable_questions_take_the_arguments_of_every_head() -> None:
    """Catches: arguments that are accepted and ignored; a loss from only some of the labels."""
    model, _ = random_answerable()
    inputs = inputs_for("AlbertForQuestionAnswering", SHARED)
    output = model(**inputs, output_attentions=True)
    assert len(output.attentions) == SHARED["num_hidden_layers"]
    assert output.loss is None
    ids = inputs.pop("input_ids")
    embeddings = model.get_input_embeddings()(ids)
    as_tuple = model(**inputs, inputs_embeds=embeddings, return_dict=False)
    assert len(as_tuple) == 3
    assert all(worst(x, y) < 1e-10 for x, y in zip(as_tuple, output.to_tuple()[:3], strict=True))
    backwards = torch.arange(9).flip(0)[None]
    other = model(ids, inputs["attention_mask"], position_ids=backwards)
    assert worst(other.start_logits, output.start_logits) > 1e-3


# ---- multiple choice ----


def test_multiple_choice_wants_a_dimension_of_choices() -> None:
    """Catches: two rows taken for two choices."""
    model = albert_torch.AlbertForMultipleChoice(AlbertConfig(**SHARED))
    message = r"input_ids has shape \(2, 4\), but a head with choices .* \(B, choices, T\)"
    with pytest.raises(ValueError, match=message):
        model(torch.ones(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()


def test_multiple_choice_takes_embeddings() -> None:
    """Catches: choices that are flattened into the features of the embeddings."""
    theirs, ours = pair("AlbertForMultipleChoice", SHARED)
    inputs = inputs_for("AlbertForMultipleChoice", SHARED)
    embedded = ours.get_input_embeddings()(inputs.pop("input_ids"))
    got, want = (model(inputs_embeds=embedded, **inputs) for model in (ours, theirs))
    assert worst(got.loss, want.loss) < 1e-10


# ---- the contract ----


OUR_HEADS = [name for name, head in HEADS.items() if head.__module__.startswith("albert_torch.")]


@pytest.mark.parametrize("name", OUR_HEADS)
def test_every_head_states_the_truth_about_itself(name: str) -> None:
    """Catches: attributes from which loading, the fast path and the parity check derive errors."""
    model_class = HEADS[name]
    if not issubclass(model_class, AlbertHeadModel):
        assert model_class is AlbertModel
        return
    model = model_class(AlbertConfig(**SHARED))
    own_modules = {key.split(".")[0] for key in model.state_dict()} - {"albert"}
    assert own_modules == set(model_class.head_modules)
    assert model_class.uses_pooler == (model.albert.pooler is not None)
    label_arguments = set(model_class.label_names)
    assert label_arguments <= set(inspect.signature(model_class.forward).parameters)
    hidden, pooled = torch.randn(2, 5, 24), torch.randn(2, 24)
    logits = model.eval().compute_logits(hidden, pooled)
    for field, value in logits.items():
        assert field in inspect.signature(model_class.output_class).parameters
        assert value.shape[:2] == (2, 5) if model.has_token_axis(field) else len(value) == 2
    changed = model.compute_logits(hidden + 1, pooled)
    unaffected = all(torch.equal(logits[field], changed[field]) for field in logits)
    assert unaffected == model_class.reads_pooler_only
    inputs = inputs_for(f"AlbertFor{name}", SHARED)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    examples = model.example_labels(ids, mask, torch.Generator().manual_seed(0))
    assert examples.keys() == label_arguments
    assert model(ids, mask, **examples).loss.isfinite()


def test_subclasses_of_a_head_do_not_enter_the_table() -> None:
    """Catches: a client's subclass that takes the place of ours in every list of heads."""

    class AlbertForSequenceClassificationWithLogging(AlbertForSequenceClassification):
        pass

    class CustomAlbert(AlbertModel):
        pass

    assert not {AlbertForSequenceClassificationWithLogging, CustomAlbert} & set(HEADS.values())


def test_a_class_from_outside_cannot_replace_one_of_ours() -> None:
    """Catches: a plugin that changes what every command loads."""
    with pytest.raises(ValueError, match="would replace the head 'MaskedLM' of albert_torch"):
        type("AlbertForMaskedLM", (AlbertHeadModel,), {"head_modules": ("predictions",)})
    assert HEADS["MaskedLM"] is albert_torch.AlbertForMaskedLM


# ---- a head that is defined outside the package ----


class AlbertForTextScoring(AlbertHeadModel):
    """A head with one number for each text."""

    output_class = SequenceClassifierOutput
    head_modules = ("toy_scorer",)
    uses_pooler = True
    reads_pooler_only = True

    def __init__(
        self, config: AlbertConfig, *, attn_implementation: str = "sdpa", unpad: bool = False
    ) -> None:
        super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
        self.toy_scorer = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def compute_logits(self, hidden: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        return {"logits": self.toy_scorer(pooled).squeeze(-1)}

    def compute_loss(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Tensor:
        return F.mse_loss(logits["logits"], labels["labels"])


# Its definition entered the class into the table; the fixture does that for its tests only.
ENTERED = HEADS.pop("TextScoring")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> AlbertForTextScoring:
    """A toy head with random weights, in evaluation mode."""
    monkeypatch.setitem(HEADS, "TextScoring", AlbertForTextScoring)
    model = AlbertForTextScoring(AlbertConfig(**SHARED, initializer_range=0.3))
    return model.eval()


def test_a_toy_head_trains(toy: AlbertForTextScoring) -> None:
    """Catches: a forward pass that only the heads of the package have."""
    assert ENTERED is AlbertForTextScoring
    inputs = batch(SHARED)
    output = toy(**inputs, labels=torch.zeros(3), output_hidden_states=True)
    assert worst(output.loss, output.logits.square().mean()) < 1e-6
    assert len(output.hidden_states) == SHARED["num_hidden_layers"] + 1
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in toy.parameters())
    toy.albert.unpad = True
    assert worst(toy(**inputs).logits, output.logits) < 1e-5


def test_a_toy_head_is_saved_loaded_and_converted(
    toy: AlbertForTextScoring, tmp_path: Path
) -> None:
    """Catches: loading or converting with a list of heads that a new class is not in."""
    toy.save_pretrained(tmp_path / "saved")
    convert(tmp_path / "saved", tmp_path / "converted", torch.float64)
    for folder in ("saved", "converted"):
        model, info = AlbertForTextScoring.from_pretrained(
            tmp_path / folder, output_loading_info=True
        )
        assert not any(info.values()), folder
    inputs = batch(SHARED)
    want = toy(**inputs).logits
    model = AlbertForTextScoring.from_pretrained(tmp_path / "converted", dtype=torch.float32)
    assert worst(model(**inputs).logits, want) == 0
    encoder, info = AlbertModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert info["unexpected_keys"] == {"toy_scorer.weight", "toy_scorer.bias"}
    pooled = encoder(**inputs).pooler_output
    assert worst(toy.toy_scorer(pooled).squeeze(-1), want) < 1e-6
