"""Multiple choice: COPA, SWAG and RACE. Each option is a pair of texts with what it continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from albert_torch.finetuning import metrics
from albert_torch.finetuning.splits import find_split_file, read_split
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.formats.choices import (
    ChoiceQuestion,
    copa_questions,
    race_questions,
    read_copa_xml,
    read_race_directory,
    swag_questions,
)
from albert_torch.finetuning.tasks.registry import register_task
from albert_torch.heads import AlbertForMultipleChoice
from albert_torch.training.data import Inputs
from albert_torch.training.options import Options, option


class MultipleChoice(Task):
    """Base of the tasks that select one of several options.

    A subclass sets `num_options` and implements `read_questions`.

    Attributes:
        num_options: The number of options of every question.
    """

    head_class = AlbertForMultipleChoice
    metric = "accuracy"
    num_options: ClassVar[int]

    def read_questions(self, split: str) -> list[ChoiceQuestion] | None:
        """Return the questions of a split, or None if there is no such split.

        Raises:
            ValueError: A file has another structure.
        """
        raise NotImplementedError

    def encode_options(self, question: ChoiceQuestion) -> list[Inputs]:
        """Tokenize each option together with the context; the longer text is truncated first."""
        contexts = [question.context] * len(question.options)
        return self.encode(contexts, question.options, truncation="longest_first")

    def load_split(self, name: str) -> Split | None:
        """Read a split; the inputs of each example have one row per option, (C, T)."""
        questions = self.read_questions(name)
        if questions is None:
            return None
        if not questions:
            raise ValueError(f"the {name} split has no questions: it needs at least one")
        for number, question in enumerate(questions, 1):
            where = f"the {name} split, question {number}"
            if len(question.options) != self.num_options:
                raise ValueError(
                    f"{where} has {len(question.options)} options, but {self.config.task} has "
                    f"{self.num_options}"
                )
            if question.answer is None and name != "test":
                raise ValueError(f"{where} has no answer")
        return Split([self._example(question) for question in questions])

    def _example(self, question: ChoiceQuestion) -> Inputs:
        encoded = self.encode_options(question)
        example: Inputs = {key: [row[key] for row in encoded] for key in encoded[0]}
        if question.answer is not None:
            example["labels"] = question.answer
        return example

    @property
    def num_classes(self) -> int:
        """The number of options."""
        return self.num_options

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return the accuracy."""
        predicted = torch.stack(outputs).argmax(-1).tolist()
        labels = [example["labels"] for example in split.examples]
        return {"accuracy": metrics.accuracy(predicted, labels)}

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the index of the selected option, from 0, and the probabilities of all options."""
        return [
            {"prediction": int(row.argmax()), "probabilities": row.tolist()}
            for row in torch.stack(outputs).softmax(-1)
        ]


@register_task("copa")
class Copa(MultipleChoice):
    """COPA (Roemmele et al. 2011), from its XML files or SuperGLUE's: a cause or an effect."""

    num_options = 2

    def read_questions(self, split: str) -> list[ChoiceQuestion] | None:
        """Return the questions of copa-{split}.xml, or of a table."""
        names = [f"copa-{split}.xml", *(["val.jsonl"] if split == "dev" else [])]
        path = find_split_file(self.config, split, *names)
        if path is not None and path.suffix == ".xml":
            return list(read_copa_xml(path))
        rows = read_split(self.config, split, *names)
        return None if rows is None else copa_questions(rows, f"the {split} split")


@register_task("swag")
class Swag(MultipleChoice):
    """SWAG (Zellers et al. 2018), from its CSV files or the Hub: the plausible continuation."""

    num_options = 4

    def read_questions(self, split: str) -> list[ChoiceQuestion] | None:
        """Return the questions of a table; the dev split may be called val.csv."""
        rows = read_split(self.config, split, *(["val.csv"] if split == "dev" else []))
        return None if rows is None else swag_questions(rows, f"the {split} split")


@dataclass
class RaceOptions(Options):
    """How RACE's questions are truncated."""

    max_qa_length: int = option(
        128, "maximum number of tokens of a question with its option", minimum=1
    )


@register_task("race")
class Race(MultipleChoice):
    """RACE (Lai et al. 2017), from its directories or the Hub: questions about an article."""

    num_options = 4
    options_class = RaceOptions
    options: RaceOptions

    def read_questions(self, split: str) -> list[ChoiceQuestion] | None:
        """Return the questions of the directory of a split, `middle` and `high`, or of a table."""
        path = find_split_file(self.config, split, split)
        if path is not None and path.is_dir():
            return read_race_directory(path)
        rows = read_split(self.config, split)
        return None if rows is None else race_questions(rows, f"the {split} split")

    def encode_options(self, question: ChoiceQuestion) -> list[Inputs]:
        """Tokenize each option with the article, of which only the article is truncated."""
        options = self._truncate(question.options, self.options.max_qa_length)
        contexts = [question.context] * len(options)
        return self.encode(contexts, options, truncation="only_first")

    def _truncate(self, texts: list[str], max_tokens: int) -> list[str]:
        """Cut texts behind the last character of their `max_tokens`-th token."""
        batch = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        return [
            text[: offsets[max_tokens - 1][1]] if len(offsets) > max_tokens else text
            for text, offsets in zip(texts, batch["offset_mapping"], strict=True)
        ]
