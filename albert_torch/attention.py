"""Attention backends: functions of queries, keys, values, a mask and a dropout rate. `eager` is the definition.

All take q, k, v as (B, N, T, D) and a mask that broadcasts to (B, N, T, T): bool, True = may attend; or floats that are
added to the scores; or None. All return the context (B, N, T, D) and, where they make them, the probabilities
(B, N, T, T). A query that may attend to nothing gets a finite context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Backend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor | None]]


def eager(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(D)) v, written out (Vaswani et al. 2017, §3.2.1)."""
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
    """The same by torch's fused kernels, which never hold the (T, T) probabilities."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p), None


BACKENDS: dict[str, Backend] = {"eager": eager, "sdpa": sdpa}


@dataclass
class AttentionContext:
    """Who sees whom in one forward pass: the backend, the mask, where packed tokens stand, what to record."""

    num_heads: int
    backend: Backend
    mask: Tensor | None  # broadcasts to (B, N, T, T)
    packing: Packing | None
    probabilities: list[Tensor] | None  # a run adds its own (B, N, T, T)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, dropout_p: float) -> Tensor:
        """The context of each token.  q, k, v: (..., H) -> (..., H)."""
        if self.packing is not None:
            q, k, v = self.packing.pad(q), self.packing.pad(k), self.packing.pad(v)  # (B, T, H)
        q, k, v = (
            x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2) for x in (q, k, v)
        )  # (B, N, T, D)
        context, probabilities = self.backend(q, k, v, self.mask, dropout_p)
        if self.probabilities is not None and probabilities is not None:
            self.probabilities.append(probabilities)
        context = context.transpose(1, 2).flatten(2)  # (B, T, H)
        return context if self.packing is None else self.packing.pack(context)


class Packing:
    """Where the S real tokens of a padded batch stand.  mask: (B, T), nonzero = real."""

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape  # (B, T)
        self.indices = mask.flatten().nonzero().squeeze(1)  # (S,), row after row

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (S, ...): the real tokens alone."""
        return x.flatten(0, 1).index_select(0, self.indices)

    def pad(self, x: Tensor) -> Tensor:
        """(S, ...) -> (B, T, ...): the tokens back in their places, zeros elsewhere."""
        rows = x.new_zeros(self.shape.numel(), *x.shape[1:])  # (B * T, ...)
        return rows.index_copy(0, self.indices, x).view(*self.shape, *x.shape[1:])
