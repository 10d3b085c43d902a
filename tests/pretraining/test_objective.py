"""The pretraining objective: equal to the loss of transformers, and additive over micro-batches."""

from typing import Any

import pytest
import torch
import transformers
from helpers.constants import SHARED, TINY
from helpers.reference import inputs_for, pair, worst

from albert_torch import AlbertConfig, AlbertForPreTraining
from albert_torch.pretraining.objective import LossSums, PretrainingObjective

Batch = dict[str, torch.Tensor]
CONFIGS = pytest.mark.parametrize("config", [TINY, SHARED], ids=["groups", "shared"])
UNPAD = pytest.mark.parametrize("unpad", [False, True], ids=["padded", "unpad"])


def build(
    config: dict[str, Any], unpad: bool, **options: Any
) -> tuple[Any, PretrainingObjective, Batch]:
    theirs, ours = pair("AlbertForPreTraining", config, unpad=unpad, attention="sdpa")
    return theirs, PretrainingObjective(ours), inputs_for("AlbertForPreTraining", config, **options)


def mean(sums: LossSums) -> torch.Tensor:
    return sums.mlm_loss / sums.masked + sums.sop_loss / sums.examples


@UNPAD
@CONFIGS
@pytest.mark.parametrize("lengths", [(9, 5, 1, 12), (7, 7, 7)], ids=["ragged", "full"])
def test_means_and_every_gradient_are_those_of_transformers(
    config: dict[str, Any], unpad: bool, lengths: tuple[int, ...]
) -> None:
    """Kills: tokens of another example, a label at the wrong position, a pooler on another token, a
    loss that is left out or weighted, an untied decoder.
    """
    theirs, objective, batch = build(config, unpad, lengths=lengths)
    expected, sums = theirs(**batch), objective(**batch)
    assert worst(mean(sums), expected.loss) < 1e-10
    expected.loss.backward()
    mean(sums).backward()
    for (key, mine), (_, other) in zip(
        objective.model.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert worst(mine.grad, other.grad) < 1e-10 * max(1.0, float(other.grad.abs().max())), key


@UNPAD
def test_each_sum_is_what_it_says(unpad: bool) -> None:
    """Kills: padding that is counted, accuracy over all tokens, losses or accuracies that are
    swapped.
    """
    theirs, objective, batch = build(SHARED, unpad, lengths=(12, 5, 1, 9, 12))
    with torch.no_grad():
        logits, sums = theirs(**batch), objective(**batch)
    labels, order = batch["labels"], batch["sentence_order_label"]
    predicted = logits.prediction_logits.argmax(-1)
    mlm_loss, num_correct, num_masked = 0.0, 0, 0
    for row, column in (labels != -100).nonzero().tolist():
        label = int(labels[row, column])
        mlm_loss -= float(logits.prediction_logits[row, column].log_softmax(-1)[label])
        num_correct += int(predicted[row, column]) == label
        num_masked += 1
    sop_loss = -float(logits.sop_logits.log_softmax(-1).gather(1, order[:, None]).sum())
    assert sums.mlm_loss.item() == pytest.approx(mlm_loss, abs=1e-10)
    assert sums.sop_loss.item() == pytest.approx(sop_loss, abs=1e-10)
    assert (sums.masked.item(), sums.examples.item()) == (num_masked, 5)
    assert sums.mlm_correct.item() == num_correct
    assert sums.sop_correct.item() == int((logits.sop_logits.argmax(-1) == order).sum())
    # If the labels are the model's own predictions, all are correct; one next to them, none is.
    right = {
        **batch,
        "labels": predicted.where(labels != -100, -100),
        "sentence_order_label": logits.sop_logits.argmax(-1),
    }
    sums = objective(**right)
    assert (sums.mlm_correct, sums.sop_correct) == (num_masked, 5)
    vocab = SHARED["vocab_size"]
    wrong = ((predicted + 1) % vocab).where(labels != -100, -100)
    sums = objective(
        **{**right, "labels": wrong, "sentence_order_label": 1 - right["sentence_order_label"]}
    )
    assert (sums.mlm_correct, sums.sop_correct) == (0, 0)


@UNPAD
def test_micro_batches_add_up_to_the_batch(unpad: bool) -> None:
    """Kills: a mean over a micro-batch, a NaN for one without masked tokens or with one example."""
    _, objective, batch = build(SHARED, unpad, lengths=(12, 5, 1, 9))
    batch["labels"][2] = -100
    whole = objective(**batch)
    mean(whole).backward()
    gradients = [p.grad for p in objective.parameters()]
    objective.zero_grad()
    parts = [
        objective(**{name: x[rows] for name, x in batch.items()}) for rows in ([0, 3], [2], [1])
    ]
    assert parts[1].masked == 0
    assert parts[1].mlm_loss == 0
    for part in parts:
        (part.mlm_loss / whole.masked + part.sop_loss / whole.examples).backward()
    totals = [sum(values) for values in zip(*parts, strict=True)]
    for total, of_whole in zip(totals, whole, strict=True):
        assert worst(torch.as_tensor(total), of_whole) < 1e-10
    for p, expected in zip(objective.parameters(), gradients, strict=True):
        assert worst(p.grad, expected) < 1e-10


def test_without_masked_tokens_the_loss_is_zero_and_all_gradients_exist() -> None:
    """Kills: 0 / 0, and parameters without a gradient, for which DDP would wait."""
    _, objective, batch = build(SHARED, True)
    sums = objective(**{**batch, "labels": torch.full_like(batch["labels"], -100)})
    assert (sums.mlm_loss, sums.masked, sums.mlm_correct) == (0, 0, 0)
    (sums.mlm_loss + sums.sop_loss).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


@UNPAD
def test_bfloat16_products_keep_float32_sums(unpad: bool) -> None:
    """Kills: a sum of many terms in bfloat16, logits of another dtype than the autocast's."""
    _, objective, batch = build(SHARED, unpad, lengths=(12, 5, 1, 9))
    objective.float()
    exact = objective(**batch)
    seen = []
    objective.model.predictions.decoder.register_forward_hook(
        lambda *args: seen.append(args[2].dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        sums = objective(**batch)
    assert seen == [torch.bfloat16]
    assert (sums.mlm_loss.dtype, sums.sop_loss.dtype) == (torch.float32, torch.float32)
    assert mean(sums).item() == pytest.approx(mean(exact).item(), rel=0.05)
    mean(sums).backward()
    assert all(
        p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in objective.parameters()
    )


def test_nothing_is_computed_that_the_loss_does_not_need() -> None:
    """Kills: logits for tokens without a label, an encoder that computes padding, a last layer that
    computes all tokens.
    """
    config = AlbertConfig(**SHARED)
    objective = PretrainingObjective(AlbertForPreTraining(config, unpad=True))
    batch = inputs_for("AlbertForPreTraining", SHARED, lengths=(12, 5, 1))
    batch["labels"][1, 0] = -100
    layer = objective.model.albert.encoder.albert_layer_groups[0].albert_layers[0]
    tokens = []
    for module in (layer.ffn, objective.model.predictions.decoder):
        module.register_forward_hook(lambda _module, inputs, output: tokens.append(len(output)))
    objective(**batch)
    masked = int((batch["labels"] != -100).sum())
    assert tokens == [18] * (config.num_hidden_layers - 1) + [masked + 1, masked]


def test_transformers_adds_the_two_means() -> None:
    """Kills: a loss of transformers that has changed, which the tests above would not notice."""
    torch.manual_seed(0)
    theirs = transformers.AlbertForPreTraining(transformers.AlbertConfig(**SHARED)).double().eval()
    batch = inputs_for("AlbertForPreTraining", SHARED)
    out = theirs(**batch)
    mlm = torch.nn.functional.cross_entropy(
        out.prediction_logits.flatten(0, 1), batch["labels"].flatten()
    )
    sop = torch.nn.functional.cross_entropy(out.sop_logits, batch["sentence_order_label"])
    assert worst(out.loss, mlm + sop) < 1e-12
