"""The metrics equal those of scikit-learn, SciPy, seqeval and SQuAD's scripts, on data drawn at random."""

import random
import re
import string
from collections import Counter

import pytest
import torch

from albert_torch.finetuning import metrics
from albert_torch.finetuning.squad_metric import best_threshold, squad


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_equal_scikit_learns(seed: int) -> None:
    """Kills: precision for recall, F1 of the wrong class, a correlation that divides by n - 1."""
    sklearn = pytest.importorskip("sklearn.metrics")
    draw = random.Random(seed)
    ours, right = ([int(draw.random() < p) for _ in range(50)] for p in (0.3, 0.6))
    assert metrics.accuracy(ours, right) == pytest.approx(100 * sklearn.accuracy_score(right, ours))
    assert metrics.f1(ours, right) == pytest.approx(100 * sklearn.f1_score(right, ours))
    assert metrics.matthews(ours, right) == pytest.approx(
        100 * sklearn.matthews_corrcoef(right, ours)
    )
    a, b = torch.randint(2, (9, 4)).float(), torch.randint(2, (9, 4)).float()
    assert metrics.multi_label_f1(a, b) == pytest.approx(
        100 * sklearn.f1_score(b, a, average="micro")
    )
    assert metrics.matthews([1, 1], [0, 1]) == 0


def test_correlations_equal_scipys() -> None:
    """Kills: ranks that count from the other end, ties that keep their order."""
    stats = pytest.importorskip("scipy.stats")
    for seed in range(5):
        torch.manual_seed(seed)
        a, b = torch.randint(6, (40,)).double(), torch.randn(40).double()
        assert metrics.pearson(a, b) == pytest.approx(100 * stats.pearsonr(a, b)[0])
        assert metrics.spearman(a, b) == pytest.approx(100 * stats.spearmanr(a, b)[0])
    assert metrics.pearson(torch.ones(3), torch.randn(3)) == 0


@pytest.mark.parametrize("prefixes", ["IO", "BIO", "BIOES"])
def test_entities_equal_seqevals(prefixes: str) -> None:
    """Kills: two entities that touch read as one, an I after another type that starts nothing."""
    seqeval = pytest.importorskip("seqeval.metrics")
    draw = random.Random(7)

    def tags() -> list[str]:
        kinds = [draw.choice(prefixes) for _ in range(draw.randint(1, 12))]
        return ["O" if kind == "O" else f"{kind}-{draw.choice('XYZ')}" for kind in kinds]

    right = [tags() for _ in range(200)]
    ours = [[tag if draw.random() < 0.6 else draw.choice(row) for tag in row] for row in right]
    found = metrics.entity_f1(ours, right)
    assert found["precision"] == pytest.approx(100 * seqeval.precision_score(right, ours))
    assert found["recall"] == pytest.approx(100 * seqeval.recall_score(right, ours))
    assert found["f1"] == pytest.approx(100 * seqeval.f1_score(right, ours))


# ---- SQuAD, written again from the description of the official scripts ----


def plain(text: str) -> list[str]:
    kept = "".join(
        character for character in text.lower() if character not in set(string.punctuation)
    )
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def overlap(ours: list[str], right: list[str]) -> float:
    common = sum(min(count, Counter(right)[word]) for word, count in Counter(ours).items())
    if not common:
        return 0.0
    precision, recall = common / len(ours), common / len(right)
    return 2 * precision * recall / (precision + recall)


def reference(
    predictions: dict[str, str], answers: dict[str, list[str]], v2: bool
) -> dict[str, tuple[float, float]]:
    found = {}
    for key, right in answers.items():
        golds = ([text for text in right if plain(text)] or [""]) if v2 else right
        pairs = [(plain(predictions[key]), plain(gold)) for gold in golds]
        empty = [
            float(not a and not b) if v2 and not (a and b) else overlap(a, b) for a, b in pairs
        ]
        found[key] = (max(float(a == b) for a, b in pairs), max(empty))
    return found


def drawn(
    draw: random.Random, v2: bool
) -> tuple[dict[str, str], dict[str, list[str]], dict[str, float]]:
    """Predictions, right answers and scores for "no answer" of a few questions."""
    words = [
        "The",
        "the",
        "a",
        "an",
        "cat",
        "Cat.",
        "dog",
        "U.S.",
        "1,000",
        "run-down",
        "'s",
        "ümlaut",
        "--",
        "anthem",
    ]

    def text() -> str:
        return " ".join(draw.choices(words, k=draw.randint(1, 4)))

    answers = {
        f"q{i}": [text() for _ in range(draw.randint(0 if v2 else 1, 3))]
        for i in range(draw.randint(1, 8))
    }
    predictions = {}
    for key, right in answers.items():
        near = draw.choice(right) if right and draw.random() < 0.5 else text()
        predictions[key] = "" if v2 and draw.random() < 0.2 else near
    return predictions, answers, {key: draw.uniform(-2, 2) for key in answers}


@pytest.mark.parametrize("v2", [False, True])
def test_squad_equals_an_independent_implementation(v2: bool) -> None:
    """Kills: a mean over answers, articles inside words removed, empty answers of v1.1 scored as those of v2.0."""
    draw = random.Random(3)
    for _ in range(1000):
        predictions, answers, odds = drawn(draw, v2)
        right = reference(predictions, answers, v2)
        kinds = {"": list(answers)}
        if v2:
            kinds |= {
                "HasAns_": [k for k in answers if answers[k]],
                "NoAns_": [k for k in answers if not answers[k]],
            }
        want = {}
        for kind, keys in kinds.items():
            for i, name in enumerate(("exact", "f1")):
                if keys:
                    want[kind + name] = 100 * sum(right[key][i] for key in keys) / len(keys)
        assert squad(predictions, answers, v2) == pytest.approx(want)
        if v2:  # every threshold tried, and the lowest: everything is "none"
            found = best_threshold(predictions, answers, odds)
            for i, name in enumerate(("exact", "f1")):
                tried = []
                for limit in (-9.0, *odds.values()):
                    said = {key for key in odds if odds[key] <= limit}
                    hits = sum(right[key][i] for key in said if answers[key])
                    hits += sum(
                        not (key in said and predictions[key]) for key in odds if not answers[key]
                    )
                    tried.append(100 * hits / len(answers))
                assert found[f"best_{name}"] == pytest.approx(max(tried))


def test_a_question_without_a_prediction_counts_as_wrong() -> None:
    """Kills: a mean over the questions that were answered."""
    assert squad({"a": "x"}, {"a": ["x"], "b": ["y"]}) == {"exact": 50.0, "f1": 50.0}
