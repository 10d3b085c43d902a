"""Classification and regression of texts or pairs of texts: the GLUE tasks, and any table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from albert_torch.finetuning import metrics
from albert_torch.finetuning.splits import read_split, select_columns
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.glue import GLUE_TASKS
from albert_torch.finetuning.tasks.registry import register_task
from albert_torch.heads import AlbertForSequenceClassification
from albert_torch.readers import Row
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.options import Options, option

if TYPE_CHECKING:
    from albert_torch.finetuning.config import FinetuningConfig

COLUMN_OPTIONS = "text, text_pair and label"
UNPUBLISHED_LABEL = "-1"  # the label of every row of a test split on the Hub


@dataclass
class TextColumnOptions(Options):
    """The columns of a table of labelled texts. Empty names stand for those of the task."""

    text: str = option("", "column of the text; empty: the task's own, or text or sentence")
    text_pair: str = option("", "column of the second text of a pair")
    label: str = option("", "column of the label; empty: the task's own, or label")


@dataclass
class ClassificationOptions(TextColumnOptions):
    """The columns of a table of labelled texts, and the names of the labels."""

    labels: list[str] = option(
        [], "label names in the order of their numbers; empty: the task's own, or those of train"
    )


class SequenceTask(Task):
    """Base of the tasks that predict labels or a number for each text or pair of texts.

    A subclass may set the columns, or override `texts` to prepare the texts and `label_values` to
    prepare the labels.

    Attributes:
        problem_type: The value of `AlbertConfig.problem_type`, which selects the loss.
        text_columns: The columns of the text, or of the two texts of a pair, if the recipe does not
            name them: alternatives, of which the first that exists is used.
        label_columns: The column of the label if the recipe does not name it: alternatives.
        glue: The columns, labels and metric if the recipe names a GLUE task, otherwise None.
    """

    head_class = AlbertForSequenceClassification
    options_class = TextColumnOptions
    options: TextColumnOptions
    problem_type: str
    text_columns: Sequence[Sequence[str]] = (("text",), ("sentence",))
    label_columns: Sequence[str] = ("label",)

    def __init__(self, config: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(config, tokenizer)
        if self.options.text_pair and not self.options.text:
            raise ValueError(
                f"text_pair={self.options.text_pair!r} names the second column: name the first one "
                "with text"
            )
        self.glue = GLUE_TASKS.get(config.task)
        if self.glue is not None:
            self.metric = self.glue.metric
            self.text_columns = self.glue.text_columns
            self.label_columns = self.glue.label_columns

    def load_split(self, name: str) -> Split | None:
        """Read a split from a table; see `albert_torch.readers` for the formats."""
        rows = self._read_rows(name)
        if rows is None:
            return None
        where = f"the {name} split"
        examples = self.encode(*self.texts(rows, where))
        values = self.label_values(rows, where, required=name != "test")
        if values is not None:
            labels = self.encode_labels(values, where)
            for example, label in zip(examples, labels, strict=True):
                example["labels"] = label
        return Split(examples)

    def encode_labels(self, values: Sequence[Any], where: str) -> list[Any]:
        """Return the label of each row as the head needs it, from the values of the label column.

        Raises:
            ValueError: A value is not a label of this task. The message starts with `where`.
        """
        raise NotImplementedError

    def _read_rows(self, split: str) -> list[Row] | None:
        if self.glue is None:
            return read_split(self.config, split)
        has_header = split == "test" or self.config.data_config
        header = None if has_header else self.glue.header
        return read_split(self.config, split, *self.glue.file_names.get(split, ()), header=header)

    def texts(self, rows: list[Row], where: str) -> tuple[list[str], list[str] | None]:
        """Return the text of each row as it will be tokenized, and the second texts of pairs.

        Args:
            rows: The rows of a split, at least one.
            where: What the rows are, for error messages.

        Raises:
            ValueError: The rows do not have the columns, or a text is missing.
        """
        alternatives = self.text_columns
        if self.options.text:
            alternatives = [[n for n in (self.options.text, self.options.text_pair) if n]]
        values = select_columns(rows, where, *alternatives, options=COLUMN_OPTIONS)
        texts = [str(row[0]) for row in values]
        return texts, [str(row[1]) for row in values] if len(values[0]) == 2 else None

    def label_values(self, rows: list[Row], where: str, required: bool) -> list[Any] | None:
        """Return what the label column holds, for `encode_labels`.

        Args:
            rows: The rows of a split, at least one.
            where: What the rows are, for error messages.
            required: Whether labels must be present: in all splits but "test".

        Returns:
            One value per row; None for a test split without published labels.

        Raises:
            ValueError: The rows do not have the column, or a label is missing.
        """
        names = [self.options.label] if self.options.label else self.label_columns
        if not required and not any(name in rows[0] for name in names):
            return None
        alternatives = [(name,) for name in names]
        columns = select_columns(rows, where, *alternatives, options=COLUMN_OPTIONS)
        values = [value for (value,) in columns]
        if not required and all(str(value) == UNPUBLISHED_LABEL for value in values):
            return None
        return values


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
