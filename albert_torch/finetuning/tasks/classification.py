"""One label, several or a number for each text: the nine GLUE tasks, and any table with named columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from albert_torch.finetuning import metrics
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.splits import Row, pick, read_rows
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.heads import AlbertForSequenceClassification
from albert_torch.tokenization.tokenizer import AlbertTokenizer

KINDS = {
    "classification": "single_label_classification",
    "regression": "regression",
    "multi-label": "multi_label_classification",
}


@dataclass(frozen=True)
class Glue:
    """A GLUE task (Wang et al. 2018): its columns in the GLUE files and on the Hub, its labels, its metric."""

    texts: tuple[tuple[str, ...], ...]
    label: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str = "accuracy"


_PAIR, _ENTAILMENT = (("sentence1", "sentence2"),), ("entailment", "not_entailment")
GLUE = {
    "cola": Glue((("sentence",),), ("label",), ("unacceptable", "acceptable"), "matthews"),
    "sst2": Glue((("sentence",),), ("label",), ("negative", "positive")),
    "mrpc": Glue(
        (("#1 String", "#2 String"), *_PAIR),
        ("Quality", "label"),
        ("not_equivalent", "equivalent"),
        "f1",
    ),
    "qqp": Glue(
        (("question1", "question2"),),
        ("is_duplicate", "label"),
        ("not_duplicate", "duplicate"),
        "f1",
    ),
    "stsb": Glue(_PAIR, ("score", "label"), (), "pearson"),
    "mnli": Glue(
        (*_PAIR, ("premise", "hypothesis")),
        ("gold_label", "label"),
        ("entailment", "neutral", "contradiction"),
    ),
    "qnli": Glue((("question", "sentence"),), ("label",), _ENTAILMENT),
    "rte": Glue(_PAIR, ("label",), _ENTAILMENT),
    "wnli": Glue(_PAIR, ("label",), ("not_entailment", "entailment")),
}
_COLA_HEADER = ("source", "label", "mark", "sentence")


class Classification(Task):
    """Sequence classification and regression, as the recipe's `task` says."""

    head = AlbertForSequenceClassification

    def __init__(self, recipe: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(recipe, tokenizer)
        self.glue = GLUE.get(recipe.task)
        self.kind = (
            "regression"
            if recipe.task == "stsb"
            else KINDS.get(recipe.task, KINDS["classification"])
        )
        self.labels = list(recipe.labels or (self.glue.labels if self.glue else ()))
        own = {"regression": "pearson", "multi_label_classification": "f1"}.get(
            self.kind, "accuracy"
        )
        self.metric = self.glue.metric if self.glue else own
        if self.kind == "regression" and self.labels:
            raise ValueError(
                f"labels={self.labels}: {recipe.task} predicts a number, it has no labels"
            )

    def load(self, split: str) -> Split | None:
        """The rows of a split; the labels of a table are those of its training file, unless the recipe names them."""
        recipe, where = self.recipe, f"the {split} split"
        names = {"dev": ("dev_matched.tsv",), "test": ("test_matched.tsv",)}.get(split, ())
        headless = recipe.task == "cola" and split != "test" and not recipe.data_config
        rows = read_rows(recipe, split, *names, header=_COLA_HEADER if headless else None)
        if rows is None:
            return None
        if recipe.text:
            texts = pick(
                rows, where, [recipe.text, *([recipe.text_pair] if recipe.text_pair else [])]
            )
        else:
            texts = pick(
                rows, where, *(self.glue.texts if self.glue else (("text",), ("sentence",)))
            )
        first, *second = zip(*texts, strict=True)
        encoded = self.encode(list(map(str, first)), list(map(str, second[0])) if second else None)
        labels = self._labels(rows, where, required=split != "test")
        if labels is not None:
            for row, label in zip(encoded, labels, strict=True):
                row["labels"] = label
        return Split(encoded)

    def _labels(self, rows: list[Row], where: str, required: bool) -> list[Any] | None:
        columns = (
            (self.recipe.label,)
            if self.recipe.label
            else self.glue.label
            if self.glue
            else ("label",)
        )
        if not required and not any(name in rows[0] for name in columns):
            return None
        values = [value for (value,) in pick(rows, where, *((name,) for name in columns))]
        if not required and all(
            str(value) == "-1" for value in values
        ):  # how the Hub says "not published"
            return None
        if self.kind == "regression":
            return [_number(value, where, row) for row, value in enumerate(values, 1)]
        several = self.kind == "multi_label_classification"
        cells = [_several(value) if several else [str(value)] for value in values]
        if not self.labels:
            names = {name for cell in cells for name in cell}
            self.labels = sorted(
                names,
                key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name),
            )
        numbers = _numbers(cells, self.labels, where)
        if several:
            return [[float(i in cell) for i in range(len(self.labels))] for cell in numbers]
        return [number for (number,) in numbers]

    def model_options(self) -> dict[str, Any]:
        """Labels and their names, and the kind of problem."""
        if self.kind == "regression":
            return {"num_labels": 1, "problem_type": self.kind}
        if len(self.labels) < 2 and self.kind == KINDS["classification"]:
            raise ValueError(f"the labels are {self.labels}: classification needs two or more")
        return {"id2label": dict(enumerate(self.labels)), "problem_type": self.kind}

    @property
    def classes(self) -> int:  # type: ignore[override]  # known once the labels are
        """How many labels, where there is one for each text."""
        return len(self.labels) if self.kind == KINDS["classification"] else 0

    def score(self, split: Split, kept: list[Any]) -> dict[str, float]:
        """Accuracy and F1; Matthews' correlation for CoLA; both correlations for regression; micro F1 for several."""
        logits = torch.stack(kept)  # (rows, labels)
        if self.kind == "regression":
            right = torch.tensor([row["labels"] for row in split.rows])
            both = (logits[:, 0], right)
            mse = float((logits[:, 0] - right).square().mean())
            return {
                "pearson": metrics.pearson(*both),
                "spearman": metrics.spearman(*both),
                "mse": mse,
            }
        if self.kind == "multi_label_classification":
            said, right = (logits > 0).float(), torch.tensor([row["labels"] for row in split.rows])
            return {
                "f1": metrics.multi_label_f1(said, right),
                "exact": 100 * float((said == right).all(1).float().mean()),
            }
        predicted, labels = logits.argmax(-1).tolist(), [row["labels"] for row in split.rows]
        scores = {"accuracy": metrics.accuracy(predicted, labels)}
        if len(self.labels) == 2:
            scores |= {
                "f1": metrics.f1(predicted, labels),
                "matthews": metrics.matthews(predicted, labels),
            }
        return scores

    def predictions(self, split: Split, kept: list[Any]) -> list[dict[str, Any]]:
        """The label, or labels, and their probabilities; or the number."""
        logits = torch.stack(kept)
        if self.kind == "regression":
            return [{"prediction": float(value)} for value in logits[:, 0]]
        if self.kind == "multi_label_classification":
            named = [dict(zip(self.labels, row, strict=True)) for row in logits.sigmoid().tolist()]
            return [
                {"prediction": [n for n, p in row.items() if p > 0.5], "probabilities": row}
                for row in named
            ]
        named = [dict(zip(self.labels, row, strict=True)) for row in logits.softmax(-1).tolist()]
        return [
            {"prediction": max(row, key=row.__getitem__), "probabilities": row} for row in named
        ]


def _number(value: Any, where: str, row: int) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{where}, row {row} has the label {value!r}: regression needs numbers"
        ) from None


def _several(value: Any) -> list[str]:
    """["a", "b"], or the text of it, or "a,b"."""
    if isinstance(value, str) and value.startswith("["):
        value = json.loads(value)
    parts = value.split(",") if isinstance(value, str) else map(str, value)
    return [name for part in parts if (name := part.strip())]


def _numbers(cells: Sequence[Sequence[str]], labels: Sequence[str], where: str) -> list[list[int]]:
    """Names, or their numbers where no name is a number, as numbers."""
    table = {name: i for i, name in enumerate(labels)}
    if not any(name.isdigit() for name in labels):
        table |= {str(i): i for i in range(len(labels))}
    for row, cell in enumerate(cells, 1):
        for name in cell:
            if name not in table:
                raise ValueError(
                    f"{where}, row {row} has the label {name!r}; the labels are {', '.join(labels)}"
                )
    return [[table[name] for name in cell] for cell in cells]
