"""The seven classes against transformers: keys, outputs, losses, gradients, training, and the two ways to return."""

import inspect
from typing import Any

import pytest
import torch
import transformers
from helpers.constants import SHARED, TINY
from helpers.reference import HEADS, batch, inputs_for, pair, worst

import albert_torch
from albert_torch import AlbertConfig
from albert_torch.config import PRESETS

GROUPS = [
    {**TINY, "num_hidden_groups": groups, "inner_group_num": inner}
    for groups in (1, 3)
    for inner in (1, 2)
]
LOGITS = (
    "logits",
    "prediction_logits",
    "sop_logits",
    "start_logits",
    "end_logits",
    "pooler_output",
)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", HEADS)
def test_state_dict_is_that_of_transformers(name: str, preset: str) -> None:
    """Kills: a renamed module, another order, a head of another width, a buffer that is saved."""
    config = AlbertConfig.preset(preset)
    with torch.device("meta"):
        theirs = getattr(transformers, name)(transformers.AlbertConfig(**config.to_dict()))
        ours = getattr(albert_torch, name)(config)
    want = [(key, value.shape) for key, value in theirs.state_dict().items()]
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == want
    assert [key for key, _ in ours.named_parameters()] == [
        key for key, _ in theirs.named_parameters()
    ]
    assert not list(ours.buffers())


@pytest.mark.parametrize(
    "config", GROUPS, ids=lambda c: f"G{c['num_hidden_groups']}-inner{c['inner_group_num']}"
)
@pytest.mark.parametrize("attention", ["eager", "sdpa", "unpad"])
@pytest.mark.parametrize("lengths", [(9, 5, 1), (7, 7, 7)], ids=["ragged", "full"])
@pytest.mark.parametrize("name", HEADS)
def test_logits_loss_and_every_gradient_equal_transformers(
    name: str, lengths: Any, attention: str, config: dict[str, Any]
) -> None:
    """Kills: a tie that is a copy, padding_idx left out, a loss over ignored labels, a pooler on the wrong token."""
    backend = "sdpa" if attention == "unpad" else attention
    theirs, ours = pair(name, config, attention=backend, unpad=attention == "unpad")
    inputs = inputs_for(name, config, lengths=lengths)
    want, got = theirs(**inputs), ours(**inputs)
    real = inputs["attention_mask"]
    for field in LOGITS:
        if field in want:
            by_token = (
                attention == "unpad" and want[field].shape[:2] == real.shape and "sop" not in field
            )
            assert worst(got[field], want[field], real if by_token else None) < 1e-10, field
    if name == "AlbertForQuestionAnswering" and attention == "unpad":
        return  # the softmax runs over the padding too, which transformers gives other logits
    for output in (want, got):
        loss = (
            output.loss
            if name != "AlbertModel"
            else (output.last_hidden_state * real[..., None]).square().sum()
        )
        loss.backward()
    if name != "AlbertModel":
        assert worst(got.loss, want.loss) < 1e-10
    for (key, mine), (_, other) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert (mine.grad is None) == (other.grad is None), key
        if mine.grad is not None:
            assert worst(mine.grad, other.grad) < 1e-10 * max(1.0, float(other.grad.abs().max())), (
                key
            )


@pytest.mark.parametrize("name", HEADS[1:])
@pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])
def test_twenty_steps_of_adamw_give_the_same_losses(name: str, unpad: bool) -> None:
    """Kills: parameters that an optimizer sees twice or not at all, a tie that training breaks."""
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
def test_kinds_of_classification(
    num_labels: int, problem_type: str | None, labels: torch.Tensor
) -> None:
    """Kills: a problem type that is guessed when it is given, or guessed wrongly."""
    config = {**SHARED, "num_labels": num_labels, "problem_type": problem_type}
    theirs, ours = pair("AlbertForSequenceClassification", config)
    inputs = {**batch(SHARED), "labels": labels.double() if labels.is_floating_point() else labels}
    want, got = theirs(**inputs), ours(**inputs)
    assert got.logits.shape == (3, num_labels)
    assert worst(got.loss, want.loss) < 1e-10


@pytest.mark.parametrize("name", HEADS)
def test_outputs_have_the_fields_and_positions_of_transformers(name: str) -> None:
    """Kills: a field renamed or out of order, None counted as a position."""
    theirs, ours = pair(name, SHARED)
    inputs = inputs_for(name, SHARED)
    for options in ({}, {"output_hidden_states": True, "output_attentions": True}):
        want, got = theirs(**inputs, **options), ours(**inputs, **options)
        assert list(got.keys()) == list(want.keys())
        as_tuple = ours(**inputs, **options, return_dict=False)
        assert isinstance(as_tuple, tuple)
        assert len(as_tuple) == len(got) == len(theirs(**inputs, **options, return_dict=False))
        assert worst(as_tuple[0], got[0]) == worst(got[0], got[next(iter(got))]) == 0


@pytest.mark.parametrize("name", HEADS)
def test_forward_takes_the_arguments_of_transformers(name: str) -> None:
    """Kills: an argument under another name or at another place (Trainer reads the signature)."""
    want = [
        p
        for p in inspect.signature(getattr(transformers, name).forward).parameters
        if p != "kwargs"
    ]
    got = list(inspect.signature(getattr(albert_torch, name).forward).parameters)
    assert got[: len(want)] == want
    assert got[len(want) :] == ["output_attentions", "output_hidden_states", "return_dict"]


def test_the_classifier_dropout_falls_back_to_the_hidden_one() -> None:
    """Kills: a dropout of None, or of 0."""
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
    """Kills: a head that forgets its dropout in training."""
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


def test_question_answering_has_two_labels() -> None:
    with pytest.raises(
        ValueError,
        match="num_labels=3, but question answering has two labels, start and end: set num_labels=2",
    ):
        albert_torch.AlbertForQuestionAnswering(AlbertConfig(**SHARED, num_labels=3))


def test_multiple_choice_wants_a_dimension_of_choices() -> None:
    model = albert_torch.AlbertForMultipleChoice(AlbertConfig(**SHARED))
    with pytest.raises(
        ValueError,
        match=r"input_ids has shape \(2, 4\), but a head with choices .* \(B, choices, T\)",
    ):
        model(torch.ones(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()


def test_multiple_choice_takes_embeddings() -> None:
    theirs, ours = pair("AlbertForMultipleChoice", SHARED)
    inputs = inputs_for("AlbertForMultipleChoice", SHARED)
    embedded = ours.get_input_embeddings()(inputs.pop("input_ids"))
    assert (
        worst(
            ours(inputs_embeds=embedded, **inputs).loss,
            theirs(inputs_embeds=embedded, **inputs).loss,
        )
        < 1e-10
    )
