"""What a parity check found: as a table for the terminal, as JSON, and as a page with plots."""

from __future__ import annotations

import html
import io
import json
import math
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from albert_torch.parity.compare import OWN_ERRORS, QUANTITIES, TOLERANCES, Measurement

CRITERIA = (
    "allowed, times the scale: "
    + ", ".join(f"{str(dtype)[6:]} {value:.2g}" for dtype, value in TOLERANCES.items()),
    "unpad is compared at real tokens; its question-answering loss, whose softmax runs over padding, is not",
    f"below float64 also {OWN_ERRORS:g} times transformers' own error against float64, where that is more",
)
SCALE = "scale: the largest magnitude of the tensor (at least 1); for gradients the largest gradient of the model"


@dataclass
class Case:
    """What was measured of one head in one dtype and backend; both empty for its weights, and for the token ids."""

    checkpoint: str
    head: str
    dtype: str
    backend: str
    measurements: list[Measurement]

    @property
    def equal(self) -> bool:
        """Whether every measurement is within tolerance."""
        return all(one.ok for one in self.measurements)

    @property
    def worst(self) -> Measurement:
        """The measurement nearest to its tolerance, or furthest beyond it."""
        return max(self.measurements, key=lambda one: one.excess)

    def error(self, what: str) -> float | None:
        """The largest difference in one of `QUANTITIES`; None where it was not measured."""
        return max((one.error for one in self.measurements if one.place.what == what), default=None)


@dataclass
class Report:
    """All cases of a check, what was left out, and how long it took."""

    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether every case is equal."""
        return all(case.equal for case in self.cases)

    def by_checkpoint(self) -> dict[str, list[Case]]:
        """The cases of each checkpoint."""
        names = dict.fromkeys(case.checkpoint for case in self.cases)
        return {name: [case for case in self.cases if case.checkpoint == name] for name in names}


def environment() -> dict[str, str | int]:
    """The versions and the machine that a report holds for."""
    names = ("albert-torch", "torch", "transformers", "tokenizers", "safetensors")
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cpu": _cpu()}
    return {
        **{name: metadata.version(name) for name in names},
        **machine,
        "threads": torch.get_num_threads(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
    )


# ---- the table ----


def table(report: Report) -> str:
    """At most 100 columns: a row for each head and dtype, the worst of its backends, and a verdict at the end."""
    lines = []
    titles = (
        f"{'head':22} {'dtype':8}"
        + "".join(f"{what:>8}" for what in QUANTITIES)
        + " worst        verdict"
    )
    for checkpoint, cases in report.by_checkpoint().items():
        lines += [checkpoint, *_facts(cases), titles]
        rows: dict[tuple[str, str], list[Measurement]] = {}
        for case in cases:
            if case.dtype:
                rows.setdefault((case.head, case.dtype), []).extend(case.measurements)
        for (head, dtype), measurements in rows.items():
            row = Case(checkpoint, head, dtype, "", measurements)
            errors = "".join(f"{number(row.error(what)):>8}" for what in QUANTITIES)
            place, verdict = row.worst.place, "equal" if row.equal else "DIFFERS"
            worst = place.what if place.layer is None else place.name
            lines.append(f"{head:22} {dtype:8}{errors} {worst:12} {verdict}")
        lines.append("")
    return "\n".join([*lines, *report.notes, *details(report), verdict_line(report)])


def verdict_line(report: Report) -> str:
    """EQUAL or DIFFERENT, of how many measurements."""
    measured = [one for case in report.cases for one in case.measurements]
    if wrong := sum(not one.ok for one in measured):
        return f"DIFFERENT: {wrong:,} of {len(measured):,} measurements beyond tolerance ({report.seconds:.0f} s)"
    return f"EQUAL: {len(measured):,} measurements within tolerance ({report.seconds:.0f} s)"


def details(report: Report) -> list[str]:
    """Of each case that differs the first place, in the order of the forward pass, and the worst; or the nearest."""
    lines = []
    wrong = [case for case in report.cases if not case.equal]
    for case in wrong[:10]:
        lines.append(
            " ".join(
                filter(None, ("differs:", case.checkpoint, case.head, case.dtype, case.backend))
            )
        )
        first = next(one for one in case.measurements if not one.ok)
        for kind, one in (("first", first), ("worst", case.worst)):
            lines.append(
                f"  {kind} {one.place.name}: {number(one.error)}, allowed {number(one.tolerance)}"
            )
        if case.head == "tokens":
            lines.append(
                '  ids here are Google\'s, which splits the comma off "1,"; a tokenizer.json does not'
            )
    if len(wrong) > 10:
        lines.append(f"and {len(wrong) - 10} more")
    for dtype in dict.fromkeys(case.dtype for case in report.cases):
        hidden = [one for case in report.cases if case.dtype == dtype for one in _hidden(case)]
        ours = [one.ours_to_float64 for one in hidden if one.ours_to_float64 is not None]
        theirs = [one.theirs_to_float64 for one in hidden if one.theirs_to_float64 is not None]
        if ours and theirs:
            both = f"here {number(max(ours))}, transformers {number(max(theirs))}"
            lines.append(f"{dtype}, hidden states against float64: {both}")
    if not wrong:
        case = max(
            (case for case in report.cases if case.dtype), key=lambda case: case.worst.excess
        )
        allowed, place = f"{case.worst.excess:.0%} of what is allowed", case.worst.place
        where = (
            place.name
            if place.layer is not None
            else f"{place.what} {'.'.join(place.name.split('.')[-2:])}"
        )
        lines.append(f"nearest: {allowed}, {case.head} {case.dtype} {case.backend} {where}")
    return lines


def number(value: float | None) -> str:
    """Seven characters at most: 3.1e-12."""
    if value is None:
        return "-"
    return f"{value:.1e}" if value and math.isfinite(value) else f"{value:g}"


def _facts(cases: list[Case]) -> list[str]:
    """A line on the token ids and one on the weights."""
    lines = []
    for what, fact in (("tokens", "ids and segments of {} texts"),
                       ("weights", "keys, order, shapes and values of {} tensors")):  # fmt: skip
        if oks := [one.ok for case in cases for one in case.measurements if one.place.what == what]:
            lines.append(f"{what:8} {fact.format(len(oks))}: {'equal' if all(oks) else 'DIFFER'}")
    return lines


def _hidden(case: Case) -> list[Measurement]:
    return [
        one
        for one in case.measurements
        if one.place.what == "hidden" and one.place.layer is not None
    ]


# ---- JSON ----


def to_json(report: Report, command: str) -> str:
    """Versions, machine, command, and a row for each measurement; a difference that is no number is null."""
    rows: list[dict[str, Any]] = []
    for case in report.cases:
        about = {
            "checkpoint": case.checkpoint,
            "head": case.head,
            "dtype": case.dtype,
            "backend": case.backend,
        }
        for one in case.measurements:
            numbers = {name: value for name, value in vars(one).items() if name != "place"}
            finite = {
                name: x if x is not None and math.isfinite(x) else None
                for name, x in numbers.items()
            }
            rows.append({**about, **one.place._asdict(), **finite, "ok": one.ok})
    content = {"equal": report.equal, "verdict": verdict_line(report), "command": command, "seconds": report.seconds,
               "environment": environment(), "criteria": [*CRITERIA, SCALE], "notes": report.notes,
               "measurements": rows}  # fmt: skip
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


# ---- the page ----

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #d1242f; --good: #1a7f37 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h1.equal { color: var(--good) } h1.different { color: var(--bad) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:nth-child(-n+3), td:nth-child(-n+3), td:last-child, th:last-child { text-align: left }
td:last-child { white-space: normal; overflow-wrap: anywhere } tr.differs { color: var(--bad); font-weight: 600 }
svg { max-width: 100%; height: auto }
code, pre { overflow-wrap: anywhere; white-space: pre-wrap } .wide { overflow-x: auto }
"""


def to_html(report: Report, command: str) -> str:
    """One page that needs no other file: verdict, plots of error by layer, a row for each head, dtype and backend."""
    verdict = "equal" if report.equal else "different"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Parity: {verdict}</title><style>{_STYLE}</style>",
        f"<h1 class={verdict}>{html.escape(verdict_line(report))}</h1>",
        f"<p><code>{html.escape(command)}</code></p>",
        f"<pre>{html.escape(chr(10).join(details(report)))}</pre>",
    ]
    for checkpoint, cases in report.by_checkpoint().items():
        compared = [case for case in cases if case.dtype]
        parts.append(
            f"<h2>{html.escape(checkpoint)}</h2><p>{'<br>'.join(_facts(cases))}</p>{_plot(compared)}"
        )
        parts.append("<div class=wide><table>")
        parts.append(_row("th", ["head", "dtype", "backend", *QUANTITIES, "worst place"]))
        for case in compared:
            errors = [number(case.error(what)) for what in QUANTITIES]
            worst = f"{case.worst.place.name}: {case.worst.excess:.0%} of what is allowed"
            parts.append(
                _row("td", [case.head, case.dtype, case.backend, *errors, worst], not case.equal)
            )
        parts.append("</table></div>")
    machine = " · ".join(f"{name} {value}" for name, value in environment().items())
    parts += [f"<p>{html.escape(line)}</p>" for line in (*report.notes, *CRITERIA, SCALE, machine)]
    return "\n".join(parts) + "</html>\n"


def plotting() -> Any:
    """Matplotlib.  Raises `ImportError` that says what to install."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(
            f"the page's plots need matplotlib, which cannot be imported ({error}): pip install 'albert-torch[parity]'"
        ) from error
    return matplotlib


def _row(tag: str, cells: Iterable[str], differs: bool = False) -> str:
    row = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr class=differs>{row}</tr>" if differs else f"<tr>{row}</tr>"


def _plot(cases: list[Case]) -> str:
    """An SVG: over the layers the largest difference of a hidden state in any head, and the least allowed."""
    matplotlib = plotting()
    ink = "#123456"  # replaced by the page's own colour of text
    colours = dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), ink
    )
    with matplotlib.rc_context(
        {**colours, "svg.fonttype": "none", "font.size": 9, "grid.alpha": 0.25}
    ):
        dtypes = list(dict.fromkeys(case.dtype for case in cases))
        backends = list(dict.fromkeys(case.backend for case in cases))
        figure = matplotlib.figure.Figure(figsize=(3.6 * len(dtypes), 2.8), layout="constrained")
        for axes, dtype in zip(
            figure.subplots(1, len(dtypes), squeeze=False)[0], dtypes, strict=True
        ):
            allowed: dict[int, float] = {}
            for style, backend in zip(("o-", "s--", "^:"), backends, strict=False):
                errors: dict[int, float] = {}
                for case in (
                    case for case in cases if (case.dtype, case.backend) == (dtype, backend)
                ):
                    for layer, one in enumerate(_hidden(case)):
                        errors[layer] = max(one.error, errors.get(layer, 0.0))
                        allowed[layer] = min(one.tolerance, allowed.get(layer, math.inf))
                floor = 1e-7 * min(allowed.values(), default=1.0)  # where a 0 is drawn
                drawn = [max(error, floor) for error in errors.values()]
                axes.plot(list(errors), drawn, style, label=backend, markersize=3.5, linewidth=1.2)
            axes.plot(
                list(allowed), list(allowed.values()), color="#d1242f", linewidth=1, label="allowed"
            )
            axes.set(yscale="log", xlabel="layer", title=dtype)
            axes.grid(True)
        axes.legend(fontsize=8, framealpha=0)
        figure.supylabel("largest difference (0: at the bottom)", fontsize=9)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawing = stream.getvalue()
    drawing = re.sub(
        r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.DOTALL
    )
    return re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawing).replace(
        ink, "currentColor"
    )  # a page needs no namespaces
