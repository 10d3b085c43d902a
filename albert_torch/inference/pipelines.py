"""Text in, labels, words or answers out: what the heads say of it, on the fast path."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from albert_torch import heads
from albert_torch.inference.optimize import OptimizedAlbert
from albert_torch.inference.scheduling import CHUNK_TOKENS, parts
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer

WINDOW = 512  # texts that are sorted by length, and held, at a time
BATCH_TOKENS = 4 * CHUNK_TOKENS  # whole chunks for two or four workers
FEW_TOKENS = 1024  # so few leave little behind, and handing it back takes a millisecond

Text = str | tuple[str, str]
Row = TypeVar("Row", bound=tuple[Any, ...])


class Answer(NamedTuple):
    """A piece of the context: its text, where it stands (in characters), and its probability."""

    text: str
    start: int
    end: int
    score: float


class Tasks:
    """An optimized model and its tokenizer."""

    def __init__(
        self, model: OptimizedAlbert, tokenizer: AlbertTokenizer, max_length: int | None = None
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, model.config
        limit = min(self.config.max_position_embeddings, tokenizer.model_max_length)
        if max_length is not None and not 3 <= max_length <= limit:
            raise ValueError(
                f"max_length={max_length} must be from 3 to {limit}, which is what the model takes"
            )
        self.max_length = limit if max_length is None else max_length

    def tokenized(self, texts: Iterable[Text]) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
        """`input_ids` and `token_type_ids` of each `WINDOW` texts, read one window ahead in a thread."""
        source = iter(texts)

        def read() -> Any:
            window = list(islice(source, WINDOW))
            return (
                self.tokenizer(window, truncation=True, max_length=self.max_length)
                if window
                else None
            )

        with ThreadPoolExecutor(1) as thread:
            ahead = thread.submit(read)
            while (batch := ahead.result()) is not None:
                ahead = thread.submit(read)
                yield batch["input_ids"], batch["token_type_ids"]

    def classify(
        self, texts: Sequence[Text], *, batch_tokens: int = BATCH_TOKENS
    ) -> list[dict[str, float]]:
        """For each text, every label's probability, the likeliest first; for a regression model its number.

        Raises `ValueError` for a model that is no classifier.
        """
        self._must_be(heads.AlbertForSequenceClassification)
        names = self.config.id2label or {}
        results: list[dict[str, float]] = []
        for ids, types in self.tokenized(texts):
            order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
            scores: dict[int, Tensor] = {}
            for batch in batches([(ids[i], types[i], i) for i in order], batch_tokens):
                rows, kinds, places = zip(*batch, strict=True)
                scores.update(zip(places, self.model.packed(rows, kinds).logits.cpu(), strict=True))
            for i in range(len(ids)):
                values = _probabilities(scores[i], self.config.problem_type)
                best = values.argsort(descending=True).tolist()
                results.append(
                    {names.get(label, f"LABEL_{label}"): float(values[label]) for label in best}
                )
        return results

    def fill_mask(self, text: Text, top_k: int = 5) -> list[list[tuple[str, float]]]:
        """For each `[MASK]` in the text, the `top_k` likeliest tokens and their probabilities.

        Raises `ValueError` for a model without an MLM head and for a text without a mask.
        """
        self._must_be(heads.AlbertForMaskedLM)
        batch = self.tokenizer([text], truncation=True, max_length=self.max_length)
        ids, types = batch["input_ids"], batch["token_type_ids"]
        places = [i for i, token in enumerate(ids[0]) if token == self.tokenizer.mask_token_id]
        if not places:
            raise ValueError(
                f"the first {self.max_length} tokens hold no {self.tokenizer.mask_token}; put it where a word is to be"
            )
        probabilities = self.model.packed(ids, types, keep=[places]).logits.softmax(
            dim=-1
        )  # (masks, V)
        best = probabilities.topk(min(top_k, probabilities.shape[-1]))
        return [
            [
                (self.tokenizer.convert_ids_to_tokens(i), p)
                for i, p in zip(tokens, values, strict=True)
            ]
            for tokens, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def answer(
        self,
        question: str,
        context: str,
        *,
        stride: int | None = None,
        max_answer_length: int = 30,
        allow_no_answer: bool = False,
    ) -> Answer:
        """The likeliest answer in the context; a long one is read in windows that share `stride` tokens.

        `stride` None: 128, or a quarter of a short `max_length`. `max_answer_length`: in tokens. `allow_no_answer`: the
        answer is "" when none is likelier (SQuAD 2.0).
        Raises `ValueError` for a model without a QA head, and when no room is left beside the question.
        """
        self._must_be(heads.AlbertForQuestionAnswering)
        batch = self.tokenizer(
            [(question, context)],
            truncation="only_second",
            max_length=self.max_length,
            stride=min(128, self.max_length // 4) if stride is None else stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        ids, types = batch["input_ids"], batch["token_type_ids"]
        output = self.model.packed(ids, types)
        lengths = [len(row) for row in ids]
        windows = zip(
            output.start_logits.split(lengths), output.end_logits.split(lengths), strict=True
        )
        spans, empty = [], []
        for row, (start, end) in enumerate(windows):
            inside = (torch.tensor(types[row]) == 1) & (
                torch.tensor(batch["special_tokens_mask"][row]) == 0
            )
            band = (
                torch.ones(lengths[row], lengths[row]).triu().tril(max_answer_length - 1).bool()
            )  # start <= end
            allowed = band & inside & inside[:, None]
            spans.append((start[:, None] + end).cpu().masked_fill(~allowed, -torch.inf))  # (T, T)
            empty.append(float(start[0] + end[0]))  # both at [CLS]: no answer in this window
        scores = torch.cat([window.flatten() for window in spans])
        if not scores.isfinite().any():
            raise ValueError(
                "the context holds no token that could be an answer; give more than spaces"
            )
        everything = torch.cat([scores, torch.tensor([min(empty)])]) if allow_no_answer else scores
        best = int(everything.argmax())
        score = float(everything.softmax(dim=0)[best])
        if best == len(scores):
            return Answer("", 0, 0, score)
        for window, offsets in zip(spans, batch["offset_mapping"], strict=True):
            if best < window.numel():
                first, last = divmod(best, len(window))
                begin, finish = offsets[first][0], offsets[last][1]
                return Answer(context[begin:finish], begin, finish, score)
            best -= window.numel()
        raise AssertionError("the best span lies in one of the windows")

    def _must_be(self, kind: type[AlbertPreTrainedModel]) -> None:
        if self.model.kind is not kind:
            raise ValueError(
                f"this needs an {kind.__name__}, not an {self.model.kind.__name__}: load such a checkpoint"
            )


def _probabilities(logits: Tensor, problem_type: str | None) -> Tensor:
    if problem_type == "regression" or len(logits) == 1:
        return logits
    return (
        logits.sigmoid() if problem_type == "multi_label_classification" else logits.softmax(dim=-1)
    )


def batches(rows: Sequence[Row], batch_tokens: int) -> Iterator[Sequence[Row]]:
    """Rows that come sorted by the length of their first item, in batches of like sizes, about `batch_tokens` at most.

    After each of them the heap is trimmed, unless there are but a few tokens.
    """
    lengths = [len(row[0]) for row in rows]
    total = sum(lengths)
    for some in parts(lengths, -(-total // batch_tokens)):
        yield rows[some.start : some.stop]
        if total > FEW_TOKENS:
            _trim_heap()


def _trim_heap() -> None:
    """Hand back what was freed: glibc keeps it, in pieces that the next batch does not fit into, 200 MB before long."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
