"""Lines -> sentences: where an English sentence ends, and how lines are grouped into sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

# A possible end of a sentence: one or more of . ! ? and the ellipsis (not preceded by another
# one, so that a run of them is looked at once), then closing quotation marks and brackets, then
# white space. It must be followed by a word, perhaps after opening quotation marks or brackets;
# group 1 is the word's first character.
_SENTENCE_END = re.compile(
    r"""(?<![.!?…])[.!?…]+["'”’)\]]*\s+(?=["'“‘(\[]*(\w))""",
)
# Abbreviations that are followed by a name or a number, not by a new sentence.
_ABBREVIATIONS = frozenset(
    {
        *("Mr", "Mrs", "Ms", "Messrs", "Mme", "Mlle", "Dr", "St", "Prof", "Rev", "Hon"),
        *("Gen", "Col", "Capt", "Lt", "Sgt", "Sen", "Rep", "Gov", "vs", "cf", "Fig", "Vol", "pp"),
    }
)
# Initials such as J. or U.S, but not a lone "I": "So do I. Then ..." has two sentences.
_INITIALS = re.compile(r"(?!I$)([A-Za-z]\.)*[A-Za-z]")
# At most this many characters before a full stop are searched for an abbreviation, so that a
# paragraph without spaces takes no more time than another one.
_MAX_WORD_CHARACTERS = 64


def split_sentences(paragraph: str) -> Iterator[str]:
    """Cut a paragraph into its sentences, by rules for English.

    A sentence ends after . ! ? and the quotation marks and brackets that close with them, if a
    space and anything but a small letter follows. It does not end after an abbreviation that is
    followed by a name (Mr. Mrs. Dr. St. ...) or after initials.
    """
    start = 0
    for match in _SENTENCE_END.finditer(paragraph):
        next_character = match[1]
        if next_character.islower() or _is_abbreviation(paragraph, start, match):
            continue
        yield paragraph[start : match.end()].rstrip()
        start = match.end()
    yield paragraph[start:]


def _is_abbreviation(paragraph: str, start: int, match: re.Match[str]) -> bool:
    """Whether the full stop of `match`, in a sentence from `start` on, is part of a word."""
    if match[0][0] != ".":
        return False
    first = max(start, match.start() - _MAX_WORD_CHARACTERS)
    last_word = paragraph[first : match.start()].split(" ")[-1].lstrip("\"'“‘([")
    return last_word in _ABBREVIATIONS or _INITIALS.fullmatch(last_word) is not None


def sentences_of_lines(lines: Iterable[str], blank_line_ends: bool) -> Iterator[str | None]:
    """Yield every line as a sentence, and None at the end of each document.

    Args:
        lines: The lines of one file or record.
        blank_line_ends: Whether a blank line ends a document, or only the last line.
    """
    document_has_text = False
    for line in lines:
        sentence = line.strip()
        if sentence:
            yield sentence
            document_has_text = True
        elif document_has_text and blank_line_ends:
            yield None
            document_has_text = False
    if document_has_text:
        yield None


def sentences_of_paragraphs(
    lines: Iterable[str], blank_line_ends: bool, max_characters: int
) -> Iterator[str | None]:
    """Join the lines of each paragraph and yield its sentences, and None after each document.

    Args:
        lines: The lines of one file or record. A blank line ends a paragraph.
        blank_line_ends: Whether a blank line ends a document too, or only the last line.
        max_characters: A longer paragraph is cut at the end of a line.
    """
    paragraph: list[str] = []
    size = 0
    document_has_text = False
    for line in chain(lines, [""]):  # a blank line at the end finishes the last paragraph
        line = line.strip()
        if line:
            paragraph.append(line)
            size += len(line)
            document_has_text = True
        if paragraph and (not line or size > max_characters):
            yield from split_sentences(" ".join(paragraph))
            paragraph, size = [], 0
        if not line and document_has_text and blank_line_ends:
            yield None
            document_has_text = False
    if document_has_text:
        yield None
