"""The report as a page: it is complete, needs no other file, and can be read by everyone."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.parity_reports import with_difference

from albert_torch.parity import check
from albert_torch.parity.html import to_html, verdict_sentence
from albert_torch.parity.plots import COLOURS
from albert_torch.parity.report import Report


@pytest.fixture(scope="module")
def report(checkpoints: dict[str, Path]) -> Report:
    """The report on the question-answering checkpoint; do not change it."""
    return check(checkpoints["QuestionAnswering"])


class Outline(HTMLParser):
    """The tags, classes and ids of a page, and whether its tags are closed in order."""

    VOID = ("meta", "path", "use")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(report: Report) -> None:
    """Catches: a page that loads something, a command that injects HTML, an unclosed element."""
    page = to_html(report, "albert-torch parity <dir>")
    assert not re.search(r"https?:|//|@import|<script|<link|src=", page)
    assert "&lt;dir&gt;" in page
    outline = Outline(page)
    assert outline.open == []
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_is_complete(report: Report) -> None:
    """Catches: a case without a row, a missing plot, a verdict that does not come first."""
    page = to_html(report, "the command")
    tags = [tag for tag, _ in Outline(page).tags]
    assert tags.count("svg") == 3, "one plot for each dtype"
    assert tags.count("tr") == (1 + 2 * 3) + (1 + 2 * 3 * 3), "heads x dtypes (x backends)"
    assert page.index("computes the same numbers") < page.index("<svg") < page.index("<table")
    for text in (f"{report.date:%Y-%m-%d}", "transformers", "the command", *report.notes):
        assert text in page
    different = with_difference(report)
    page = to_html(different, "")
    assert '<h1 class="differs">albert_torch differs from transformers: 1 of ' in page
    assert page.count('<tr class="differs">') == 2


def test_the_verdict_is_one_sentence(report: Report) -> None:
    """Catches: a reader who has to know what "EQUAL: 714 measurements" means."""
    total, _ = report.count()
    assert verdict_sentence(report) == (
        f"albert_torch computes the same numbers as transformers: all {total:,} measurements are "
        "within their tolerance."
    )


def test_the_page_fits_a_phone(report: Report) -> None:
    """Catches: a page that a phone renders at desktop width, or plots of a fixed size."""
    page = to_html(report, "")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    for tag, attributes in Outline(page).tags:
        if tag == "svg":
            assert "width" not in attributes
            assert "viewbox" in attributes


def luminance(colour: str) -> float:
    """The relative luminance of "#rrggbb", as WCAG 2 defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(scheme: str) -> None:
    """Catches: text or lines of a plot that cannot be read in one of the two modes."""
    colours = COLOURS[scheme]
    text = [name for name in colours if name not in ("background", "panel", "border")]
    for name, behind in itertools.product(text, ("background", "panel")):
        darker, lighter = sorted([luminance(colours[name]), luminance(colours[behind])])
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{name} on {behind}"


def test_the_plots_follow_the_mode(report: Report) -> None:
    """Catches: a colour of the light mode that stays in the dark mode."""
    page = to_html(report, "")
    drawings = page[page.index("<svg") : page.rindex("</svg>")]
    assert "var(--text)" in drawings
    assert not any(colour in drawings for colour in COLOURS["light"].values())
