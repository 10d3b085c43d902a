"""The heads that the parity check knows, and reports with a difference."""

import math

from albert_torch.parity import Case, Measurement, Report

TRANSFORMERS_HEADS = (
    "Model",
    "PreTraining",
    "MaskedLM",
    "SequenceClassification",
    "TokenClassification",
    "QuestionAnswering",
    "MultipleChoice",
)
OUR_HEADS = (*TRANSFORMERS_HEADS, "AnswerableQuestions")


def with_difference(report: Report) -> Report:
    """The same report, but one measurement is beyond its tolerance."""
    *cases, last = report.cases
    wrong = Measurement(last.measurements[0].quantity, math.inf, 1.0, 1e-10)
    measurements = [wrong, *last.measurements[1:]]
    changed = Case(last.checkpoint, last.head, last.dtype, last.backend, measurements)
    return Report([*cases, changed], report.notes, report.seconds)
