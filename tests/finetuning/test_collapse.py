"""When a model is said only to guess."""

import math
from types import SimpleNamespace

import pytest
import torch

from albert_torch.finetuning.collapse import only_guesses
from albert_torch.finetuning.tasks.base import Split


def guesses(labels: list[int], logits: torch.Tensor, loss: float, classes: int = 2) -> bool:
    rows = Split([{"labels": label} for label in labels])
    return only_guesses(SimpleNamespace(num_classes=classes), rows, list(logits), [loss] * 3)  # type: ignore[arg-type]


ONE_CLASS = torch.randn(8, 2).sort(dim=-1).values  # class 1 always, with different probabilities
EVEN = [0, 1] * 4


@pytest.mark.parametrize(
    ("labels", "logits", "loss", "want"),
    [
        (EVEN, ONE_CLASS, math.log(2), True),
        (EVEN, ONE_CLASS, 0.5, False),  # it learns, even if it says one class yet
        (EVEN, torch.eye(2).repeat(4, 1), math.log(2), False),  # two classes
        (
            EVEN,
            torch.tensor([[0.0, 0.001], [0.001, 0.0]]).repeat(4, 1),
            math.log(2),
            True,
        ),  # choices, all alike
        ([0] * 7 + [1], ONE_CLASS, 0.377, True),  # guessing costs less where one class is frequent
        ([0] * 7 + [1], ONE_CLASS, 0.3, False),
        ([1] * 8, ONE_CLASS, 0.0, False),  # one class is right
    ],
)
def test_guessing(labels: list[int], logits: torch.Tensor, loss: float, want: bool) -> None:
    """Kills: ln C where the classes are not equally frequent, a falling loss called collapse, choices never caught."""
    assert guesses(labels, logits, loss) is want


def test_tasks_without_classes_never_guess() -> None:
    """Kills: regression or spans judged by an argmax."""
    assert not guesses(EVEN, ONE_CLASS, 9.0, classes=0)
