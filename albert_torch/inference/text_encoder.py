"""`Encoder`: text in, vectors out, on the fast path and in bounded memory; and what else `Tasks` gives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm  # comes with huggingface_hub

from albert_torch import heads
from albert_torch.config import AlbertConfig
from albert_torch.inference.optimize import OptimizedAlbert, optimize
from albert_torch.inference.pipelines import BATCH_TOKENS, Tasks, Text, batches
from albert_torch.model import AlbertModel
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer

POOLINGS = ("mean", "cls", "pooler", "max")


class Encoder(Tasks):
    """A model and its tokenizer, ready to run on text.

    `pooling`: what of the last hidden states stands for the text: their "mean" or "max" (special tokens included), that
    of "cls", or the "pooler" on it. `max_length`: in tokens; longer texts are cut. None: as long as the model takes.
    """

    def __init__(
        self,
        model: AlbertPreTrainedModel | OptimizedAlbert,
        tokenizer: AlbertTokenizer,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        pooling: str = "mean",
        max_length: int | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not known; use one of {', '.join(POOLINGS)}")
        fast = model if isinstance(model, OptimizedAlbert) else optimize(model, dtype, device)
        super().__init__(fast, tokenizer, max_length)
        self.pooling = pooling
        if pooling == "pooler" and self.model.model.base_model.pooler is None:
            raise ValueError(
                f"{self.model.kind.__name__} has no pooler; use another pooling, or load an AlbertModel"
            )

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        pooling: str = "mean",
        max_length: int | None = None,
        **source: Any,
    ) -> Encoder:
        """Load the class that the config names, so that `classify`, `fill_mask` or `answer` have their head, and the
        tokenizer; `pooling="pooler"` loads `AlbertModel`.  `source`: revision, subfolder, cache_dir, token ...

        Raises as `AlbertModel.from_pretrained` does, and `ValueError` for a pooler that the checkpoint does not hold.
        """
        config = AlbertConfig.from_pretrained(name_or_dir, **source)
        named = (config.architectures or [""])[0].replace("ForPreTraining", "ForMaskedLM")
        kind: Any = AlbertModel if pooling == "pooler" else getattr(heads, named, AlbertModel)
        options: dict[str, Any] = (
            {"add_pooling_layer": pooling == "pooler"} if kind is AlbertModel else {}
        )
        model, info = kind.from_pretrained(
            name_or_dir, config=config, output_loading_info=True, **options, **source
        )
        if pooling == "pooler" and (new := info["missing_keys"]):
            raise ValueError(
                f"{name_or_dir} holds no {', '.join(sorted(new))}; use another pooling"
            )
        tokenizer = AlbertTokenizer.from_pretrained(name_or_dir, **source)
        return cls(
            model, tokenizer, dtype=dtype, device=device, pooling=pooling, max_length=max_length
        )

    # ---- vectors ----

    def encode(
        self,
        texts: str | Sequence[Text],
        *,
        batch_tokens: int = BATCH_TOKENS,
        normalize: bool = False,
        show_progress: bool = False,
    ) -> Any:
        """The vectors of texts, or of pairs, as a numpy array (N, H) in float32, in the order given; of one str: (H,).

        `batch_tokens`: how many tokens are computed at a time. `normalize`: to length 1.
        """
        numpy = _numpy()
        if isinstance(texts, str):
            return self.encode([texts], batch_tokens=batch_tokens, normalize=normalize)[0]
        vectors = numpy.empty((len(texts), self.config.hidden_size), dtype=numpy.float32)
        start = 0
        for window in self.windows(
            texts,
            batch_tokens=batch_tokens,
            normalize=normalize,
            show_progress=show_progress,
            total=len(texts),
        ):
            vectors[start : start + len(window)] = window.numpy()
            start += len(window)
        return vectors

    def encode_stream(
        self,
        texts: Iterable[Text],
        *,
        batch_tokens: int = BATCH_TOKENS,
        normalize: bool = False,
        show_progress: bool = False,
    ) -> Iterator[Any]:
        """The vector of each text, (H,) in float32, one after another: about a thousand texts are held at a time."""
        _numpy()
        for window in self.windows(
            texts, batch_tokens=batch_tokens, normalize=normalize, show_progress=show_progress
        ):
            yield from window.numpy()

    def windows(
        self,
        texts: Iterable[Text],
        *,
        batch_tokens: int = BATCH_TOKENS,
        normalize: bool = False,
        show_progress: bool = False,
        total: int | None = None,
    ) -> Iterator[Tensor]:
        """The vectors of each `WINDOW` texts, (n, H); the next ones are tokenized meanwhile."""
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens={batch_tokens} must be above 0")
        with _Progress(total, show_progress) as progress:
            for ids, types in self.tokenized(texts):
                rows = list(zip(map(tuple, ids), map(tuple, types), strict=True))
                unique = sorted(
                    set(rows), key=lambda row: (len(row[0]), row)
                )  # a text met again is free
                vectors, done = (
                    torch.empty(len(unique), self.config.hidden_size, dtype=torch.float32),
                    0,
                )
                for batch in batches(unique, batch_tokens):
                    vectors[done : (done := done + len(batch))] = self._pool(
                        *zip(*batch, strict=True)
                    )
                    progress.add(0, sum(len(row[0]) for row in batch))
                progress.add(len(rows), 0)
                places = {row: i for i, row in enumerate(unique)}
                result = vectors[[places[row] for row in rows]]
                yield F.normalize(result, dim=-1) if normalize else result

    def _pool(self, ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]]) -> Tensor:
        if self.pooling in ("cls", "pooler"):
            output = self.model.packed(ids, types, keep=[[0]] * len(ids), head=False)
            pooled: Tensor = (
                output.last_hidden_state if self.pooling == "cls" else output.pooler_output
            )
            return pooled
        x = self.model.packed(ids, types, head=False).last_hidden_state  # (S, H)
        parts = x.split([len(row) for row in ids])
        return torch.stack(
            [part.mean(dim=0) if self.pooling == "mean" else part.amax(dim=0) for part in parts]
        )


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError(
            "vectors are numpy arrays: pip install 'albert-torch[inference]'"
        ) from None
    return numpy


class _Progress:
    """A progress bar over texts that also shows the tokens a second; or nothing."""

    def __init__(self, total: int | None, show: bool) -> None:
        self.bar = tqdm(total=total, unit=" texts", disable=not show)
        self.tokens, self.start = 0, time.perf_counter()

    def add(self, texts: int, tokens: int) -> None:
        """Count texts and tokens that are done."""
        self.tokens += tokens
        self.bar.set_postfix_str(
            f"{self.tokens / (time.perf_counter() - self.start):,.0f} tokens/s"
        )
        self.bar.update(texts)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
