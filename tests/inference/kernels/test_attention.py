"""Attention of packed rows against its definition."""

import random

import pytest
import torch
from helpers.reference import worst

from albert_torch.attention import RowLengths, varlen_by_length
from albert_torch.inference.kernels import attention


@pytest.mark.parametrize("lengths", [(1, 3, 3, 16, 16), (16, 16), (5, 17, 17, 18, 30, 48, 50, 129)])
def test_attention_is_the_definition(lengths):
    """Catches: padding that is attended to; tokens of another row or head; a missing scale."""
    qkv = torch.randn(sum(lengths), 3 * 24, dtype=torch.float64)
    want = []
    for row in qkv.split(lengths):
        q, k, v = row.view(len(row), 3, 4, 6).permute(1, 2, 0, 3)  # (N, T, D) each
        want.append(((q @ k.mT / 6**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1))
    blocks = list(attention.make_blocks(lengths, 4))
    assert worst(attention.attend_blocks(qkv, blocks, 4), torch.cat(want)) < 1e-12
    by_length = attention.attend_by_length(qkv, RowLengths(lengths), 4)
    assert worst(by_length, torch.cat(want)) < 1e-12
    assert worst(attention.PackedAttention(lengths, 4)(qkv), torch.cat(want)) < 1e-12


def test_attention_meets_few_shapes():
    """Catches: blocks of every width and length (oneDNN keeps a megabyte of code for each, and
    scores do not fit into the cache), or with too much padding."""
    shapes, rng = set(), random.Random(0)
    for _ in range(500):
        middle = rng.randint(1, 512)
        num_rows = max(2, 1536 // middle)
        lengths = sorted(min(512, max(1, int(rng.gauss(middle, 9)))) for _ in range(num_rows))
        blocks = list(attention.make_blocks(lengths, 1))
        assert [block.end for block in blocks[:-1]] == [block.start for block in blocks[1:]]
        assert blocks[-1].end == sum(lengths)
        cells = sum(block.bias.numel() for block in blocks)
        assert cells < 1.4 * sum(length + max(15, length / 8) for length in lengths)
        assert all(block.bias.numel() <= attention.BLOCK_TOKENS for block in blocks)
        shapes |= {(len(block.bias), block.bias.shape[2]) for block in blocks}
    assert len(shapes) < 36


def test_block_sizes_are_as_documented():
    """Catches: an example in a docstring that is not what the function returns."""
    assert [attention.block_length(n) for n in (5, 100, 130, 300)] == [16, 112, 160, 320]
    assert [attention.block_rows(n, 16) for n in (1, 3, 4, 11, 12)] == [1, 4, 4, 4, 16]
    assert attention.block_rows(99, 512) == 1


def test_bfloat16_attends_in_blocks_on_a_cpu(monkeypatch):
    """Catches: the slow kernel where products are faster; blocks for too few tokens to pay."""
    sizes = []
    original = attention.attend_blocks
    monkeypatch.setattr(
        attention, "attend_blocks", lambda *args: sizes.append(len(args[0])) or original(*args)
    )
    limit = attention.MIN_BLOCK_TOKENS
    for dtype in (torch.float32, torch.bfloat16):
        for count in (limit, limit + 1):
            lengths = [count // 2, count - count // 2]
            qkv = torch.randn(count, 3 * 24).to(dtype)
            q, k, v = qkv.float().view(count, 3, 4, 6).unbind(dim=1)
            want = varlen_by_length(q, k, v, RowLengths(lengths)).flatten(1)
            assert worst(attention.CpuAttention(lengths, 4)(qkv).float(), want) < 0.05
    assert sizes == [limit + 1]
