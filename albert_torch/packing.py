"""Padded rows (B, T, ...) <-> packed tokens (S, ...): only the tokens that the attention mask marks as real."""

from __future__ import annotations

from torch import Tensor


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
