"""Answers as spans: from characters of a text to tokens of a window, and back from scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from albert_torch.finetuning.tasks.formats.squad import SquadQuestion

MAX_ANSWER_TOKENS = 30
NUM_CANDIDATES = 20  # the best starts and the best ends, which are paired

AnswerSpan = tuple[int, int]
"""The first character of a token or answer in the text, and the one behind its last."""


@dataclass
class Window:
    """The part of a text that one example holds.

    Attributes:
        question: The index of the question.
        offsets: For each token of the example its span in the text, or None if it is not a token of
            the text.
    """

    question: int
    offsets: list[AnswerSpan | None]


def answer_tokens(question: SquadQuestion, window: Window) -> AnswerSpan:
    """Return the first and last token of a question's first answer.

    Both are 0, the [CLS] token, if the question has no answer or the window does not hold all of
    it.
    """
    if not question.answers:
        return 0, 0
    text, start = question.answers[0]
    end = start + len(text.rstrip())
    overlapping = [
        (token, span)
        for token, span in enumerate(window.offsets)
        if span is not None and span[0] < end and span[1] > start
    ]
    if not overlapping:
        return 0, 0
    (first_token, first_span), (last_token, last_span) = overlapping[0], overlapping[-1]
    if first_span[0] <= start and last_span[1] >= end:
        return first_token, last_token
    return 0, 0


def best_span(
    start: Tensor, end: Tensor, offsets: Sequence[AnswerSpan | None]
) -> tuple[float, AnswerSpan | None]:
    """Return the score of the best span of a window, and its place in the text.

    The score is the sum of the scores of the first and the last token. The best `NUM_CANDIDATES`
    starts and ends are paired; a span has at most `MAX_ANSWER_TOKENS` tokens.

    Args:
        start: The score of each token as the first one, (T,).
        end: The score of each token as the last one, (T,).
        offsets: The span of each token in the text, None for tokens that are not of the text.

    Returns:
        The score and the span in characters; minus infinity and None if there is no span.
    """
    no_span = (-float("inf"), None)
    in_text = torch.tensor([span is not None for span in offsets])
    if not in_text.any():
        return no_span
    count = min(NUM_CANDIDATES, int(in_text.sum()))
    starts = start.masked_fill(~in_text, -torch.inf).topk(count).indices  # (count,)
    ends = end.masked_fill(~in_text, -torch.inf).topk(count).indices  # (count,)
    lengths = ends[None] - starts[:, None] + 1  # (count, count)
    scores = start[starts][:, None] + end[ends][None]
    scores = scores.masked_fill((lengths < 1) | (lengths > MAX_ANSWER_TOKENS), -torch.inf)
    best = int(scores.argmax())
    first, last = offsets[int(starts[best // count])], offsets[int(ends[best % count])]
    score = float(scores.flatten()[best])
    if first is None or last is None or not math.isfinite(score):
        return no_span
    return score, (first[0], last[1])
