"""The nine GLUE tasks (Wang et al. 2018): the columns of their files, their labels and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GlueTask:
    """What distinguishes a GLUE task from others with the same kind of label.

    Attributes:
        text_columns: The columns of the text or texts: alternatives, because the files of GLUE and
            the data set on the Hub have different names.
        label_columns: The column of the label: alternatives, as above.
        labels: The names of the labels in the order of their numbers on the Hub; empty for
            regression.
        metric: The metric that selects the best checkpoint.
        file_names: By split, names of files other than the usual ones such as dev.tsv.
        header: The columns of the training and dev files, if these have no header line.
    """

    text_columns: tuple[tuple[str, ...], ...]
    label_columns: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str = "accuracy"
    file_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    header: tuple[str, ...] | None = None


_SENTENCE = (("sentence",),)
_SENTENCE_PAIR = (("sentence1", "sentence2"),)
_ENTAILMENT = ("entailment", "not_entailment")

GLUE_TASKS = {
    "cola": GlueTask(
        _SENTENCE,
        ("label",),
        ("unacceptable", "acceptable"),
        "matthews",
        header=("source", "label", "mark", "sentence"),
    ),
    "sst2": GlueTask(_SENTENCE, ("label",), ("negative", "positive")),
    "mrpc": GlueTask(
        (("#1 String", "#2 String"), *_SENTENCE_PAIR),
        ("Quality", "label"),
        ("not_equivalent", "equivalent"),
        "f1",
    ),
    "qqp": GlueTask(
        (("question1", "question2"),),
        ("is_duplicate", "label"),
        ("not_duplicate", "duplicate"),
        "f1",
    ),
    "stsb": GlueTask(_SENTENCE_PAIR, ("score", "label"), (), "pearson"),
    "mnli": GlueTask(
        (*_SENTENCE_PAIR, ("premise", "hypothesis")),
        ("gold_label", "label"),
        ("entailment", "neutral", "contradiction"),
        file_names={"dev": ("dev_matched.tsv",), "test": ("test_matched.tsv",)},
    ),
    "qnli": GlueTask((("question", "sentence"),), ("label",), _ENTAILMENT),
    "rte": GlueTask(_SENTENCE_PAIR, ("label",), _ENTAILMENT),
    "wnli": GlueTask(_SENTENCE_PAIR, ("label",), ("not_entailment", "entailment")),
}
