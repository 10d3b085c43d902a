"""Where English sentences end, and how lines become sentences and documents."""

import json
import subprocess
import sys

import pytest

from albert_torch.pretraining.sentence_splitting import (
    sentences_of_lines,
    sentences_of_paragraphs,
    split_sentences,
)


@pytest.mark.parametrize(
    "text",
    [
        "He came.|She went!|Why?|No.",
        'He said "Go."|Then "Stop!"|"Why?"|(Nobody knew.)|[None.]',
        "“Oh!” he said.|‘Well.’|Fine.",
        "Mr. and Mrs. Hill, Dr. Oz and St. Paul (Prof. Moriarty) met Gen. Lee.|They left.",
        "J. R. R. Tolkien of the U.S. Army, e.g. Him.|So did I.|Then we left.",
        "It cost 3.5 pounds.|Really...|Then 5.|7 more.|wait. no",
        "no end",
        "Ends here.",
        "École.|Étude ... petit.|Ça va?!|Oui",
    ],
)
def test_sentences_end_where_english_ones_do(text: str) -> None:
    """Catches: a cut after a title, initials or a decimal point, a quotation mark left behind."""
    expected = text.replace("|wait", " wait").split("|")
    assert list(split_sentences(text.replace("|", " "))) == expected


def test_splitting_takes_linear_time() -> None:
    """Catches: a search that starts again at every full stop, or looks back to the last cut."""
    n = 2**16
    sentence_counts = {
        "." * n: 1,
        "a. " * n: 1,
        "word. " * n: 1,
        "Why?! " * n: n,
        "a. " * n + "No. 5": 2,
        "." + " " * n + "(": 1,
        "x" * n + ". The end": 2,
        ". " * n + "(" * n: 1,
        '."' * n: 1,
    }
    code = """
import json, sys
from albert_torch.pretraining.sentence_splitting import split_sentences
print(json.dumps([list(split_sentences(text)) for text in json.load(sys.stdin)]))
"""
    process = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(list(sentence_counts)),
        capture_output=True,
        text=True,
        timeout=60,  # it takes a second; quadratic time would be minutes
    )
    results = json.loads(process.stdout)
    for (text, count), sentences in zip(sentence_counts.items(), results, strict=True):
        assert (len(sentences), " ".join(sentences)) == (count, text), text[:9]


def test_blank_lines_end_documents_or_only_paragraphs() -> None:
    """Catches: an empty document, a document that a blank line ends although it should not."""
    lines = ["", "One.", "Two", "", "", "three. Four.", ""]
    assert list(sentences_of_lines(lines, True)) == ["One.", "Two", None, "three. Four.", None]
    assert list(sentences_of_lines(lines, False)) == ["One.", "Two", "three. Four.", None]
    joined = ["One.", "Two", None, "three.", "Four.", None]
    assert list(sentences_of_paragraphs(lines, True, 100)) == joined
    one_document = [*joined[:2], *joined[3:]]
    assert list(sentences_of_paragraphs(lines, False, 100)) == one_document


def test_long_paragraphs_are_cut_at_line_ends() -> None:
    """Catches: a paragraph that is held as a whole, however long it is."""
    lines = ["no end", "here"] * 3
    sentences = list(sentences_of_paragraphs(lines, True, 12))
    assert sentences == ["no end here no end", "here no end here", None]
