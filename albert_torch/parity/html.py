"""The result of a parity check as one HTML page: the verdict first, then plots and tables.

The page needs no other file and no network, follows the light or dark mode of the browser, and
turns the rows of its tables into cards on narrow screens.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from albert_torch.parity.compare import CATEGORIES
from albert_torch.parity.environment import environment
from albert_torch.parity.plots import COLOURS, plot_hidden_states
from albert_torch.parity.report import (
    CRITERIA,
    Case,
    Report,
    details,
    facts,
    format_excess,
    format_number,
    merge_backends,
)

_STYLE = """
* { box-sizing: border-box }
body { margin: 0; background: var(--background); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1, h2, p, li, code, dd, figcaption { overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.3; margin: .2rem 0 1rem; padding: .6rem 1rem;
  border-left: .4rem solid; background: var(--panel) }
h1.equal, .equal .verdict { color: var(--good) }
h1.differs, .differs .verdict { color: var(--bad) }
.verdict { font-weight: 600 }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; padding-top: .8rem;
  border-top: 1px solid var(--border) }
code { font-size: .9em }
.about, figcaption, dt { color: var(--muted) }
ul { padding-left: 1.2rem; margin: .4rem 0 }
figure { margin: 1rem 0 }
figcaption { font-size: .9rem }
.plots { display: grid; gap: .5rem; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)) }
.plots svg { display: block; width: 100%; height: auto; max-width: 34rem }
details { margin: .8rem 0 } summary { cursor: pointer; color: var(--series-1) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--border); text-align: left;
  white-space: nowrap }
th { color: var(--muted) }
td.worst { white-space: normal; overflow-wrap: anywhere }
.number { text-align: right }
.differs .key { color: var(--bad); font-weight: 600 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .4rem 0 }
dd { margin: 0 }
@media (max-width: 48rem) {
  thead { display: none }
  table, tbody { display: block }
  tr { display: grid; grid-template-columns: repeat(6, 1fr); padding: .5rem 0;
    border-bottom: 1px solid var(--border) }
  td { border: 0; padding: .15rem .4rem .15rem 0; grid-column: span 2 }
  td.key { font-weight: 600 }
  td.head { grid-column: span 4 }
  td.hidden { grid-column: 1 / span 2 }
  td.number, td.worst { text-align: left }
  td.number::before, td.worst::before { content: attr(data-label); display: block;
    color: var(--muted); font-size: .8rem }
  td.worst { grid-column: span 4 }
  td.verdict { align-self: end }
}
"""


def to_html(report: Report, command: str) -> str:
    """Return a report as an HTML page.

    Args:
        report: The report.
        command: The command line that made it.

    Raises:
        ImportError: matplotlib, which draws the plots, is not installed.
    """
    sections = [_checkpoint_section(*item) for item in report.by_checkpoint().items()]
    body = "\n".join([_header(report, command), *sections, _footer(report)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Parity: {_verdict_class(report.equal)}</title>\n"
        f"<style>{_colour_variables()}{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def verdict_sentence(report: Report) -> str:
    """Say in one sentence whether the two libraries compute the same numbers."""
    total, differing = report.count()
    if differing:
        return (
            f"albert_torch differs from transformers: {differing:,} of {total:,} measurements "
            "are beyond their tolerance."
        )
    return (
        "albert_torch computes the same numbers as transformers: all "
        f"{total:,} measurements are within their tolerance."
    )


def _colour_variables() -> str:
    light, dark = (
        "; ".join(f"--{name}: {value}" for name, value in COLOURS[scheme].items())
        for scheme in ("light", "dark")
    )
    return (
        f"\n:root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    )


def _header(report: Report, command: str) -> str:
    versions = environment()
    about = (
        f"Checked on {report.date:%Y-%m-%d} at {report.date:%H:%M} UTC in "
        f"{report.seconds:.0f} seconds, albert_torch {versions['albert-torch']} against "
        f"transformers {versions['transformers']}, torch {versions['torch']}."
    )
    return "\n".join(
        [
            '<p class="about">Parity check</p>',
            f'<h1 class="{_verdict_class(report.equal)}">'
            f"{html.escape(verdict_sentence(report))}</h1>",
            f'<p class="about">{html.escape(about)}</p>',
            f"<p><code>{html.escape(command)}</code></p>",
            _list(details(report)),
        ]
    )


def _checkpoint_section(checkpoint: str, cases: list[Case]) -> str:
    compared = [case for case in cases if case.dtype]
    parts = [f"<section>\n<h2>{html.escape(checkpoint)}</h2>", _list(facts(cases))]
    if compared:
        parts += [
            plot_hidden_states(checkpoint, compared),
            _table(merge_backends(compared), ["head", "dtype"]),
            "<details><summary>Each backend separately</summary>",
            _table(compared, ["head", "dtype", "backend"]),
            "</details>",
        ]
    return "\n".join([*parts, "</section>"])


def _footer(report: Report) -> str:
    versions = "\n".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"
        for name, value in environment().items()
    )
    return (
        f"<h2>What was compared</h2>\n{_list([*report.notes, *CRITERIA])}\n"
        f"<h2>Versions and machine</h2>\n<dl>\n{versions}\n</dl>"
    )


def _table(cases: Sequence[Case], keys: Sequence[str]) -> str:
    """Return a table with the largest difference of each case in each category."""
    titles = [
        *(f'<th scope="col">{key}</th>' for key in keys),
        *(f'<th scope="col" class="number">{category}</th>' for category in CATEGORIES),
        '<th scope="col">closest to its tolerance</th>',
        '<th scope="col">verdict</th>',
    ]
    rows = []
    for case in cases:
        worst = f"{case.worst.quantity.name}: {format_excess(case.worst.excess)}"
        verdict = _verdict_class(case.equal)
        cells = [
            *(f'<td class="key {key}">{html.escape(getattr(case, key))}</td>' for key in keys),
            *(
                f'<td class="number {category}" data-label="{category}">'
                f"{format_number(case.error(category))}</td>"
                for category in CATEGORIES
            ),
            f'<td class="worst" data-label="closest to its tolerance">{html.escape(worst)}</td>',
            f'<td class="verdict">{verdict}</td>',
        ]
        rows.append(f'<tr class="{verdict}">{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table>\n<thead><tr>{"".join(titles)}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody>\n</table></div>"
    )


def _list(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items: list[str] = []
    for line in lines:
        if line.startswith("  ") and items:  # belongs to the line before
            items[-1] += f"<br>{html.escape(line.strip())}"
        else:
            items.append(html.escape(line))
    return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"


def _verdict_class(equal: bool) -> str:
    return "equal" if equal else "differs"
