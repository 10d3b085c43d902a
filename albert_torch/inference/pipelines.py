"""Text in; labels, words or answers out: what the heads compute, on the fast path.

`Encoder` has a method for each of these functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from albert_torch.heads import (
    AlbertForMaskedLM,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
)
from albert_torch.inference.packed_batch import PackedOutput
from albert_torch.inference.text_model import BATCH_TOKENS, Text, TextModel, iter_batches

DEFAULT_STRIDE = 128  # tokens that neighbouring windows of a long context share


class TokenPrediction(NamedTuple):
    """A token for a masked position.

    Attributes:
        token: The token as the vocabulary spells it; "▁" marks the beginning of a word.
        score: Its probability among all tokens.
    """

    token: str
    score: float


class Answer(NamedTuple):
    """The answer to a question: a part of the context, or nothing.

    Attributes:
        text: The answer; "" means that the context does not answer the question.
        start: Index of its first character in the context.
        end: Index after its last character.
        score: Its probability among all answers that were considered.
    """

    text: str
    start: int
    end: int
    score: float


def classify(
    text_model: TextModel, texts: Sequence[Text], *, batch_tokens: int = BATCH_TOKENS
) -> list[dict[str, float]]:
    """Classify texts or pairs of texts.

    Args:
        text_model: A model with a sequence classification head.
        texts: The texts.
        batch_tokens: How many tokens are computed at a time.

    Returns:
        For each text a dict from label to probability, most probable label first. For a regression
        model the value is the number itself.

    Raises:
        ValueError: If the model has another head.
    """
    text_model.require_head(AlbertForSequenceClassification)
    config = text_model.config
    names = config.id2label or {}
    results: list[dict[str, float]] = []
    for window in text_model.tokenize_windows(texts):
        order = sorted(range(len(window)), key=lambda index: len(window[index].input_ids))
        logits: dict[int, Tensor] = {}  # by index in the window
        for batch in iter_batches([len(window[i].input_ids) for i in order], batch_tokens):
            indices = order[batch.start : batch.stop]
            output = text_model.model.packed(
                [window[i].input_ids for i in indices], [window[i].token_type_ids for i in indices]
            )
            logits.update(zip(indices, output["logits"].cpu(), strict=True))
        for index in range(len(window)):
            values = _label_scores(logits[index], config.problem_type)
            best_first = values.argsort(descending=True).tolist()
            results.append(
                {names.get(label, f"LABEL_{label}"): float(values[label]) for label in best_first}
            )
    return results


def _label_scores(logits: Tensor, problem_type: str | None) -> Tensor:
    """Logits (num_labels,) -> probabilities, or numbers for a regression model."""
    if problem_type == "regression" or len(logits) == 1:
        return logits
    if problem_type == "multi_label_classification":
        return logits.sigmoid()
    return logits.softmax(dim=-1)


def fill_mask(text_model: TextModel, text: Text, top_k: int = 5) -> list[list[TokenPrediction]]:
    """Predict the masked tokens of a text.

    Args:
        text_model: A model with a masked language modelling head.
        text: A text, or a pair of texts, that contains `[MASK]` at least once.
        top_k: How many tokens to return for each mask.

    Returns:
        For each mask, in order, the most probable tokens, best first.

    Raises:
        ValueError: If the model has another head, or the (truncated) text has no mask.
    """
    text_model.require_head(AlbertForMaskedLM)
    tokenizer = text_model.tokenizer
    batch = tokenizer([text], truncation=True, max_length=text_model.max_length)
    input_ids = batch["input_ids"][0]
    mask_columns = [i for i, token in enumerate(input_ids) if token == tokenizer.mask_token_id]
    if not mask_columns:
        raise ValueError(
            f"the first {text_model.max_length} tokens of the text hold no {tokenizer.mask_token}: "
            "put it where a word is to be predicted"
        )
    output = text_model.model.packed(
        [input_ids], batch["token_type_ids"], needed_columns=[mask_columns]
    )
    probabilities = output["logits"].softmax(dim=-1)  # (masks, V)
    best = probabilities.topk(min(top_k, probabilities.shape[-1]))
    return [
        [
            TokenPrediction(tokenizer.convert_ids_to_tokens(token), score)
            for token, score in zip(tokens, scores, strict=True)
        ]
        for tokens, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def answer(
    text_model: TextModel,
    question: str,
    context: str,
    *,
    stride: int | None = None,
    max_answer_length: int = 30,
    allow_no_answer: bool = False,
) -> Answer:
    """Find the most probable answer to a question in a context of any length.

    A long context is read in overlapping windows. With `allow_no_answer`, a model with an
    answerability head (`AlbertForAnswerableQuestions`) decides by that head, in the window that is
    most certain of an answer; for other models, "no answer" competes with the spans as the span of
    the [CLS] token (Devlin et al. 2019, section 4.3).

    Args:
        text_model: A model with a question answering head.
        question: The question.
        context: The text to read.
        stride: How many tokens neighbouring windows share. None means 128, or a quarter of
            `max_length` if that is less.
        max_answer_length: In tokens.
        allow_no_answer: Whether the context may fail to answer the question, as in SQuAD 2.0.

    Returns:
        The answer; its text is "" if there is none.

    Raises:
        ValueError: If the model has another head, if the question leaves no room for the context,
            or if the context holds no token.
    """
    text_model.require_head(AlbertForQuestionAnswering)
    if stride is None:
        stride = min(DEFAULT_STRIDE, text_model.max_length // 4)
    batch = text_model.tokenizer(
        [(question, context)],
        truncation="only_second",
        max_length=text_model.max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    output = text_model.model.packed(batch["input_ids"], batch["token_type_ids"])
    starts, ends = output.split("start_logits"), output.split("end_logits")
    span_scores = []  # (T, T) for each window
    for window, (start_logits, end_logits) in enumerate(zip(starts, ends, strict=True)):
        segments = torch.tensor(batch["token_type_ids"][window])
        is_special = torch.tensor(batch["special_tokens_mask"][window])
        is_context = (segments == 1) & (is_special == 0)
        span_scores.append(
            _span_scores(start_logits.cpu(), end_logits.cpu(), is_context, max_answer_length)
        )
    scores = torch.cat([window_scores.flatten() for window_scores in span_scores])
    if not scores.isfinite().any():
        raise ValueError(
            "the context holds no token that could be an answer: it must be more than spaces"
        )
    best = int(scores.argmax())
    if not allow_no_answer:
        score = float(scores.softmax(dim=0)[best])
    else:
        score, no_answer_score = _score_against_no_answer(scores, best, output)
        if no_answer_score is not None:
            return Answer("", 0, 0, no_answer_score)
    for window_scores, offsets in zip(span_scores, batch["offset_mapping"], strict=True):
        if best < window_scores.numel():
            first_token, last_token = divmod(best, len(window_scores))
            start, end = offsets[first_token][0], offsets[last_token][1]
            return Answer(context[start:end], start, end, score)
        best -= window_scores.numel()
    raise AssertionError("the best span lies in one of the windows")


def _span_scores(
    start_logits: Tensor, end_logits: Tensor, is_context: Tensor, max_answer_length: int
) -> Tensor:
    """The score of each span of a window by first and last token; -inf if it is not allowed.

    (T,) each -> (T, T)
    """
    length = len(start_logits)
    # The band from the diagonal upwards: last token - first token is 0 to max_answer_length - 1.
    is_short_span = torch.ones(length, length).triu().tril(max_answer_length - 1).bool()
    is_allowed = is_short_span & is_context & is_context[:, None]
    return (start_logits[:, None] + end_logits).masked_fill(~is_allowed, -torch.inf)


def _score_against_no_answer(
    scores: Tensor, best: int, output: PackedOutput
) -> tuple[float, float | None]:
    """Let the best span compete with "no answer".

    Returns:
        The probability of the best span; and that of "no answer" if it wins, otherwise None.
    """
    if "impossible_logits" in output.values:
        no_answer_logit = output["impossible_logits"].min().cpu()
        no_answer = float(no_answer_logit.sigmoid())
        span = float(scores.softmax(dim=0)[best]) * (1 - no_answer)
        return span, no_answer if no_answer_logit > 0 else None
    starts, ends = output.split("start_logits"), output.split("end_logits")
    no_answer_score = min(float(start[0] + end[0]) for start, end in zip(starts, ends, strict=True))
    probabilities = torch.cat([scores, torch.tensor([no_answer_score])]).softmax(dim=0)
    no_answer_wins = no_answer_score > float(scores[best])
    return float(probabilities[best]), float(probabilities[-1]) if no_answer_wins else None
