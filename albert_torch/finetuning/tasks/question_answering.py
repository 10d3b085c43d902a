"""Extractive question answering: SQuAD v1.1 and v2.0 files, windows over long texts, answers as characters."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from albert_torch.files import read_json
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.splits import locate, pick, read_rows
from albert_torch.finetuning.squad_metric import best_threshold, squad
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.heads import AlbertForAnswerableQuestions, AlbertForQuestionAnswering
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Batch, Inputs

logger = logging.getLogger(__name__)

_FILES = {"train": ("train-v{}.json",), "dev": ("dev-v{}.json",), "test": ("test-v{}.json",)}
MAX_ANSWER = 30  # tokens
CANDIDATES = 20  # best starts and best ends that are paired


@dataclass
class Question:
    """A question about a text, and the right answers: (text, first character) each; none: it has no answer."""

    key: str
    question: str
    context: str
    answers: list[tuple[str, int]]


@dataclass
class Window:
    """Where the tokens of a row are in the text: (start, end) in characters, None for those that are not the text's."""

    question: int
    offsets: list[tuple[int, int] | None]


class QuestionAnswering(Task):
    """Start and end of the answer; "no answer" is the [CLS] token, or has a head of its own."""

    metric = "f1"

    def __init__(self, recipe: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(recipe, tokenizer)
        self.v2 = recipe.task == "squad2"
        if recipe.answerability_head and not self.v2:
            raise ValueError(
                "answerability_head is for squad2: every question of squad1 has an answer"
            )
        self.head = (
            AlbertForAnswerableQuestions
            if recipe.answerability_head
            else AlbertForQuestionAnswering
        )  # type: ignore[misc]

    def model_options(self) -> dict[str, Any]:
        """Start and end."""
        return {"num_labels": 2}

    def load(self, split: str) -> Split | None:
        """The windows of a split; `source` holds its questions and where each window lies."""
        version = "2.0" if self.v2 else "1.1"
        path = locate(self.recipe, split, *(name.format(version) for name in _FILES[split]))
        if path is not None and path.suffix == ".json":
            questions: list[Question] | None = read_squad(path)
        else:
            questions = self._from_rows(split)
        if questions is None:
            return None
        if split == "train":
            questions = self._checked(questions)
        if not questions:
            raise ValueError(f"the {split} split has no questions: it needs at least one")
        rows, windows = [], []
        for i in range(0, len(questions), 1000):
            for row, window in self._windows(questions[i : i + 1000], i):
                if split != "test":
                    row |= self._labels(questions[window.question], window)
                rows.append(row)
                windows.append(window)
        return Split(rows, [questions, windows])

    def _from_rows(self, split: str) -> list[Question] | None:
        rows = read_rows(self.recipe, split)
        if rows is None:
            return None
        columns = pick(rows, f"the {split} split", ("id", "question", "context", "answers"))
        return [
            Question(key, question, context, list(zip(a["text"], a["answer_start"], strict=True)))
            for key, question, context, a in columns
        ]

    def _checked(self, questions: list[Question]) -> list[Question]:
        """Those whose answers stand where they are said to; a few others are left out, many are an error."""
        wrong = [
            q
            for q in questions
            if any(q.context[at : at + len(text)] != text for text, at in q.answers)
        ]
        if not self.v2:
            wrong += [q for q in questions if not q.answers]
        if len(wrong) > len(questions) / 100:
            first = wrong[0]
            raise ValueError(
                f"{len(wrong)} of {len(questions)} training questions have no answer where their file says, "
                f"the first one {first.key}: {first.answers[:1]}; correct answer_start (in characters of context)"
                + ("" if self.v2 else ", or use task squad2 for questions without an answer")
            )
        if wrong:
            logger.warning(
                "left out %d training questions whose answers are not where they should be",
                len(wrong),
            )
        left_out = set(map(id, wrong))
        return [q for q in questions if id(q) not in left_out]

    def _windows(self, questions: list[Question], first: int) -> list[tuple[Inputs, Window]]:
        batch = self.tokenizer(
            [q.question.strip() for q in questions],
            [q.context for q in questions],
            truncation="only_second",
            max_length=self.max_length,
            stride=self.recipe.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        found = []
        for i, number in enumerate(batch["overflow_to_sample_mapping"]):
            row = {name: batch[name][i] for name in ("input_ids", "token_type_ids")}
            places = zip(batch["offset_mapping"][i], batch.sequence_ids(i), strict=True)
            found.append(
                (row, Window(first + number, [tuple(at) if of == 1 else None for at, of in places]))
            )
        return found

    def _labels(self, question: Question, window: Window) -> Inputs:
        """First and last token of the first answer; [CLS] where the window does not hold all of it."""
        start = end = 0
        if question.answers:
            text, at = question.answers[0]
            stop = at + len(text.rstrip())
            held = [
                (i, place)
                for i, place in enumerate(window.offsets)
                if place and place[0] < stop and place[1] > at
            ]
            if held and held[0][1][0] <= at and held[-1][1][1] >= stop:
                start, end = held[0][0], held[-1][0]
        labels = {"start_positions": start, "end_positions": end}
        return (
            {**labels, "is_impossible": float(start == 0)}
            if self.recipe.answerability_head
            else labels
        )

    # ---- answers ----

    def keep(self, output: Any, batch: Batch) -> list[Any]:
        """Start and end scores of each token, and the score for "no answer"."""
        start, end = output.start_logits.float().cpu(), output.end_logits.float().cpu()
        lengths = batch["attention_mask"].sum(-1).tolist()
        if self.recipe.answerability_head:
            none = output.impossible_logits.float().tolist()
        else:
            none = (start[:, 0] + end[:, 0]).tolist()
        return [
            (s[:n], e[:n], null) for s, e, n, null in zip(start, end, lengths, none, strict=True)
        ]

    def answers(self, split: Split, kept: list[Any]) -> tuple[dict[str, str], dict[str, float]]:
        """The best text for each question, and by how much "no answer" beats it."""
        questions, windows = split.source
        best = [(-float("inf"), "")] * len(questions)
        none = [float("inf")] * len(questions)
        for window, (start, end, null) in zip(windows, kept, strict=True):
            number = window.question
            none[number] = min(none[number], null)  # the window that is surest of an answer
            score, place = best_span(start, end, window.offsets)
            if place is not None and score > best[number][0]:
                best[number] = (score, questions[number].context[place[0] : place[1]].strip())
        texts = {q.key: text for q, (_, text) in zip(questions, best, strict=True)}
        own = self.recipe.answerability_head  # its score is a log-odds and stands for itself
        odds = {
            q.key: null - (0.0 if own else s)
            for q, null, (s, _) in zip(questions, none, best, strict=True)
        }
        return texts, {key: min(max(value, -1e6), 1e6) for key, value in odds.items()}

    def score(self, split: Split, kept: list[Any]) -> dict[str, float]:
        """Exact match and F1; for v2 also by kind of question, and at the best threshold for "no answer"."""
        texts, odds = self.answers(split, kept)
        right = {q.key: [text for text, _ in q.answers] for q in split.source[0]}
        if not self.v2:
            return squad(texts, right)
        said = {key: "" if odds[key] > 0 else text for key, text in texts.items()}
        return {**squad(said, right, v2=True), **best_threshold(texts, right, odds)}

    def predictions(self, split: Split, kept: list[Any]) -> list[dict[str, Any]]:
        """The answer to each question; for v2 also by how much "no answer" beats the best text."""
        texts, odds = self.answers(split, kept)
        if not self.v2:
            return [{"id": key, "prediction": text} for key, text in texts.items()]
        return [
            {"id": key, "prediction": "" if odds[key] > 0 else text, "no_answer": odds[key]}
            for key, text in texts.items()
        ]


def best_span(
    start: Tensor, end: Tensor, offsets: list[tuple[int, int] | None]
) -> tuple[float, tuple[int, int] | None]:
    """The best sum of a start and an end score over spans of the text, and the span in characters; None: no span."""
    inside = torch.tensor([place is not None for place in offsets])
    if not inside.any():
        return -float("inf"), None
    count = min(CANDIDATES, int(inside.sum()))
    starts = start.masked_fill(~inside, -torch.inf).topk(count).indices  # (count,)
    ends = end.masked_fill(~inside, -torch.inf).topk(count).indices
    width = ends[None] - starts[:, None]  # (count, count)
    scores = (start[starts][:, None] + end[ends][None]).masked_fill(
        (width < 0) | (width >= MAX_ANSWER), -torch.inf
    )
    place = int(scores.argmax())
    first, last = offsets[int(starts[place // count])], offsets[int(ends[place % count])]
    if first is None or last is None or not torch.isfinite(scores.flatten()[place]):
        return -float("inf"), None
    return float(scores.flatten()[place]), (first[0], last[1])


def read_squad(path: Path) -> list[Question]:
    """The questions of a SQuAD file.  Raises `ValueError` for JSON of another form."""
    try:
        articles = read_json(path)["data"]
        return [
            Question(
                qa["id"],
                qa["question"],
                paragraph["context"],
                [(a["text"], a["answer_start"]) for a in qa["answers"]],
            )
            for article in articles
            for paragraph in article["paragraphs"]
            for qa in paragraph["qas"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a SQuAD file (data, paragraphs, qas, answers): {error!r}"
        ) from None
