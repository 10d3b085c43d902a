"""Multiple choice: COPA, SWAG and RACE, each option a row beside what it is to complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from albert_torch.files import read_json
from albert_torch.finetuning import metrics
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.splits import Row, locate, pick, read_rows
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.heads import AlbertForMultipleChoice
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Inputs

CHOICES = {"copa": 2, "swag": 4, "race": 4}
_CONNECTIVE = {"cause": "because", "effect": "so"}


@dataclass
class Question:
    """What is given, its options, and the right one (None in a test split)."""

    given: str
    options: list[str]
    answer: int | None


class MultipleChoice(Task):
    """The right one of C options."""

    head = AlbertForMultipleChoice
    metric = "accuracy"

    def __init__(self, recipe: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(recipe, tokenizer)
        self.classes = CHOICES[recipe.task]

    def load(self, split: str) -> Split | None:
        """The rows of a split, (C, T) each."""
        questions = {"copa": self._copa, "swag": self._swag, "race": self._race}[self.recipe.task](
            split
        )
        if questions is None:
            return None
        if not questions:
            raise ValueError(f"the {split} split has no questions: it needs at least one")
        rows = []
        for number, question in enumerate(questions, 1):
            if len(question.options) != self.classes:
                raise ValueError(
                    f"the {split} split, question {number} has {len(question.options)} options: "
                    f"{self.recipe.task} has {self.classes}"
                )
            if question.answer is None and split != "test":
                raise ValueError(f"the {split} split, question {number} has no answer")
            rows.append(self._row(question))
        return Split(rows)

    def _row(self, question: Question) -> Inputs:
        race = self.recipe.task == "race"
        options = question.options
        if race:  # an option is cut by itself; what remains of max_length is the article's
            ids = self.tokenizer(options, add_special_tokens=False)["input_ids"]
            offsets = self.tokenizer(
                options, add_special_tokens=False, return_offsets_mapping=True
            )["offset_mapping"]
            limit = self.recipe.max_qa_length
            options = [
                o[: at[limit - 1][1]] if len(i) > limit else o
                for o, i, at in zip(options, ids, offsets, strict=True)
            ]
        parts = self.encode(
            [question.given] * len(options),
            options,
            truncation="only_first" if race else "longest_first",
        )
        row = {name: [part[name] for part in parts] for name in parts[0]}
        return row if question.answer is None else {**row, "labels": question.answer}

    def score(self, split: Split, kept: list[Any]) -> dict[str, float]:
        """Accuracy."""
        predicted = torch.stack(kept).argmax(-1).tolist()
        return {"accuracy": metrics.accuracy(predicted, [row["labels"] for row in split.rows])}

    def predictions(self, split: Split, kept: list[Any]) -> list[dict[str, Any]]:
        """The number of the option, from 0, and the probabilities of all."""
        return [
            {"prediction": int(p.argmax()), "probabilities": p.tolist()}
            for p in torch.stack(kept).softmax(-1)
        ]

    # ---- files ----

    def _copa(self, split: str) -> list[Question] | None:
        """COPA's XML (Roemmele et al. 2011), or SuperGLUE's columns."""
        path = locate(
            self.recipe, split, f"copa-{split}.xml", *(["val.jsonl"] if split == "dev" else [])
        )
        if path is not None and path.suffix == ".xml":
            return list(_copa_xml(path))
        rows = read_rows(self.recipe, split, *([path.name] if path else []))
        if rows is None:
            return None
        columns = pick(rows, f"the {split} split", ("premise", "choice1", "choice2", "question"))
        return [
            Question(f"{premise} {_CONNECTIVE.get(asks, asks)}", [one, two], _answer(row))
            for row, (premise, one, two, asks) in zip(rows, columns, strict=True)
        ]

    def _swag(self, split: str) -> list[Question] | None:
        """SWAG's CSV (Zellers et al. 2018), or the Hub's columns."""
        rows = read_rows(self.recipe, split, *(["val.csv"] if split == "dev" else []))
        if rows is None:
            return None
        columns = pick(
            rows, f"the {split} split", ("sent1", "sent2", *(f"ending{i}" for i in range(4)))
        )
        return [
            Question(first, [f"{second} {ending}" for ending in endings], _answer(row))
            for row, (first, second, *endings) in zip(rows, columns, strict=True)
        ]

    def _race(self, split: str) -> list[Question] | None:
        """RACE's folders of JSON files (Lai et al. 2017), `middle` and `high`, or the Hub's rows."""
        path = locate(self.recipe, split, split)
        if path is not None and path.is_dir():
            return [
                question for file in sorted(path.rglob("*.txt")) for question in _race_file(file)
            ]
        found = read_rows(self.recipe, split)
        if found is None:
            return None
        columns = pick(found, f"the {split} split", ("article", "question", "options", "answer"))
        articles = [
            {"article": a, "questions": [q], "options": [o], "answers": [right]}
            for a, q, o, right in columns
        ]
        return [question for row in articles for question in _race_article(row)]


def _copa_xml(path: Path) -> Iterator[Question]:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not XML ({error})") from None
    for item in root.iter("item"):
        premise, one, two = ((item.findtext(name) or "").strip() for name in ("p", "a1", "a2"))
        asks, answer = item.get("asks-for", ""), item.get("most-plausible-alternative")
        if asks not in _CONNECTIVE or not (premise and one and two):
            raise ValueError(
                f"{path}, item {item.get('id')}: needs asks-for (cause or effect), p, a1 and a2"
            )
        yield Question(
            f"{premise} {_CONNECTIVE[asks]}", [one, two], int(answer) - 1 if answer else None
        )


def _race_file(path: Path) -> list[Question]:
    try:
        return list(_race_article(read_json(path)))
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is no article of RACE (article, questions, options, answers): {error!r}"
        ) from None


def _race_article(row: Row) -> Iterator[Question]:
    for asked, options, right in zip(row["questions"], row["options"], row["answers"], strict=True):
        filled = [asked.replace("_", o) if "_" in asked else f"{asked} {o}" for o in options]
        yield Question(row["article"], filled, "ABCD".index(right) if right else None)


def _answer(row: Row) -> int | None:
    label = row.get("label")
    return None if label is None or int(label) < 0 else int(label)
