"""The report as a table and as JSON."""

import json
import math
import re
from datetime import datetime
from pathlib import Path

import pytest
import transformers
from helpers.parity_reports import with_difference

from albert_torch.parity import Measurement, Quantity, check
from albert_torch.parity.report import (
    Case,
    Report,
    details,
    format_excess,
    format_number,
    format_table,
    to_json,
    verdict_line,
)


@pytest.fixture(scope="module")
def report(checkpoints: dict[str, Path]) -> Report:
    """The report on the question-answering checkpoint; do not change it."""
    return check(checkpoints["QuestionAnswering"])


def test_the_table(report: Report) -> None:
    """Catches: a table that is wider than the terminal, and a verdict that is not the last line."""
    table = format_table(report)
    assert max(map(len, table.splitlines()[1:])) <= 100
    assert re.search(r"^EQUAL: [\d,]+ measurements within tolerance", table.splitlines()[-1])
    against_float64 = (
        r"^bfloat16: hidden states differ from float64 by \S+e-0\d here and by \S+e-0\d in transf"
    )
    assert re.search(against_float64, table, re.MULTILINE)
    table = format_table(with_difference(report))
    assert table.splitlines()[-1].startswith("DIFFERENT: 1 of ")
    assert "DIFFERS" in table


def test_json_holds_every_measurement(report: Report) -> None:
    """Catches: JSON that lacks a layer or a version, or that strict readers refuse."""
    content = json.loads(to_json(report, "the command"))
    assert content["equal"] is True
    assert content["command"] == "the command"
    assert datetime.fromisoformat(content["date"]).tzinfo is not None
    assert content["environment"]["transformers"] == transformers.__version__
    measurements = content["measurements"]
    assert len(measurements) == report.count()[0]
    for dtype in ("float64", "float32", "bfloat16"):
        layers = [
            one["layer"]
            for one in measurements
            if (one["dtype"], one["backend"]) == (dtype, "unpad")
            and (one["category"], one["head"]) == ("hidden", "QuestionAnswering")
        ]
        assert layers == [*range(7), None], "each layer, then the last hidden state by its own name"

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(to_json(with_difference(report), ""), parse_constant=refuse)
    assert content["equal"] is False
    assert [one["error"] for one in content["measurements"] if not one["ok"]] == [None]


def test_details_name_the_first_and_the_worst_difference() -> None:
    """Catches: a report that leaves the reader to search for where two models begin to differ."""
    measurements = [
        Measurement(Quantity("hidden", "hidden 0/2", 0), 1e-12, 1.0, 1e-10),
        Measurement(Quantity("hidden", "hidden 1/2", 1), 2e-10, 1.0, 1e-10),
        Measurement(Quantity("hidden", "hidden 2/2", 2), 3e-8, 1.0, 1e-10),
    ]
    case = Case("a", "Model", "float64", "sdpa", measurements)
    assert details(Report([case])) == [
        "differs: a Model float64 sdpa",
        "  first hidden 1/2: 2.0e-10, allowed 1.0e-10",
        "  worst hidden 2/2: 3.0e-08, allowed 1.0e-10",
    ]
    assert details(Report([case] * 12))[-1] == "and 2 more"
    case.measurements = measurements[:1]
    assert details(Report([case])) == [
        "closest: Model float64 sdpa hidden 0/2, 1% of what is allowed"
    ]
    assert verdict_line(Report([case])) == "EQUAL: 1 measurements within tolerance (0 s)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (3.14e-12, "3.1e-12"), (math.inf, "inf"), (123456.0, "1.2e+05")],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    """Catches: a number that breaks the columns of the table."""
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("excess", "text"),
    [
        (0.0, "0% of what is allowed"),
        (0.001, "under 1% of what is allowed"),
        (0.5, "50% of what is allowed"),
        (1.0, "100% of what is allowed"),
        (1.25, "1.2 times what is allowed"),
        (math.inf, "over 100 times what is allowed"),
    ],
)
def test_excess_is_readable(excess: float, text: str) -> None:
    """Catches: "558688% of what is allowed", and "0%" for a difference."""
    assert format_excess(excess) == text
