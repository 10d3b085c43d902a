"""The losses against their formulas."""

import math

import pytest
import torch

from albert_torch import losses

LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype=torch.float64)


def negative_log_likelihood(row: torch.Tensor, label: int) -> float:
    return math.log(sum(math.exp(x) for x in row.tolist())) - row[label].item()


def test_cross_entropy_is_the_mean_over_the_labels_that_count() -> None:
    """Catches: a sum instead of a mean, an ignored label in the denominator."""
    want = (negative_log_likelihood(LOGITS[0], 2) + negative_log_likelihood(LOGITS[1], 0)) / 2
    assert losses.cross_entropy(LOGITS, torch.tensor([2, 0])).item() == pytest.approx(
        want, abs=1e-12
    )
    alone = losses.cross_entropy(LOGITS, torch.tensor([-100, 0])).item()
    assert alone == pytest.approx(negative_log_likelihood(LOGITS[1], 0), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [
        (torch.tensor([1, 2]), None),
        (torch.tensor([1, 2], dtype=torch.int32), None),
        (torch.tensor([[1], [2]]), "single_label_classification"),
    ],
)
def test_single_label(labels: torch.Tensor, problem_type: str | None) -> None:
    """Catches: integer labels taken for several labels."""
    want = (negative_log_likelihood(LOGITS[0], 1) + negative_log_likelihood(LOGITS[1], 2)) / 2
    assert losses.sequence_classification(LOGITS, labels, problem_type).item() == pytest.approx(
        want, abs=1e-12
    )


@pytest.mark.parametrize("problem_type", [None, "multi_label_classification"])
def test_several_labels(problem_type: str | None) -> None:
    """Catches: softmax instead of sigmoid."""
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    terms = [
        math.log1p(math.exp(-x if y else x))
        for x, y in zip(LOGITS.flatten().tolist(), labels.flatten().tolist(), strict=True)
    ]
    got = losses.sequence_classification(LOGITS, labels, problem_type).item()
    assert got == pytest.approx(sum(terms) / 6, abs=1e-12)


def test_regression() -> None:
    """Catches: an absolute error, a broadcast of (B, 1) against (B,)."""
    scores = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    for labels in (torch.tensor([2.0, 6.0]), torch.tensor([2, 6]), torch.tensor([[2.0], [6.0]])):
        assert losses.sequence_classification(scores, labels).item() == pytest.approx((1 + 9) / 2)
    many = losses.sequence_classification(LOGITS, LOGITS + 2, "regression")
    assert many.item() == pytest.approx(4.0)


def test_question_answering_halves_the_sum_and_ignores_what_is_outside() -> None:
    """Catches: a sum instead of a mean, positions after the row counted at its end."""
    start, end = torch.tensor([2, 0]), torch.tensor([[1], [7]])
    want = (negative_log_likelihood(LOGITS[0], 2) + negative_log_likelihood(LOGITS[1], 0)) / 2
    want = (want + negative_log_likelihood(LOGITS[0], 1)) / 2
    assert losses.question_answering(LOGITS, LOGITS, start, end).item() == pytest.approx(
        want, abs=1e-12
    )
    assert losses.question_answering(LOGITS, LOGITS, end, start).item() == pytest.approx(
        want, abs=1e-12
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), r"labels range from 0 to 3, must be 0 to 2, or -100"),
        (torch.tensor([0, -1]), r"labels range from -1 to 0, must be 0 to 2, or -100"),
        (
            torch.tensor([0, 1, 2]),
            r"labels have shape \(3,\) and logits \(2, 3\): there must be one label for each",
        ),
        (torch.tensor([0.0, 1.0]), r"labels have dtype torch.float32, must be integers"),
    ],
)
def test_labels_that_do_not_fit(labels: torch.Tensor, message: str) -> None:
    """Catches: an error of torch that does not say which labels are allowed."""
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(LOGITS, labels)


def test_labels_of_another_shape_for_several_labels() -> None:
    """Catches: labels that are broadcast to the shape of the logits."""
    with pytest.raises(ValueError, match=r"labels have shape \(2,\), must be \(2, 3\)"):
        losses.sequence_classification(LOGITS, torch.tensor([0.0, 1.0]))
