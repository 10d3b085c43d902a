"""Attention backends: functions of queries, keys, values, a mask and a dropout rate. `eager` is the definition.

All take q, k, v as (B, N, T, D) and a mask that broadcasts to (B, N, T, T): bool, True = may attend; or floats that are
added to the scores; or None. All return the context (B, N, T, D) and, where they make them, the probabilities
(B, N, T, T). A query that may attend to nothing gets a finite context.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Backend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor | None]]


def eager(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(D)) v, written out (Vaswani et al. 2017, §3.2.1)."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, N, T, T)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    probabilities = scores.softmax(dim=-1)
    return F.dropout(probabilities, dropout_p) @ v, probabilities


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float) -> tuple[Tensor, None]:
    """The same by torch's fused kernels, which never hold the (T, T) probabilities."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p), None


BACKENDS: dict[str, Backend] = {"eager": eager, "sdpa": sdpa}
