"""SQuAD's metrics (Rajpurkar et al. 2016, 2018): exact match, F1, and the threshold of "no answer".

The numbers are those of the official evaluation scripts, evaluate-v1.1.py and evaluate-v2.0.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Return a text in lower case, without punctuation, articles and superfluous spaces."""
    words = _ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split()
    return " ".join(words)


def exact_match(predicted: str, right: str) -> float:
    """Return 1 if two normalized texts are equal, otherwise 0."""
    return float(normalize_answer(predicted) == normalize_answer(right))


def word_f1(predicted: str, right: str, v2: bool = True) -> float:
    """Return the F1 of the words of two normalized texts, from 0 to 1.

    Args:
        predicted: The predicted text.
        right: The right text.
        v2: As the script of version 2.0: two texts without words are equal. That of version 1.1
            returns 0.
    """
    predicted_words = normalize_answer(predicted).split()
    right_words = normalize_answer(right).split()
    if not predicted_words or not right_words:
        return float(v2 and predicted_words == right_words)
    num_common = (Counter(predicted_words) & Counter(right_words)).total()
    return 2 * num_common / (len(predicted_words) + len(right_words))


def squad(
    predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]], v2: bool = False
) -> dict[str, float]:
    """Return the means of exact match and F1 over the questions, in percent.

    Args:
        predictions: The predicted text of each question, by its key; "" for no answer. A question
            without a prediction counts as wrong.
        answers: The right texts of each question, by its key.
        v2: As the script of version 2.0: a question without right texts has no answer.

    Returns:
        `exact` and `f1`; with `v2` also `HasAns_exact`, `HasAns_f1`, `NoAns_exact` and `NoAns_f1`
        over the questions with and without an answer, where there are any.
    """
    scores = {
        "exact": _best_scores(_exact_scorer, predictions, answers, v2),
        "f1": _best_scores(word_f1, predictions, answers, v2),
    }
    groups = {"": list(answers)}
    if v2:
        groups["HasAns_"] = [key for key in answers if answers[key]]
        groups["NoAns_"] = [key for key in answers if not answers[key]]
    return {
        prefix + name: 100 * sum(by_key.get(key, 0.0) for key in keys) / len(keys)
        for prefix, keys in groups.items()
        for name, by_key in scores.items()
        if keys
    }


def best_threshold(
    texts: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    no_answer_scores: Mapping[str, float],
) -> dict[str, float]:
    """Return the best means over all thresholds for "no answer".

    A question whose score of "no answer" is above the threshold is predicted to have none.

    Args:
        texts: The best text for each question, by its key, whatever its score for "no answer" is.
        answers: The right texts of each question. A question without right texts has no answer.
        no_answer_scores: The score of "no answer" for each question.

    Returns:
        `best_exact` and `best_f1` in percent, and the thresholds `best_exact_threshold` and
        `best_f1_threshold`.
    """
    result: dict[str, float] = {}
    for name, scorer in (("exact", _exact_scorer), ("f1", word_f1)):
        scores = _best_scores(scorer, texts, answers, v2=True)
        # Below all scores, no question is predicted to have an answer.
        total = best_total = float(sum(not right for right in answers.values()))
        threshold = 0.0
        for key in sorted(no_answer_scores, key=no_answer_scores.__getitem__):
            if key in scores:  # now this question is predicted to have one
                total += scores[key] if answers[key] else -bool(texts[key])
            if total > best_total:
                best_total, threshold = total, no_answer_scores[key]
        result[f"best_{name}"] = 100 * best_total / len(answers)
        result[f"best_{name}_threshold"] = threshold
    return result


def _exact_scorer(predicted: str, right: str, v2: bool) -> float:
    return exact_match(predicted, right)


def _best_scores(
    scorer: Callable[[str, str, bool], float],
    texts: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    v2: bool,
) -> dict[str, float]:
    """For each question with a prediction, the best score over its right texts."""
    scores = {}
    for key, right in answers.items():
        if key in texts:
            # Version 2.0 ignores right texts without words, and compares with "" if none is left.
            targets = [text for text in right if normalize_answer(text)] or [""] if v2 else right
            scores[key] = max(scorer(texts[key], target, v2) for target in targets)
    return scores
