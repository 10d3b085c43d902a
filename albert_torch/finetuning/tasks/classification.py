"""Classification and regression of texts or pairs of texts: the GLUE tasks, and any table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from albert_torch.finetuning import metrics
from albert_torch.finetuning.tasks.base import Split
from albert_torch.finetuning.tasks.glue import GLUE_TASKS
from albert_torch.finetuning.tasks.registry import register_task
from albert_torch.finetuning.tasks.sequence import SequenceTask, TextColumnOptions
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.options import option

if TYPE_CHECKING:
    from albert_torch.finetuning.config import FinetuningConfig


@dataclass
class ClassificationOptions(TextColumnOptions):
    """The columns of a table of labelled texts, and the names of the labels."""

    labels: list[str] = option(
        [], "label names in the order of their numbers; empty: the task's own, or those of train"
    )


class NamedLabelTask(SequenceTask):
    """Base of the tasks whose labels have names.

    Attributes:
        labels: The names in the order of the head's outputs: those of the recipe, of the GLUE task,
            of the class, or else of the first split that is loaded.
    """

    options_class = ClassificationOptions
    options: ClassificationOptions
    labels: Sequence[str] = ()

    def __init__(self, config: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(config, tokenizer)
        own_labels = self.labels if self.glue is None else self.glue.labels
        self.labels = list(self.options.labels or own_labels)

    def model_config_overrides(self) -> dict[str, Any]:
        """Return the label names, which determine their number, and the problem type."""
        return {"id2label": dict(enumerate(self.labels)), "problem_type": self.problem_type}

    def label_indices(self, rows: Sequence[Sequence[str]], where: str) -> list[list[int]]:
        """Return the indices of the labels of each row, from their names.

        Where no name is a number, labels may also be given as their index. If the names are not
        known yet, they are those of the rows, numbers in numerical order first.

        Raises:
            ValueError: A label is not one of the names.
        """
        if not self.labels:
            self.labels = sorted({name for row in rows for name in row}, key=_label_order)
        index_of = {name: index for index, name in enumerate(self.labels)}
        if not any(name.isdecimal() for name in self.labels):
            index_of |= {str(index): index for index in range(len(self.labels))}
        for number, row in enumerate(rows, 1):
            for name in row:
                if name not in index_of:
                    raise ValueError(
                        f"{where}, row {number} has the label {name!r}; the labels are "
                        f"{', '.join(self.labels)}"
                    )
        return [[index_of[name] for name in row] for row in rows]

    def _probabilities_by_label(self, probabilities: Tensor) -> list[dict[str, float]]:
        return [dict(zip(self.labels, row, strict=True)) for row in probabilities.tolist()]


@register_task(*(name for name in GLUE_TASKS if name != "stsb"), "classification")
class SingleLabelClassification(NamedLabelTask):
    """One label for each text. The label column holds its name or its index.

    A subclass with other metrics sets `metric` and overrides `score_labels`.
    """

    metric = "accuracy"
    problem_type = "single_label_classification"

    def encode_labels(self, values: Sequence[Any], where: str) -> list[int]:
        """Return the index of each label."""
        return [index for (index,) in self.label_indices([[str(value)] for value in values], where)]

    def model_config_overrides(self) -> dict[str, Any]:
        """Return the label names and the problem type.

        Raises:
            ValueError: There are fewer than two labels.
        """
        if len(self.labels) < 2:
            raise ValueError(f"the labels are {self.labels}: classification needs two or more")
        return super().model_config_overrides()

    @property
    def num_classes(self) -> int:
        """The number of labels."""
        return len(self.labels)

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return the scores of the most probable label of each text, see `score_labels`."""
        predicted = torch.stack(outputs).argmax(-1).tolist()
        return self.score_labels(predicted, [example["labels"] for example in split.examples])

    def score_labels(self, predicted: list[int], labels: list[int]) -> dict[str, float]:
        """Return the accuracy; for two labels also F1 and Matthews' correlation. All in percent.

        Args:
            predicted: The index of the predicted label of each text.
            labels: The index of its right label.
        """
        scores = {"accuracy": metrics.accuracy(predicted, labels)}
        if len(self.labels) == 2:
            scores["f1"] = metrics.binary_f1(predicted, labels)
            scores["matthews"] = metrics.matthews(predicted, labels)
        return scores

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the most probable label of each text and the probabilities of all labels."""
        probabilities = self._probabilities_by_label(torch.stack(outputs).softmax(-1))
        return [
            {"prediction": max(row, key=row.__getitem__), "probabilities": row}
            for row in probabilities
        ]


@register_task("multi-label")
class MultiLabelClassification(NamedLabelTask):
    """Any number of labels for each text.

    The label column holds a list of names, the JSON text of such a list, or names separated by
    commas.
    """

    metric = "f1"
    problem_type = "multi_label_classification"

    def encode_labels(self, values: Sequence[Any], where: str) -> list[list[float]]:
        """Return a vector of zeros and ones for each row."""
        names = [_label_list(value, f"{where}, row {i}") for i, value in enumerate(values, 1)]
        indices = self.label_indices(names, where)
        return [[float(index in row) for index in range(len(self.labels))] for row in indices]

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return micro-averaged F1, and the share of texts whose labels are all right."""
        predicted = (torch.stack(outputs) > 0).float()  # (examples, labels)
        labels = torch.tensor([example["labels"] for example in split.examples])
        return {
            "f1": metrics.multi_label_f1(predicted, labels),
            "exact": 100 * float((predicted == labels).all(1).float().mean()),
        }

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the labels with a probability above 0.5, and the probabilities of all labels."""
        probabilities = self._probabilities_by_label(torch.stack(outputs).sigmoid())
        return [
            {
                "prediction": [name for name, value in row.items() if value > 0.5],
                "probabilities": row,
            }
            for row in probabilities
        ]


@register_task("stsb", "regression")
class Regression(SequenceTask):
    """A number for each text. The label column holds it."""

    metric = "pearson"
    problem_type = "regression"

    def encode_labels(self, values: Sequence[Any], where: str) -> list[float]:
        """Return the numbers."""
        return [_number(value, f"{where}, row {number}") for number, value in enumerate(values, 1)]

    def model_config_overrides(self) -> dict[str, Any]:
        """Return one label and the problem type."""
        return {"num_labels": 1, "problem_type": self.problem_type}

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return Pearson's and Spearman's correlations, in percent, and the mean squared error."""
        predicted = torch.stack(outputs)[:, 0]
        labels = torch.tensor([example["labels"] for example in split.examples])
        return {
            "pearson": metrics.pearson(predicted, labels),
            "spearman": metrics.spearman(predicted, labels),
            "mse": float((predicted - labels).square().mean()),
        }

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the number for each text."""
        return [{"prediction": float(value)} for value in torch.stack(outputs)[:, 0]]


def _label_order(name: str) -> tuple[bool, int, str]:
    """Sort key of label names: whole numbers first, in numerical order."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name


def _label_list(value: Any, where: str) -> list[str]:
    """The label names in a cell: a list, the JSON text of one, or names separated by commas."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(
                f"{where} has the labels {value!r}, which is not a JSON list ({error})"
            ) from None
    if isinstance(value, str):
        value = value.split(",")
    names = [str(item).strip() for item in value]
    return [name for name in names if name]


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where} has the label {value!r}, but regression needs numbers") from None
