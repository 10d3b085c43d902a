"""Extractive question answering on SQuAD v1.1 and v2.0: the answer is a span of the text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor

from albert_torch.finetuning.splits import find_split_file, read_split
from albert_torch.finetuning.squad_metric import best_threshold, squad
from albert_torch.finetuning.tasks.answer_spans import (
    Window,
    answer_tokens,
    best_span,
)
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.formats.squad import (
    SquadQuestion,
    read_squad,
    squad_questions,
)
from albert_torch.finetuning.tasks.registry import register_task
from albert_torch.heads import AlbertForAnswerableQuestions, AlbertForQuestionAnswering
from albert_torch.outputs import ModelOutput
from albert_torch.tokenization.tokenizer import AlbertTokenizer
from albert_torch.training.data import Batch, Inputs
from albert_torch.training.options import Options, option

if TYPE_CHECKING:
    from albert_torch.finetuning.config import FinetuningConfig

logger = logging.getLogger(__name__)

MAX_MISPLACED_SHARE = 0.01  # of the training questions, whose answers are not where they should be
TOKENIZER_BATCH = 1000  # questions
MAX_LOG_ODDS = 1e6


@dataclass
class QuestionAnsweringOptions(Options):
    """How long texts are cut into windows."""

    doc_stride: int = option(
        128, "tokens that two neighbouring windows of a text have in common", minimum=0
    )


@dataclass
class UnanswerableOptions(QuestionAnsweringOptions):
    """How long texts are cut into windows, and how "no answer" is predicted."""

    answerability_head: bool = option(
        False, "train a separate output for 'no answer', as in the paper"
    )


class WindowedQuestions(NamedTuple):
    """The questions of a split, and a window for each example."""

    questions: list[SquadQuestion]
    windows: list[Window]


class SpanScores(NamedTuple):
    """The scores of a window: start and end of each token, (T,), and one for "no answer"."""

    start: Tensor
    end: Tensor
    no_answer: float


class BestAnswer(NamedTuple):
    """The best span of a question over all windows, and the lowest score for "no answer"."""

    text: str
    score: float
    no_answer: float


@register_task("squad1")
class QuestionAnswering(Task):
    """SQuAD v1.1 (Rajpurkar et al. 2016): every question has an answer in its text.

    A text that is too long is cut into overlapping windows. A window that does not hold the whole
    answer is labelled with its [CLS] token.
    """

    head_class: type[AlbertForQuestionAnswering] = AlbertForQuestionAnswering
    metric = "f1"
    options_class: ClassVar[type[Options]] = QuestionAnsweringOptions
    options: QuestionAnsweringOptions
    file_version = "1.1"
    hint = ", or use the task squad2 for questions without an answer"

    def __init__(self, config: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(config, tokenizer)
        longest_text = self.max_length - tokenizer.num_special_tokens_to_add(pair=True)
        if self.options.doc_stride >= longest_text:
            raise ValueError(
                f"doc_stride={self.options.doc_stride} must be below {longest_text}, which is "
                f"max_length={self.max_length} without the special tokens: lower it"
            )

    def model_config_overrides(self) -> dict[str, Any]:
        """Return two labels, start and end."""
        return {"num_labels": 2}

    def load_split(self, name: str) -> Split | None:
        """Read a split from a SQuAD file or a table, and cut it into windows."""
        questions = self._read_questions(name)
        if questions is None:
            return None
        if name == "train":
            questions = self._without_misplaced_answers(questions)
        if not questions:
            raise ValueError(f"the {name} split has no questions: it needs at least one")
        examples: list[Inputs] = []
        windows: list[Window] = []
        for example, window in self._windows(questions):
            if name != "test":
                example |= self.answer_labels(questions[window.question], window)
            examples.append(example)
            windows.append(window)
        return Split(examples, WindowedQuestions(questions, windows))

    def _read_questions(self, split: str) -> list[SquadQuestion] | None:
        path = find_split_file(self.config, split, f"{split}-v{self.file_version}.json")
        if path is not None and path.suffix == ".json":
            return read_squad(path)
        rows = read_split(self.config, split)
        return None if rows is None else squad_questions(rows, f"the {split} split")

    def _without_misplaced_answers(self, questions: list[SquadQuestion]) -> list[SquadQuestion]:
        """Leave out questions whose answers are not where the file says; many are an error."""
        misplaced = [question for question in questions if self.is_misplaced(question)]
        if len(misplaced) > MAX_MISPLACED_SHARE * len(questions):
            first = misplaced[0]
            raise ValueError(
                f"{len(misplaced)} of {len(questions)} training questions have no answer where "
                f"their file says, the first one {first.key}: {first.answers[:1]}; correct "
                f"answer_start (in characters of context){self.hint}"
            )
        if misplaced:
            logger.warning(
                "left out %d training questions whose answers are not where the file says",
                len(misplaced),
            )
        return [question for question in questions if not self.is_misplaced(question)]

    def is_misplaced(self, question: SquadQuestion) -> bool:
        """Whether a training question has no answer, or one that is not at its position."""
        return not question.answers or _has_misplaced_answer(question)

    def _windows(self, questions: Sequence[SquadQuestion]) -> Iterator[tuple[Inputs, Window]]:
        """Tokenize questions with their texts; yield the windows of each text."""
        for first in range(0, len(questions), TOKENIZER_BATCH):
            part = questions[first : first + TOKENIZER_BATCH]
            batch = self.tokenizer(
                [question.question.strip() for question in part],
                [question.context for question in part],
                truncation="only_second",
                max_length=self.max_length,
                stride=self.options.doc_stride,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                return_attention_mask=False,
            )
            for row, index in enumerate(batch["overflow_to_sample_mapping"]):
                example: Inputs = {key: batch[key][row] for key in ("input_ids", "token_type_ids")}
                tokens = zip(batch["offset_mapping"][row], batch.sequence_ids(row), strict=True)
                offsets = [tuple(span) if sequence == 1 else None for span, sequence in tokens]
                yield example, Window(first + index, offsets)

    def answer_labels(self, question: SquadQuestion, window: Window) -> Inputs:
        """Return the first and last token of the first answer, as labels of the head."""
        start, end = answer_tokens(question, window)
        return {"start_positions": start, "end_positions": end}

    def collect_outputs(self, output: ModelOutput, batch: Batch) -> list[Any]:
        """Return the `SpanScores` of each window."""
        start, end = output["start_logits"].float().cpu(), output["end_logits"].float().cpu()
        lengths = batch["attention_mask"].sum(-1).tolist()
        no_answer = self.no_answer_scores(output).tolist()
        return [
            SpanScores(start_scores[:length], end_scores[:length], score)
            for start_scores, end_scores, length, score in zip(
                start, end, lengths, no_answer, strict=True
            )
        ]

    def no_answer_scores(self, output: ModelOutput) -> Tensor:
        """Return the score for "no answer" of each window, (B,): that of the span of its [CLS]."""
        scores: Tensor = output["start_logits"][:, 0].float() + output["end_logits"][:, 0].float()
        return scores

    def best_answers(self, split: Split, outputs: list[Any]) -> dict[str, BestAnswer]:
        """Return the best answer to each question, by key, over all windows of its text."""
        questions, windows = split.references
        best = [BestAnswer("", -float("inf"), float("inf")) for _ in questions]
        for window, (start, end, no_answer) in zip(windows, outputs, strict=True):
            text, score, lowest = best[window.question]
            window_score, span = best_span(start, end, window.offsets)
            if span is not None and window_score > score:
                score = window_score
                text = questions[window.question].context[span[0] : span[1]].strip()
            # the window that is most certain of an answer decides
            best[window.question] = BestAnswer(text, score, min(lowest, no_answer))
        return {question.key: answer for question, answer in zip(questions, best, strict=True)}

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return exact match and F1 over words, in percent."""
        answers = self.best_answers(split, outputs)
        return squad({key: answer.text for key, answer in answers.items()}, _right_texts(split))

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the answer to each question."""
        answers = self.best_answers(split, outputs)
        return [{"id": key, "prediction": answer.text} for key, answer in answers.items()]


@register_task("squad2")
class UnanswerableQuestionAnswering(QuestionAnswering):
    """SQuAD v2.0 (Rajpurkar et al. 2018): some questions have no answer in their text.

    "No answer" is the span of the [CLS] token, or with the option `answerability_head` an output of
    its own, as in the paper.
    """

    options_class = UnanswerableOptions
    options: UnanswerableOptions
    file_version = "2.0"
    hint = ""

    def __init__(self, config: FinetuningConfig, tokenizer: AlbertTokenizer) -> None:
        super().__init__(config, tokenizer)
        if self.options.answerability_head:
            self.head_class = AlbertForAnswerableQuestions

    def is_misplaced(self, question: SquadQuestion) -> bool:
        """Whether an answer is not at its position; a question may have no answer."""
        return _has_misplaced_answer(question)

    def answer_labels(self, question: SquadQuestion, window: Window) -> Inputs:
        """Return the tokens of the answer and, for its own output, whether there is none."""
        labels = super().answer_labels(question, window)
        if self.options.answerability_head:
            labels["is_impossible"] = float(labels["start_positions"] == 0)
        return labels

    def no_answer_scores(self, output: ModelOutput) -> Tensor:
        """Return the log-odds of "no answer" if there is a head for it, or the score of [CLS]."""
        if self.options.answerability_head:
            scores: Tensor = output["impossible_logits"].float()
            return scores
        return super().no_answer_scores(output)

    def _no_answer_margins(self, answers: dict[str, BestAnswer]) -> dict[str, float]:
        """By how much "no answer" beats the best span of each question; above 0 it is predicted."""
        margins = {}
        for key, answer in answers.items():
            # the log-odds of the separate output stand for themselves
            score = 0.0 if self.options.answerability_head else answer.score
            margins[key] = min(max(answer.no_answer - score, -MAX_LOG_ODDS), MAX_LOG_ODDS)
        return margins

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return exact match and F1, also by kind of question and at the best threshold."""
        answers = self.best_answers(split, outputs)
        texts = {key: answer.text for key, answer in answers.items()}
        margins = self._no_answer_margins(answers)
        predicted = {key: "" if margins[key] > 0 else text for key, text in texts.items()}
        right = _right_texts(split)
        return {**squad(predicted, right, v2=True), **best_threshold(texts, right, margins)}

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the answer to each question, "" for none, and the margin of "no answer"."""
        answers = self.best_answers(split, outputs)
        margins = self._no_answer_margins(answers)
        return [
            {
                "id": key,
                "prediction": "" if margins[key] > 0 else answer.text,
                "no_answer": margins[key],
            }
            for key, answer in answers.items()
        ]


def _has_misplaced_answer(question: SquadQuestion) -> bool:
    return any(
        question.context[start : start + len(text)] != text for text, start in question.answers
    )


def _right_texts(split: Split) -> dict[str, list[str]]:
    """The right answers to each question, by key."""
    return {
        question.key: [text for text, _ in question.answers]
        for question in split.references.questions
    }
