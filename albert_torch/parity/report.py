"""The result of a parity check, as a table for the terminal and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from albert_torch.parity.compare import CATEGORIES, ERROR_FACTOR, TOLERANCES, Measurement
from albert_torch.parity.environment import environment

CRITERIA = (
    "tolerance, times the scale: "
    + ", ".join(f"{str(dtype)[6:]} {value:.2g}" for dtype, value in TOLERANCES.items()),
    "scale: the largest magnitude in the tensor (at least 1); for gradients the largest gradient "
    "of the model",
    f"below float64, up to {ERROR_FACTOR:g} times transformers' own error against float64 is "
    "allowed as well",
    "unpad is compared at real tokens, without the loss of question answering, whose softmax runs "
    "over padding",
)


@dataclass
class Case:
    """The measurements of one head in one dtype and backend.

    The comparison of the weights of a head has neither dtype nor backend, and that of the token ids
    has the head "tokens".
    """

    checkpoint: str
    head: str
    dtype: str
    backend: str
    measurements: list[Measurement]

    @property
    def equal(self) -> bool:
        """Whether every measurement is within its tolerance."""
        return all(measurement.ok for measurement in self.measurements)

    @property
    def worst(self) -> Measurement:
        """The measurement that is closest to its tolerance, or furthest beyond it."""
        return max(self.measurements, key=lambda measurement: measurement.excess)

    def error(self, category: str) -> float | None:
        """Return the largest difference in one of `CATEGORIES`, or None if it was not measured."""
        errors = [
            measurement.error
            for measurement in self.measurements
            if measurement.quantity.category == category
        ]
        return max(errors, default=None)

    def hidden_layers(self) -> list[Measurement]:
        """Return the measurements of the hidden states, from the embeddings to the last layer."""
        return [
            measurement
            for measurement in self.measurements
            if measurement.quantity.category == "hidden" and measurement.quantity.layer is not None
        ]


@dataclass
class Report:
    """The result of a parity check.

    Attributes:
        cases: What was compared.
        notes: What was left out, and what the inputs were.
        seconds: How long the check took.
        date: When it started, in UTC.
    """

    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    date: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @property
    def equal(self) -> bool:
        """Whether every measurement is within its tolerance."""
        return all(case.equal for case in self.cases)

    def by_checkpoint(self) -> dict[str, list[Case]]:
        """Return the cases of each checkpoint."""
        cases: dict[str, list[Case]] = {}
        for case in self.cases:
            cases.setdefault(case.checkpoint, []).append(case)
        return cases

    def count(self) -> tuple[int, int]:
        """Return the number of measurements, and of those beyond their tolerance."""
        measurements = [measurement for case in self.cases for measurement in case.measurements]
        return len(measurements), sum(not measurement.ok for measurement in measurements)


def format_table(report: Report) -> str:
    """Render a report for the terminal, in at most 100 columns (checkpoint names may be longer).

    There is one line for each head and dtype with the largest difference of all backends, and the
    verdict is the last line.
    """
    titles = f"{'head':22} {'dtype':8}"
    titles += "".join(f"{category:>8}" for category in CATEGORIES) + " worst        verdict"
    lines = []
    for checkpoint, cases in report.by_checkpoint().items():
        lines += [checkpoint, *facts(cases), titles]
        for case in merge_backends(cases):
            errors = "".join(f"{format_number(case.error(name)):>8}" for name in CATEGORIES)
            quantity = case.worst.quantity
            worst = quantity.category if quantity.layer is None else quantity.name
            verdict = "equal" if case.equal else "DIFFERS"
            lines.append(f"{case.head:22} {case.dtype:8}{errors} {worst:12} {verdict}")
        lines.append("")
    return "\n".join([*lines, *report.notes, *details(report), verdict_line(report)])


def verdict_line(report: Report) -> str:
    """Return "EQUAL" or "DIFFERENT", and the number of measurements that say so."""
    total, differing = report.count()
    duration = f"({report.seconds:.0f} s)"
    if differing:
        return f"DIFFERENT: {differing:,} of {total:,} measurements beyond tolerance {duration}"
    return f"EQUAL: {total:,} measurements within tolerance {duration}"


def facts(cases: list[Case]) -> list[str]:
    """Return a line about the token ids and one about the weights of a checkpoint."""
    lines = []
    for category, fact in (
        ("tokens", "ids and segments of {} texts are"),
        ("weights", "keys, order, shapes and values of {} tensors are"),
    ):
        measurements = [
            measurement
            for case in cases
            for measurement in case.measurements
            if measurement.quantity.category == category
        ]
        if measurements:
            equal = all(measurement.ok for measurement in measurements)
            verdict = "equal" if equal else "DIFFERENT"
            lines.append(f"{category}: {fact.format(len(measurements))} {verdict}")
    return lines


def merge_backends(cases: list[Case]) -> list[Case]:
    """Return one case for each head and dtype, with the measurements of all backends."""
    merged: dict[tuple[str, str], Case] = {}
    for case in cases:
        if case.dtype:
            key = case.head, case.dtype
            merged.setdefault(key, Case(case.checkpoint, *key, "", []))
            merged[key].measurements.extend(case.measurements)
    return list(merged.values())


def details(report: Report) -> list[str]:
    """Return lines on where models differ, or else on how close they come to the tolerance."""
    differing = [case for case in report.cases if not case.equal]
    lines = [line for case in differing[:10] for line in _differences(case)]
    if len(differing) > 10:
        lines.append(f"and {len(differing) - 10} more")
    lines += _errors_against_float64(report)
    compared = [case for case in report.cases if case.dtype]
    if not differing and compared:
        case = max(compared, key=lambda case: case.worst.excess)
        quantity = case.worst.quantity
        name = quantity.name
        if quantity.layer is None:
            name = f"{quantity.category} {'.'.join(quantity.name.split('.')[-2:])}"
        lines.append(
            f"closest: {case.head} {case.dtype} {case.backend} {name}, "
            f"{format_excess(case.worst.excess)}"
        )
    return lines


def format_excess(excess: float) -> str:
    """Say how a difference compares with its tolerance, as "50% of what is allowed"."""
    if excess >= 100:
        return "over 100 times what is allowed"
    if excess > 1:
        return f"{excess:.1f} times what is allowed"
    if 0 < excess < 0.01:
        return "under 1% of what is allowed"
    return f"{excess:.0%} of what is allowed"


def format_number(value: float | None) -> str:
    """Return a number in at most seven characters, such as 3.1e-12; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.1e}" if value and math.isfinite(value) else f"{value:g}"


def to_json(report: Report, command: str) -> str:
    """Return a report as JSON: verdict, date, versions, and an object for each measurement.

    Numbers that are not finite are null.

    Args:
        report: The report.
        command: The command line that made it.
    """
    measurements: list[dict[str, Any]] = []
    for case in report.cases:
        for measurement in case.measurements:
            numbers = {
                "error": measurement.error,
                "scale": measurement.scale,
                "tolerance": measurement.tolerance,
                "ours_to_float64": measurement.ours_to_float64,
                "theirs_to_float64": measurement.theirs_to_float64,
            }
            measurements.append(
                {
                    "checkpoint": case.checkpoint,
                    "head": case.head,
                    "dtype": case.dtype,
                    "backend": case.backend,
                    **measurement.quantity._asdict(),
                    **{name: _finite_or_none(value) for name, value in numbers.items()},
                    "ok": measurement.ok,
                }
            )
    content = {
        "equal": report.equal,
        "verdict": verdict_line(report),
        "command": command,
        "date": report.date.isoformat(timespec="seconds"),
        "seconds": report.seconds,
        "environment": environment(),
        "criteria": CRITERIA,
        "notes": report.notes,
        "measurements": measurements,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _differences(case: Case) -> Iterator[str]:
    """Yield lines on the quantity where a case begins to differ, and on the one that is worst."""
    names = ("differs:", case.checkpoint, case.head, case.dtype, case.backend)
    yield " ".join(name for name in names if name)
    first = next(measurement for measurement in case.measurements if not measurement.ok)
    for label, measurement in (("first", first), ("worst", case.worst)):
        error, allowed = format_number(measurement.error), format_number(measurement.tolerance)
        yield f"  {label} {measurement.quantity.name}: {error}, allowed {allowed}"
    if case.head == "tokens":
        yield (
            '  our ids are those of Google\'s tokenizer, which splits "1," into two tokens; a '
            "tokenizer.json does not"
        )


def _errors_against_float64(report: Report) -> Iterator[str]:
    """Yield for each narrow dtype how far both models' hidden states are from float64."""
    for dtype in dict.fromkeys(case.dtype for case in report.cases):
        ours: list[float] = []
        theirs: list[float] = []
        for case in report.cases:
            for measurement in case.hidden_layers() if case.dtype == dtype else ():
                if measurement.ours_to_float64 is not None:
                    ours.append(measurement.ours_to_float64)
                if measurement.theirs_to_float64 is not None:
                    theirs.append(measurement.theirs_to_float64)
        if ours and theirs:
            yield (
                f"{dtype}: hidden states differ from float64 by {format_number(max(ours))} here "
                f"and by {format_number(max(theirs))} in transformers"
            )


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
