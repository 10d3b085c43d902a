"""Self-attention of packed rows, by the fastest method for the device and the dtype."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.attention import Packing, RowLengths, varlen
from albert_torch.inference.scheduling import largest_power_of_two

BLOCK_TOKENS = 1024  # largest B * T of a block, so that its scores stay in the cache
FLOAT32_SOFTMAX_LENGTH = 64  # below this length, softmax is up to three times as fast in float32
MIN_BLOCK_TOKENS = 64  # up to this many tokens in all, blocks cost more than they save


class PackedAttention:
    """Attention of packed rows; every run of the shared layer calls it with other values.

    Args:
        row_lengths: Number of tokens of each row, in the order in which the rows are packed.
        num_heads: N.
    """

    def __init__(self, row_lengths: Sequence[int], num_heads: int) -> None:
        self.rows, self.num_heads = RowLengths(row_lengths), num_heads

    def __call__(self, qkv: Tensor) -> Tensor:
        """Compute the context of each token.

        Args:
            qkv: Queries, keys and values side by side, (S, 3H).

        Returns:
            (S, H)
        """
        q, k, v = qkv.view(len(qkv), 3, self.num_heads, -1).unbind(dim=1)  # (S, N, D) each
        return varlen(q, k, v, self.rows, 0.0).flatten(1)


class CpuAttention(PackedAttention):
    """Attention of packed rows on a CPU: of blocks of rows in bfloat16, by length in float32."""

    @functools.cached_property
    def blocks(self) -> list[Block]:
        """The rows in blocks of similar lengths, computed once."""
        return list(make_blocks(self.rows.lengths, self.num_heads))

    def __call__(self, qkv: Tensor) -> Tensor:
        """Compute the context of each token.  (S, 3H) -> (S, H)."""
        if qkv.dtype == torch.bfloat16 and len(qkv) > MIN_BLOCK_TOKENS:
            return attend_blocks(qkv, self.blocks, self.num_heads)
        return attend_by_length(qkv, self.rows, self.num_heads)


def attend_by_length(qkv: Tensor, rows: RowLengths, num_heads: int) -> Tensor:
    """Compute what `attention.varlen_by_length` does, from queries, keys and values in one tensor.

    Splitting them together takes fewer operations, which counts in a batch of one sentence.

    (S, 3H) -> (S, H)
    """
    contexts, start = [], 0
    head_size = qkv.shape[1] // (3 * num_heads)
    for num_rows, length in rows.buckets:
        end = start + num_rows * length
        bucket = qkv[start:end].view(num_rows, length, 3, num_heads, head_size)  # (B, T, 3, N, D)
        q, k, v = bucket.permute(2, 0, 3, 1, 4)  # (B, N, T, D) each
        context = F.scaled_dot_product_attention(q, k, v)  # (B, N, T, D)
        contexts.append(context.transpose(1, 2).reshape(end - start, -1))  # (B * T, H)
        start = end
    return contexts[0] if len(contexts) == 1 else torch.cat(contexts)


# ---- blocks: bfloat16 on a CPU ----


class Block(NamedTuple):
    """Neighbouring rows of similar lengths, padded to B rows of T tokens.

    Attributes:
        start: Index of the block's first token among the packed tokens.
        end: Index after the block's last token.
        bias: (N * B, 1, T) bfloat16, added to the scores of each key: 0 for a token, -inf for
            padding.
        padded_to_packed: (B * T,) long, for each position of the block the token to put there (any
            token for padding), as an index relative to `start`; None if the block has no padding.
        packed_to_padded: (end - start,) long, the position of each token in the block; None if the
            block has no padding.
    """

    start: int
    end: int
    bias: Tensor
    padded_to_packed: Tensor | None
    packed_to_padded: Tensor | None


def block_length(row_length: int) -> int:
    """Round the length of a row up to the T of its block.

    T is a multiple of 16 and of a quarter of the largest power of two up to `row_length`. Matrix
    products of odd sizes take twice as long, and oneDNN keeps a megabyte of code for every size
    that it sees.

    Example:
        5 -> 16, 100 -> 112, 130 -> 160 (a multiple of 32), 300 -> 320 (a multiple of 64).
    """
    multiple = max(16, largest_power_of_two(row_length) // 4)
    return math.ceil(row_length / multiple) * multiple


def block_rows(num_rows: int, length: int) -> int:
    """Return the B of the next block, given the number of rows that remain for T = `length`.

    B is a power of four, so that few different shapes occur. It exceeds the number of rows by at
    most a third.

    Example:
        With length 16: 1 -> 1, 3 -> 4, 4 -> 4, 11 -> 4 (16 would be too many), 12 -> 16. With
        length 512: at most 1, because of `BLOCK_TOKENS`.
    """
    limit = min(num_rows * 4 // 3, max(1, BLOCK_TOKENS // length))
    power = 1
    while power * 4 <= limit:
        power *= 4
    return power


def make_blocks(row_lengths: Sequence[int], num_heads: int) -> Iterator[Block]:
    """Divide packed rows into blocks, in order.

    Args:
        row_lengths: Number of tokens of each row.
        num_heads: N.

    Yields:
        Blocks that together cover all tokens.
    """
    start = first_row = 0
    for length, rows_of_length in groupby(row_lengths, key=block_length):
        end_row = first_row + len(list(rows_of_length))
        while first_row < end_row:
            num_rows = block_rows(end_row - first_row, length)
            lengths = torch.tensor(row_lengths[first_row : min(first_row + num_rows, end_row)])
            block = _make_block(start, lengths, (num_rows, length), num_heads)
            yield block
            start, first_row = block.end, first_row + len(lengths)


def _make_block(start: int, lengths: Tensor, shape: tuple[int, int], num_heads: int) -> Block:
    """Make the block of the rows with these lengths; `shape` is (B, T) of the block."""
    num_rows, length = shape
    counts = F.pad(lengths, (0, num_rows - len(lengths)))  # (B,)
    columns = torch.arange(length)
    is_token = columns < counts[:, None]  # (B, T)
    bias = torch.zeros(num_rows, length, dtype=torch.bfloat16).masked_fill_(~is_token, -torch.inf)
    bias[len(lengths) :] = 0  # rows that only fill the block up: softmax needs a finite score
    padded_to_packed = packed_to_padded = None
    if not is_token.all():
        row_starts = counts.cumsum(0) - counts
        padded_to_packed = ((row_starts[:, None] + columns) * is_token).flatten()
        packed_to_padded = Packing(is_token).indices
    end = start + int(lengths.sum())
    head_bias = bias.repeat(num_heads, 1)[:, None]  # (N * B, 1, T)
    return Block(start, end, head_bias, padded_to_packed, packed_to_padded)


def attend_blocks(qkv: Tensor, blocks: Sequence[Block], num_heads: int) -> Tensor:
    """Attention by plain matrix products, one block at a time.

    In bfloat16 on CPUs it is twice as fast as the fused kernel.

    (S, 3H) -> (S, H)
    """
    contexts = [_attend_block(qkv[block.start : block.end], block, num_heads) for block in blocks]
    return contexts[0] if len(contexts) == 1 else torch.cat(contexts)


def _attend_block(qkv: Tensor, block: Block, num_heads: int) -> Tensor:
    """The context of one block's tokens.  (s, 3H) -> (s, H)."""
    num_tokens = len(qkv)
    if block.padded_to_packed is not None:
        qkv = qkv.index_select(0, block.padded_to_packed)  # (B * T, 3H)
    heads_and_rows, _, length = block.bias.shape  # N * B, 1, T
    q, k, v = (
        qkv.view(len(qkv), 3, num_heads, -1)
        .permute(1, 2, 0, 3)  # (3, N, B * T, D)
        .reshape(3, heads_and_rows, length, -1)
    )  # (N * B, T, D) each
    # Softmax does not change when the mean key is subtracted, and bfloat16 rounds smaller numbers
    # to smaller errors.
    k = k - k.mean(dim=1, keepdim=True)
    head_size = q.shape[2]
    bias = block.bias.to(q.dtype)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=head_size**-0.5)  # (N * B, T, T)
    softmax_dtype = None
    if length < FLOAT32_SOFTMAX_LENGTH:
        softmax_dtype = torch.promote_types(q.dtype, torch.float32)
    weights = scores.softmax(-1, dtype=softmax_dtype).to(q.dtype)
    context = torch.bmm(weights, v)  # (N * B, T, D)
    context = context.view(num_heads, -1, head_size).transpose(0, 1)  # (B * T, N, D)
    if block.packed_to_padded is not None:
        context = context.index_select(0, block.packed_to_padded)  # (s, N, D)
    return context.reshape(num_tokens, -1)  # (s, H)
