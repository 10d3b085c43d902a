"""SQuAD's metrics equal a second implementation, written from the official scripts' description."""

import random
import re
import string
from collections import Counter

import pytest

from albert_torch.finetuning.squad_metric import best_threshold, squad


def words_of(text: str) -> list[str]:
    kept = "".join(
        character for character in text.lower() if character not in set(string.punctuation)
    )
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def overlap(predicted: list[str], right: list[str]) -> float:
    common = sum(min(count, Counter(right)[word]) for word, count in Counter(predicted).items())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(right)
    return 2 * precision * recall / (precision + recall)


def reference(
    predictions: dict[str, str], answers: dict[str, list[str]], v2: bool
) -> dict[str, tuple[float, float]]:
    found = {}
    for key, right in answers.items():
        targets = ([text for text in right if words_of(text)] or [""]) if v2 else right
        pairs = [(words_of(predictions[key]), words_of(target)) for target in targets]
        empty = [
            float(not a and not b) if v2 and not (a and b) else overlap(a, b) for a, b in pairs
        ]
        found[key] = (max(float(a == b) for a, b in pairs), max(empty))
    return found


def draw_questions(
    rng: random.Random, v2: bool
) -> tuple[dict[str, str], dict[str, list[str]], dict[str, float]]:
    """Predictions, right answers and scores for "no answer" of a few questions."""
    words = ["The", "the", "a", "an", "cat", "Cat.", "dog", "U.S.", "1,000", "run-down", "'s"]
    words += ["ümlaut", "--", "anthem"]

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, 4)))

    answers = {
        f"q{i}": [text() for _ in range(rng.randint(0 if v2 else 1, 3))]
        for i in range(rng.randint(1, 8))
    }
    predictions = {}
    for key, right in answers.items():
        near = rng.choice(right) if right and rng.random() < 0.5 else text()
        predictions[key] = "" if v2 and rng.random() < 0.2 else near
    return predictions, answers, {key: rng.uniform(-2, 2) for key in answers}


@pytest.mark.parametrize("v2", [False, True])
def test_squad_equals_an_independent_implementation(v2: bool) -> None:
    """Kills: a mean over answers, articles inside words removed, empty answers of v1.1 scored as
    those of v2.0.
    """
    rng = random.Random(3)
    for _ in range(1000):
        predictions, answers, odds = draw_questions(rng, v2)
        right = reference(predictions, answers, v2)
        groups = {"": list(answers)}
        if v2:
            groups |= {
                "HasAns_": [k for k in answers if answers[k]],
                "NoAns_": [k for k in answers if not answers[k]],
            }
        want = {}
        for prefix, keys in groups.items():
            for i, name in enumerate(("exact", "f1")):
                if keys:
                    want[prefix + name] = 100 * sum(right[key][i] for key in keys) / len(keys)
        assert squad(predictions, answers, v2) == pytest.approx(want)
        if v2:
            found = best_threshold(predictions, answers, odds)
            for i, name in enumerate(("exact", "f1")):
                # -9 is below all scores: no question is predicted to have an answer
                means = [
                    mean_at_threshold(threshold, i, predictions, answers, odds)
                    for threshold in (-9.0, *odds.values())
                ]
                assert found[f"best_{name}"] == pytest.approx(max(means))


def mean_at_threshold(
    threshold: float,
    metric: int,
    predictions: dict[str, str],
    answers: dict[str, list[str]],
    odds: dict[str, float],
) -> float:
    """The mean of a metric, in percent, when questions above a threshold have no answer."""
    right = reference(predictions, answers, v2=True)
    answered = {key for key in odds if odds[key] <= threshold}
    total = sum(right[key][metric] for key in answered if answers[key])
    total += sum(not (key in answered and predictions[key]) for key in answers if not answers[key])
    return 100 * total / len(answers)


def test_a_question_without_a_prediction_counts_as_wrong() -> None:
    """Kills: a mean over the questions that were answered."""
    assert squad({"a": "x"}, {"a": ["x"], "b": ["y"]}) == {"exact": 50.0, "f1": 50.0}
