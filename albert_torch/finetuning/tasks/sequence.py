"""`SequenceTask`: what tasks on tables of texts, or pairs of texts, with a label have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from albert_torch.finetuning.splits import read_split, select_columns
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.glue import GLUE_TASKS
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
