"""Attention backends, and the packing of padded batches.

There are two kinds of backend. A padded backend takes queries, keys and values of shape
(B, N, T, D), a mask and a dropout rate. A packed backend takes the real tokens of all rows one
after the other, (S, N, D), and the lengths of the rows, so it needs no mask and does no work for
padding. The letters are explained in `model.py`.

Every backend computes the same numbers as `eager`, up to rounding: a model may run another one than
the one that was selected (`output_attentions=True` runs `eager`, and the fast path has kernels of
its own), and the selection is not saved with the model.

To add a backend, write one function and enter it into `PADDED_BACKENDS` or `PACKED_BACKENDS`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger(__name__)

PaddedBackend = Callable[
    [Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor | None]
]
"""q, k, v, mask, dropout_p -> context, and probabilities or None; `eager` is the definition."""

PackedBackend = Callable[[Tensor, Tensor, Tensor, "RowLengths", float], Tensor]
"""q, k, v, row lengths, dropout_p -> context; see `varlen`."""


def eager(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float
) -> tuple[Tensor, Tensor]:
    """Attention as it is defined: softmax(q k^T / sqrt(D)) v (Vaswani et al. 2017, section 3.2.1).

    Args:
        q: Queries, (B, N, T, D).
        k: Keys, (B, N, T, D).
        v: Values, (B, N, T, D).
        mask: Broadcasts to (B, N, T, T). Bool: True where a query (row) may attend to a key
            (column). Float: added to the scores. None: everything may be attended to.
        dropout_p: Dropout rate of the probabilities; 0 outside training.

    Returns:
        The context (B, N, T, D), and the probabilities (B, N, T, T) before dropout. A query that
        may attend to nothing gets a finite context.
    """
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, N, T, T)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    probabilities = scores.softmax(dim=-1)
    return F.dropout(probabilities, dropout_p) @ v, probabilities


def sdpa(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float
) -> tuple[Tensor, None]:
    """Attention by torch's fused kernels, which never store the probabilities; see `eager`."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p), None


class RowLengths:
    """The lengths of packed rows. What the kernels need to know about them is computed once.

    Args:
        lengths: Number of tokens of each row, in the order in which the rows are packed. Rows
            without tokens are left out.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = [length for length in lengths if length > 0]
        self._offsets: Tensor | None = None

    @functools.cached_property
    def buckets(self) -> list[tuple[int, int]]:
        """Neighbouring rows of equal length, as (number of rows, length)."""
        return [(len(list(rows)), length) for length, rows in groupby(self.lengths)]

    @functools.cached_property
    def longest(self) -> int:
        """The length of the longest row."""
        return max(self.lengths)

    def offsets(self, device: torch.device) -> Tensor:
        """Where each row starts, and where the last one ends: int32, (rows + 1,)."""
        if self._offsets is None or self._offsets.device != device:
            starts = [0, *accumulate(self.lengths)]
            self._offsets = torch.tensor(starts, dtype=torch.int32, device=device)
        return self._offsets


def varlen(q: Tensor, k: Tensor, v: Tensor, rows: RowLengths, dropout_p: float) -> Tensor:
    """Attention of packed rows, each within itself.

    Uses torch's variable-length kernel on GPUs where it works and there is no dropout, and
    `varlen_by_length` everywhere else.

    Args:
        q: Queries of all rows, (S, N, D).
        k: Keys, (S, N, D).
        v: Values, (S, N, D).
        rows: The lengths of the rows, S in all.
        dropout_p: Dropout rate of the probabilities; 0 outside training.

    Returns:
        The context, (S, N, D).
    """
    if q.is_cuda and dropout_p == 0:
        needs_grad = torch.is_grad_enabled() and q.requires_grad
        if varlen_kernel_works(q.dtype, q.shape[-1], q.device, needs_grad):
            return varlen_by_kernel(q, k, v, rows)
    return varlen_by_length(q, k, v, rows, dropout_p)


def varlen_by_length(
    q: Tensor, k: Tensor, v: Tensor, rows: RowLengths, dropout_p: float = 0.0
) -> Tensor:
    """Attention of packed rows by `sdpa`, for neighbouring rows of equal length at a time.

    Works on every device and in every dtype, with dropout and gradients; see `varlen`. It is
    fastest when rows are sorted by length.
    """
    contexts = []
    start = 0
    for num_rows, length in rows.buckets:
        end = start + num_rows * length
        bucket = (num_rows, length, *q.shape[1:])  # (B, T, N, D)
        context = F.scaled_dot_product_attention(
            q[start:end].view(bucket).transpose(1, 2),  # (B, N, T, D)
            k[start:end].view(bucket).transpose(1, 2),
            v[start:end].view(bucket).transpose(1, 2),
            dropout_p=dropout_p,
        )
        contexts.append(context.transpose(1, 2).flatten(0, 1))  # (B * T, N, D)
        start = end
    if not contexts:
        return torch.zeros_like(q)
    return contexts[0] if len(contexts) == 1 else torch.cat(contexts)


def varlen_by_kernel(q: Tensor, k: Tensor, v: Tensor, rows: RowLengths) -> Tensor:
    """Attention of packed rows by torch's variable-length kernel (torch 2.10); see `varlen`."""
    from torch.nn.attention.varlen import varlen_attn

    offsets = rows.offsets(q.device)
    context: Tensor = varlen_attn(q, k, v, offsets, offsets, rows.longest, rows.longest)  # type: ignore[assignment]
    return context


@functools.cache
def varlen_kernel_works(
    dtype: torch.dtype, head_size: int, device: torch.device, needs_grad: bool = False
) -> bool:
    """Return whether the variable-length kernel computes the right numbers on this device.

    The kernel is tried on two short rows, because its requirements depend on the device and on the
    version of torch.
    """
    generator = torch.Generator().manual_seed(0)
    rows = RowLengths([2, 4])
    inputs = [torch.randn(6, 1, head_size, generator=generator) for _ in range(3)]
    results = []
    try:
        with torch.inference_mode(False), torch.set_grad_enabled(needs_grad):
            for function in (varlen_by_kernel, varlen_by_length):
                q, k, v = (
                    x.to(device, dtype, copy=True).requires_grad_(needs_grad) for x in inputs
                )
                context = function(q, k, v, rows)
                if needs_grad:
                    torch.autograd.backward(context.square().sum())
                results.append([context.detach(), *(x.grad for x in (q, k, v) if needs_grad)])
        torch.testing.assert_close(*results, rtol=0.02, atol=0.02)
    except (
        ImportError,
        AttributeError,
        RuntimeError,
        NotImplementedError,
        TypeError,
        AssertionError,
    ) as error:
        logger.info(
            "The variable-length attention kernel does not work here (%s). Rows of equal length "
            "are attended together instead.",
            error,
        )
        return False
    return True


PADDED_BACKENDS: dict[str, PaddedBackend] = {"eager": eager, "sdpa": sdpa}
PACKED_BACKENDS: dict[str, PackedBackend] = {"varlen": varlen}


def backend_names() -> list[str]:
    """Return the names that `attn_implementation` may have."""
    return [*PADDED_BACKENDS, *PACKED_BACKENDS]


@dataclass
class AttentionContext:
    """What attention needs to know about a batch. It is the same for all layers.

    Attributes:
        num_heads: N.
        backend: Name of the backend. A packed one runs on packed batches; a batch without padding
            is attended by `sdpa` instead, because its rows have equal lengths. With a padded one,
            packed tokens are padded for attention and packed again.
        mask: Mask for the padded backends, broadcasts to (B, N, T, T); None if all may attend.
        packing: Where the packed tokens are in the batch; None for a batch that is not packed.
        probabilities: Every layer appends its own, (B, N, T, T); None if nobody asked for them.
    """

    num_heads: int
    backend: str
    mask: Tensor | None
    packing: Packing | None
    probabilities: list[Tensor] | None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, dropout_p: float) -> Tensor:
        """Compute the context of each token.

        Args:
            query: (B, T, H), or (S, H) for packed tokens.
            key: Of the same shape.
            value: Of the same shape.
            dropout_p: Dropout rate of the probabilities.

        Returns:
            The context, of the same shape.
        """
        if self.packing is None:
            return self._attend_padded(query, key, value, dropout_p)
        if self.backend in PACKED_BACKENDS:
            shape = (len(query), self.num_heads, query.shape[-1] // self.num_heads)  # (S, N, D)
            q, k, v = query.view(shape), key.view(shape), value.view(shape)
            rows = self.packing.rows
            return PACKED_BACKENDS[self.backend](q, k, v, rows, dropout_p).flatten(1)  # (S, H)
        query, key, value = (self.packing.pad(x) for x in (query, key, value))  # (B, T, H)
        return self.packing.pack(self._attend_padded(query, key, value, dropout_p))  # (S, H)

    def _attend_padded(self, query: Tensor, key: Tensor, value: Tensor, dropout_p: float) -> Tensor:
        backend = PADDED_BACKENDS["sdpa" if self.backend in PACKED_BACKENDS else self.backend]
        q, k, v = (
            x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2) for x in (query, key, value)
        )  # (B, N, T, D)
        context, probabilities = backend(q, k, v, self.mask, dropout_p)
        if self.probabilities is not None and probabilities is not None:
            self.probabilities.append(probabilities)
        return context.transpose(1, 2).flatten(2)  # (B, T, H)


class Packing:
    """Where the S marked tokens of a padded batch are, usually its real tokens.

    Args:
        mask: (B, T), nonzero at the tokens. They need not be at the start of a row.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.shape = mask.shape  # (B, T)
        self.indices = mask.flatten().nonzero().squeeze(1)  # (S,), row after row

    @functools.cached_property
    def rows(self) -> RowLengths:
        """The lengths of the rows when packed."""
        return RowLengths(self.mask.bool().sum(dim=1).tolist())

    def pack(self, x: Tensor) -> Tensor:
        """Select the marked tokens.  (B, T, ...) -> (S, ...)."""
        return x.flatten(0, 1).index_select(0, self.indices)

    def pad(self, x: Tensor) -> Tensor:
        """Put the tokens back in their places, with zeros elsewhere.  (S, ...) -> (B, T, ...)."""
        padded = x.new_zeros(self.shape.numel(), *x.shape[1:])  # (B * T, ...)
        return padded.index_copy(0, self.indices, x).view(*self.shape, *x.shape[1:])
