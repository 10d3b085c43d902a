"""Removal of the spaces that decoding leaves before punctuation."""

from __future__ import annotations

# In the order in which they are replaced.
_REPLACEMENTS = {
    " .": ".",
    " ?": "?",
    " !": "!",
    " ,": ",",
    " n't": "n't",
    " 'm": "'m",
    " 's": "'s",
    " 've": "'ve",
    " 're": "'re",
    " ' ": "'",
}


def clean_up_spaces(text: str) -> str:
    """Remove spaces before punctuation and English contractions, as transformers does."""
    for with_space, replacement in _REPLACEMENTS.items():
        text = text.replace(with_space, replacement)
    return text
