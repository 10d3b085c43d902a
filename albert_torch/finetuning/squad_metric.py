"""SQuAD's official metrics (Rajpurkar et al. 2016, 2018): exact match, F1, and the best threshold for "no answer"."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower case, without punctuation, articles and extra spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(predicted: str, right: str) -> float:
    """1 when the two are equal once normalized."""
    return float(normalize(predicted) == normalize(right))


def f1(predicted: str, right: str, v2: bool = True) -> float:
    """F1 over the words of both. When either has none: v2 asks whether both have none, v1.1 gives 0."""
    ours, theirs = normalize(predicted).split(), normalize(right).split()
    if not ours or not theirs:
        return float(v2 and ours == theirs)
    hits = (Counter(ours) & Counter(theirs)).total()
    return 2 * hits / (len(ours) + len(theirs))


def squad(
    predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]], v2: bool = False
) -> dict[str, float]:
    """`exact` and `f1` in percent: by question id, the predicted text ("" for none) and the right ones.

    `v2`: a question without a right text has no answer; the metrics of both kinds of question come too.
    A question without a prediction counts as wrong.
    """
    scores = {name: _scores(name, predictions, answers, v2) for name in ("exact", "f1")}
    kinds = {"": list(answers)}
    if v2:
        kinds |= {
            "HasAns_": [k for k in answers if answers[k]],
            "NoAns_": [k for k in answers if not answers[k]],
        }
    return {
        kind + name: 100 * sum(by_key.get(key, 0.0) for key in keys) / len(keys)
        for kind, keys in kinds.items()
        for name, by_key in scores.items()
        if keys
    }


def _scores(
    name: str, texts: Mapping[str, str], answers: Mapping[str, Sequence[str]], v2: bool
) -> dict[str, float]:
    """For each question with a prediction, the best score over its right texts."""
    found = {}
    for key, right in answers.items():
        if key in texts:
            golds = [text for text in right if normalize(text)] or [""] if v2 else right
            found[key] = max(
                exact(texts[key], g) if name == "exact" else f1(texts[key], g, v2) for g in golds
            )
    return found


def best_threshold(
    texts: Mapping[str, str], answers: Mapping[str, Sequence[str]], no_answer: Mapping[str, float]
) -> dict[str, float]:
    """`best_exact` and `best_f1` over all thresholds: above one, a question's answer is "none".

    `texts`: the best text of each question, whatever its score for "no answer".
    """
    found: dict[str, float] = {}
    for name in ("exact", "f1"):
        scores = _scores(name, texts, answers, True)
        running = best = float(
            sum(not right for right in answers.values())
        )  # a threshold below all: "none" everywhere
        threshold = 0.0
        for key in sorted(no_answer, key=no_answer.__getitem__):
            if key in scores:
                running += scores[key] if answers[key] else -bool(texts[key])
            if running > best:
                best, threshold = running, no_answer[key]
        found |= {f"best_{name}": 100 * best / len(answers), f"best_{name}_threshold": threshold}
    return found
