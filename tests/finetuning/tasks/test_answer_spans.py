"""Answers as spans of tokens, found from scores."""

import pytest
import torch

from albert_torch.finetuning.tasks.answer_spans import best_span


@pytest.mark.parametrize("tokens", [3, 18, 60])
def test_the_best_span_is_the_best_of_all(tokens: int) -> None:
    """Kills: an end before its start, an answer of more than 30 tokens, one in the question."""
    slope = torch.linspace(-2, 2, tokens)
    for seed in range(50):
        torch.manual_seed(seed)
        start, end = torch.randn(2, tokens) + torch.stack(
            [-slope, slope]
        )  # the best starts are far from the best ends
        pairs = [(i, j) for i in range(1, tokens) for j in range(i, min(tokens, i + 30))]
        spans = {float(start[i] + end[j]): (3 * i, 3 * j + 2) for i, j in pairs}
        score, place = best_span(
            start, end, [None, *[(3 * i, 3 * i + 2) for i in range(1, tokens)]]
        )
        if tokens <= 20:  # as many as there are candidates
            assert score == max(spans)
        assert place is None or spans[score] == place
