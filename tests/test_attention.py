"""Packing takes the real tokens, in order, and puts them back where they were."""

import torch

from albert_torch.attention import Packing


def test_pack_takes_the_real_tokens_row_after_row() -> None:
    """Kills: columns before rows, padding kept, a mask read as lengths (its ones need not come first)."""
    mask = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]])
    x = torch.arange(12).reshape(4, 3, 1)
    assert Packing(mask).pack(x).flatten().tolist() == [0, 1, 4, 9, 10, 11]


def test_pad_is_the_inverse_and_zero_elsewhere() -> None:
    """Kills: rows shifted by one, leftovers at padding, a gradient that goes to another token."""
    mask = torch.tensor([[1, 0, 1], [0, 1, 0]])
    packing = Packing(mask)
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    back = packing.pad(packing.pack(x))
    assert torch.equal(back, x * mask[..., None])
    (back * torch.arange(6.0).reshape(2, 3, 1)).sum().backward()
    assert torch.equal(
        x.grad, (mask * torch.arange(6).reshape(2, 3)).unsqueeze(-1).expand(2, 3, 5).double()
    )
