"""`Encoder`: text in, vectors out, on the fast path and in bounded memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from albert_torch.inference import pipelines
from albert_torch.inference.load_model import load_model
from albert_torch.inference.optimize import OptimizedAlbert, optimize
from albert_torch.inference.pipelines import Answer, TokenPrediction
from albert_torch.inference.text_model import (
    BATCH_TOKENS,
    Text,
    TextModel,
    TokenizedText,
    iter_batches,
)
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Vectors = NDArray[numpy.float32]

POOLINGS = ("mean", "cls", "pooler", "max")


class Encoder(TextModel):
    """A model and its tokenizer, ready to run on text.

    Args:
        model: A model of any class in `HEADS`, which is optimized, or an optimized one.
        tokenizer: Its tokenizer.
        dtype: See `optimize`; a name such as "int8" is accepted.
        device: See `optimize`.
        pooling: What of a text's last hidden states is its vector: "mean" or "max" over all tokens
            (special tokens included), "cls" for the first token, or "pooler" for the pooler's
            output.
        max_length: Longer texts are truncated to this many tokens. None means as many as the model
            takes.

    Raises:
        ValueError: If an option is unknown, or not available for this model or device.
    """

    def __init__(
        self,
        model: AlbertPreTrainedModel | OptimizedAlbert,
        tokenizer: AlbertTokenizer,
        *,
        dtype: torch.dtype | str = torch.float32,
        device: torch.device | str | None = None,
        pooling: str = "mean",
        max_length: int | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not known: use one of {', '.join(POOLINGS)}")
        if not isinstance(model, OptimizedAlbert):
            model = optimize(model, dtype, device)
        super().__init__(model, tokenizer, max_length)
        self.pooling = pooling
        if pooling == "pooler" and model.model.base_model.pooler is None:
            raise ValueError(
                f"{model.model_class.__name__} has no pooler: use another pooling, or load an "
                "AlbertModel"
            )

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | os.PathLike[str],
        *,
        dtype: torch.dtype | str = torch.float32,
        device: torch.device | str | None = None,
        pooling: str = "mean",
        max_length: int | None = None,
        **source_options: Any,
    ) -> Encoder:
        """Load a model and its tokenizer; see `load_model` for the class of the model.

        Args:
            name_or_dir: A directory, or a name on the Hub.
            dtype: See `optimize`.
            device: See `optimize`.
            pooling: As for the class. "pooler" loads an `AlbertModel`.
            max_length: As for the class.
            **source_options: Where to look: `revision`, `subfolder`, `cache_dir`, `token`,
                `local_files_only`, `force_download`.

        Raises:
            FileNotFoundError: If there is no such model.
            CheckpointError: If the weights do not fit.
            ValueError: If the checkpoint has no pooler although it was asked for.
        """
        model = load_model(name_or_dir, with_pooler=pooling == "pooler", **source_options)
        tokenizer = AlbertTokenizer.from_pretrained(name_or_dir, **source_options)
        return cls(
            model, tokenizer, dtype=dtype, device=device, pooling=pooling, max_length=max_length
        )

    # ---- vectors ----

    def encode(
        self,
        sentences: str | Sequence[Text],
        *,
        batch_tokens: int = BATCH_TOKENS,
        normalize_embeddings: bool = False,
        show_progress_bar: bool = False,
    ) -> Vectors:
        """Compute the vectors of texts.

        Args:
            sentences: Texts, or pairs of texts; or a single text.
            batch_tokens: How many tokens are computed at a time.
            normalize_embeddings: Whether to scale the vectors to length 1.
            show_progress_bar: Whether to show a progress bar on stderr.

        Returns:
            A numpy array (N, H) in float32, in the order of `sentences`; (H,) for a single text.

        Raises:
            ValueError: If `batch_tokens` is not positive.
        """
        numpy = _import_numpy()
        texts = [sentences] if isinstance(sentences, str) else sentences
        vectors = numpy.empty((len(texts), self.config.hidden_size), dtype=numpy.float32)
        start = 0
        for window in self.encode_windows(
            texts,
            batch_tokens=batch_tokens,
            normalize_embeddings=normalize_embeddings,
            show_progress_bar=show_progress_bar,
            total=len(texts),
        ):
            vectors[start : start + len(window)] = window.numpy()
            start += len(window)
        result: Vectors = vectors[0] if isinstance(sentences, str) else vectors
        return result

    def encode_stream(
        self,
        sentences: Iterable[Text],
        *,
        batch_tokens: int = BATCH_TOKENS,
        normalize_embeddings: bool = False,
        show_progress_bar: bool = False,
    ) -> Iterator[Vectors]:
        """Compute the vectors of a stream of texts, of which about a thousand are held at a time.

        The arguments are those of `encode`.

        Yields:
            The vector of each text, (H,) in float32, in order.
        """
        _import_numpy()
        for window in self.encode_windows(
            sentences,
            batch_tokens=batch_tokens,
            normalize_embeddings=normalize_embeddings,
            show_progress_bar=show_progress_bar,
        ):
            yield from window.numpy()

    def encode_windows(
        self,
        sentences: Iterable[Text],
        *,
        batch_tokens: int = BATCH_TOKENS,
        normalize_embeddings: bool = False,
        show_progress_bar: bool = False,
        total: int | None = None,
    ) -> Iterator[Tensor]:
        """Compute the vectors of `WINDOW_TEXTS` texts at a time.

        The next texts are tokenized meanwhile.

        The arguments are those of `encode`; `total` is the number of texts, for the progress bar.

        Yields:
            (n, H) in float32 on the CPU.
        """
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens={batch_tokens} must be at least 1")
        with _Progress(total, show_progress_bar) as progress:
            for window in self.tokenize_windows(sentences):
                # A text that occurs several times is computed once.
                unique = sorted(set(window), key=lambda text: (len(text.input_ids), text))
                row_lengths = [len(text.input_ids) for text in unique]
                vectors = torch.empty(len(unique), self.config.hidden_size, dtype=torch.float32)
                for batch in iter_batches(row_lengths, batch_tokens):
                    vectors[batch.start : batch.stop] = self._pool(unique[batch.start : batch.stop])
                    progress.add_tokens(sum(row_lengths[batch.start : batch.stop]))
                progress.add_texts(len(window))
                index_of = {text: index for index, text in enumerate(unique)}
                result = vectors[[index_of[text] for text in window]]
                yield F.normalize(result, dim=-1) if normalize_embeddings else result

    def _pool(self, texts: Sequence[TokenizedText]) -> Tensor:
        """The vectors of one batch, (n, H)."""
        input_ids = [text.input_ids for text in texts]
        token_type_ids = [text.token_type_ids for text in texts]
        if self.pooling in ("cls", "pooler"):
            output = self.model.packed(
                input_ids, token_type_ids, needed_columns=[[0]] * len(texts), apply_head=False
            )
            return output["last_hidden_state" if self.pooling == "cls" else "pooler_output"]
        output = self.model.packed(input_ids, token_type_ids, apply_head=False)
        rows = output.split("last_hidden_state")  # (tokens of the row, H) each
        if self.pooling == "mean":
            return torch.stack([row.mean(dim=0) for row in rows])
        return torch.stack([row.amax(dim=0) for row in rows])

    # ---- pipelines ----

    def classify(
        self, texts: Sequence[Text], *, batch_tokens: int = BATCH_TOKENS
    ) -> list[dict[str, float]]:
        """Return the labels of each text with their probabilities; see `pipelines.classify`."""
        return pipelines.classify(self, texts, batch_tokens=batch_tokens)

    def fill_mask(self, text: Text, top_k: int = 5) -> list[list[TokenPrediction]]:
        """Return the most probable tokens for each `[MASK]`; see `pipelines.fill_mask`."""
        return pipelines.fill_mask(self, text, top_k)

    def answer(
        self,
        question: str,
        context: str,
        *,
        stride: int | None = None,
        max_answer_length: int = 30,
        allow_no_answer: bool = False,
    ) -> Answer:
        """Return the most probable answer to a question in a context; see `pipelines.answer`."""
        return pipelines.answer(
            self,
            question,
            context,
            stride=stride,
            max_answer_length=max_answer_length,
            allow_no_answer=allow_no_answer,
        )


def _import_numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError(
            "vectors are numpy arrays, and numpy is not installed: "
            "pip install 'albert-torch[inference]'"
        ) from None
    return numpy


class _Progress:
    """A progress bar over texts that also shows the tokens per second; or nothing."""

    def __init__(self, total: int | None, show: bool) -> None:
        self.bar = tqdm(total=total, unit=" texts", disable=not show)
        self.tokens, self.start = 0, time.perf_counter()

    def add_tokens(self, count: int) -> None:
        """Count tokens that are done."""
        self.tokens += count
        rate = self.tokens / (time.perf_counter() - self.start)
        self.bar.set_postfix_str(f"{rate:,.0f} tokens/s")

    def add_texts(self, count: int) -> None:
        """Count texts that are done."""
        self.bar.update(count)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
