"""Attention of packed rows, each within itself, in the way that is fastest for the device and the dtype."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.attention import Packing, RowLengths, varlen

BLOCK_TOKENS = 1024  # B * T of a block, at most: scores stay in the cache
SHORT = 64  # tokens; softmax of shorter rows is up to thrice as fast in float32
FEW = 64  # tokens; up to here blocks cost more than they gain


class Attention:
    """Of rows of these lengths, packed in this order, in every run of the layer.  (S, 3H) -> (S, H)."""

    def __init__(self, lengths: Sequence[int], num_heads: int) -> None:
        self.lengths, self.num_heads = lengths, num_heads

    @functools.cached_property
    def blocks(self) -> list[Block]:
        """The rows in blocks of like lengths; found once."""
        return list(blocks(self.lengths, self.num_heads))

    @functools.cached_property
    def rows(self) -> RowLengths:
        """The lengths, as the variable-length backend takes them."""
        return RowLengths(self.lengths)

    def __call__(self, qkv: Tensor) -> Tensor:
        if qkv.dtype == torch.bfloat16 and qkv.device.type == "cpu" and len(qkv) > FEW:
            return attend_blocks(qkv, self.blocks, self.num_heads)
        q, k, v = qkv.view(len(qkv), 3, self.num_heads, -1).unbind(dim=1)  # (S, N, D) each
        return varlen(q, k, v, self.rows, 0.0).flatten(1)


class Block(NamedTuple):
    """Neighbours of like lengths as B rows of T tokens each, some of them filled up."""

    start: int
    end: int  # in the packed tokens
    bias: (
        Tensor  # (N * B, 1, T), to add to the scores of a key: 0, or -inf where a row was filled up
    )
    places: (
        Tensor | None
    )  # (B * T,) in the block's tokens, what stands where; None if nothing was filled up
    real: Tensor | None  # (S,), the block's tokens among the B * T; None if they are


def blocks(lengths: Sequence[int], num_heads: int) -> Iterator[Block]:
    """All rows, in their order. B is a power of four, at most a third more than the rows, and T a multiple of 16, at
    most an eighth more than the row or 15: products of odd sizes take twice as long, and oneDNN keeps a megabyte of
    code for each.
    """
    start = row = 0
    for length, some in groupby(lengths, key=lambda n: n + -n % (1 << max(4, n.bit_length() - 3))):
        last = row + len(list(some))
        while row < last:
            size = _power_of_four(min((last - row) * 4 // 3, max(1, BLOCK_TOKENS // length)))
            rows = torch.tensor(lengths[row : min(row + size, last)])
            counts = F.pad(rows, (0, size - len(rows)))
            columns = torch.arange(length)
            mask = columns < counts[:, None]  # (B, T)
            bias = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill_(~mask, -torch.inf)
            bias[len(rows) :] = 0  # of rows that are not there
            places = real = None
            if not mask.all():
                places = (((counts.cumsum(0) - counts)[:, None] + columns) * mask).flatten()
                real = Packing(mask).indices
            end = start + int(rows.sum())
            yield Block(start, end, bias.repeat(num_heads, 1)[:, None], places, real)
            start, row = end, row + len(rows)


def _power_of_four(limit: int) -> int:
    """The largest up to `limit`."""
    return 1 << (limit.bit_length() - 1) // 2 * 2


def attend_blocks(qkv: Tensor, blocks: Sequence[Block], num_heads: int) -> Tensor:
    """A block at a time by plain products: in bfloat16 on CPUs twice as fast as the fused kernel."""
    contexts = []
    for start, end, bias, places, real in blocks:
        tokens = (
            qkv[start:end] if places is None else qkv[start:end].index_select(0, places)
        )  # (B * T, 3H)
        q, k, v = (
            tokens.view(len(tokens), 3, num_heads, -1)
            .permute(1, 2, 0, 3)
            .reshape(3, *bias.shape[::2], -1)
        )
        k = k - k.mean(
            dim=1, keepdim=True
        )  # changes no probability, and leaves bfloat16 less to round
        scores = torch.baddbmm(
            bias.to(q.dtype), q, k.transpose(1, 2), alpha=q.shape[2] ** -0.5
        )  # (N * B, T, T)
        wide = torch.promote_types(q.dtype, torch.float32) if scores.shape[2] < SHORT else None
        weights = scores.softmax(-1, dtype=wide).to(q.dtype)
        context = (
            torch.bmm(weights, v).view(num_heads, -1, q.shape[2]).transpose(0, 1)
        )  # (B * T, N, D)
        contexts.append(
            (context if real is None else context.index_select(0, real)).reshape(end - start, -1)
        )
    return contexts[0] if len(contexts) == 1 else torch.cat(contexts)
