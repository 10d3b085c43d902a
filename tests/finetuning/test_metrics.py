"""The metrics equal those of scikit-learn, SciPy and seqeval, on data drawn at random."""

import random

import pytest
import torch

from albert_torch.finetuning import metrics


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_equal_scikit_learns(seed: int) -> None:
    """Kills: precision for recall, F1 of the wrong class, a correlation that divides by n - 1."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = random.Random(seed)
    predicted, labels = ([int(rng.random() < p) for _ in range(50)] for p in (0.3, 0.6))
    assert metrics.accuracy(predicted, labels) == pytest.approx(
        100 * sklearn.accuracy_score(labels, predicted)
    )
    assert metrics.binary_f1(predicted, labels) == pytest.approx(
        100 * sklearn.f1_score(labels, predicted)
    )
    assert metrics.matthews(predicted, labels) == pytest.approx(
        100 * sklearn.matthews_corrcoef(labels, predicted)
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
    rng = random.Random(7)

    def tags() -> list[str]:
        tag_prefixes = [rng.choice(prefixes) for _ in range(rng.randint(1, 12))]
        return [
            "O" if prefix == "O" else f"{prefix}-{rng.choice('XYZ')}" for prefix in tag_prefixes
        ]

    labels = [tags() for _ in range(200)]
    predicted = [[tag if rng.random() < 0.6 else rng.choice(row) for tag in row] for row in labels]
    scores = metrics.entity_f1(predicted, labels)
    assert scores["precision"] == pytest.approx(100 * seqeval.precision_score(labels, predicted))
    assert scores["recall"] == pytest.approx(100 * seqeval.recall_score(labels, predicted))
    assert scores["f1"] == pytest.approx(100 * seqeval.f1_score(labels, predicted))
