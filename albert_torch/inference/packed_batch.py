"""`PackedBatch`: rows of tokens laid end to end without padding, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain

import torch
from torch import Tensor

Embed = Callable[[Tensor, Tensor, Tensor], Tensor]
"""input_ids, token_type_ids, position_ids, (1, S) each -> embeddings (1, S, E)."""

TokenIndex = slice | Tensor
"""Which of several tokens: neighbours, or a (C,) long tensor."""


@dataclass(frozen=True)
class PackedBatch:
    """The real tokens of several rows, one row after another, the shortest row first.

    The rows are sorted by length because attention is faster on neighbours of similar lengths; rows
    without any token are left out. Everything that is needed to bring results back into the
    caller's order and shape is kept. S is the number of tokens, B the number of the caller's rows,
    and K the number of tokens whose final hidden state is needed.

    Attributes:
        embeddings: (S, E), the embedded tokens.
        row_lengths: Number of tokens of each packed row, ascending, at least 1.
        row_indices: (S,) long, the caller's row that each token belongs to.
        columns: (S,) long, the position of each token within that row. In a padded row, padding
            counts.
        positions: (S,) long, the position of each token in the caller's batch: row * T + column in
            a padded batch, the number of tokens before it in a list of rows.
        shape: (B, T) of the caller's padded batch. For a list of rows, T is the length of the
            longest one.
        rows_in_order: Whether the caller's rows were sorted already, so that results need no
            sorting.
        token_mask: (S,) bool, the K tokens whose final hidden state is needed; None means all.
    """

    embeddings: Tensor
    row_lengths: Sequence[int]
    row_indices: Tensor
    columns: Tensor
    positions: Tensor
    shape: tuple[int, int]
    rows_in_order: bool = False
    token_mask: Tensor | None = None

    @classmethod
    def from_padded(
        cls, embeddings: Tensor, attention_mask: Tensor, *, first_tokens_only: bool = False
    ) -> PackedBatch:
        """Pack a padded batch.

        Args:
            embeddings: (B, T, E)
            attention_mask: (B, T), nonzero for a token, zero for padding. Padding may be anywhere
                in a row.
            first_tokens_only: Whether only the final hidden state of column 0 is needed.
        """
        num_rows, length, _ = embeddings.shape
        is_token = attention_mask.bool()
        row_lengths, order = is_token.sum(dim=1).sort(stable=True)
        sorted_rows, columns = is_token[order].nonzero().unbind(dim=1)  # (S,) each
        row_indices = order[sorted_rows]
        positions = row_indices * length + columns
        return cls(
            embeddings=embeddings.flatten(0, 1)[positions],
            row_lengths=[count for count in row_lengths.tolist() if count > 0],
            row_indices=row_indices,
            columns=columns,
            positions=positions,
            shape=(num_rows, length),
            token_mask=columns == 0 if first_tokens_only else None,
        )

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[Sequence[int]],
        token_type_ids: Sequence[Sequence[int]] | None,
        needed_columns: Sequence[Sequence[int]] | None,
        *,
        embed: Embed,
        device: torch.device,
    ) -> PackedBatch:
        """Pack rows of token ids.

        Args:
            rows: The token ids of each row. There is at least one row, and none is empty.
            token_type_ids: The segment of each token; None means 0 everywhere.
            needed_columns: For each row, the columns whose final hidden state is needed; None means
                all.
            embed: Called once with the packed ids.
            device: Where the tensors are created.
        """

        def packed(sequences: Iterable[Iterable[int]]) -> Tensor:
            numbers = list(chain.from_iterable(sequences))
            return torch.tensor(numbers, dtype=torch.long, device=device)

        row_lengths = [len(row) for row in rows]
        order = sorted(range(len(rows)), key=row_lengths.__getitem__)  # stable
        row_starts = [0, *accumulate(row_lengths)]  # in the caller's order
        columns = packed(range(row_lengths[row]) for row in order)
        positions = packed(range(row_starts[row], row_starts[row + 1]) for row in order)
        input_ids = packed(rows[row] for row in order)
        if token_type_ids is None:
            segments = torch.zeros_like(input_ids)
        else:
            segments = packed(token_type_ids[row] for row in order)
        token_mask = None
        if needed_columns is not None:
            needed_positions = packed(
                [row_starts[row] + column for column in needed_columns[row]]
                for row in range(len(rows))
            )
            is_needed = torch.zeros(row_starts[-1], dtype=torch.bool, device=device)
            is_needed[needed_positions] = True
            token_mask = is_needed[positions]
        return cls(
            embeddings=embed(input_ids[None], segments[None], columns[None])[0],
            row_lengths=[row_lengths[row] for row in order],
            row_indices=packed([row] * row_lengths[row] for row in order),
            columns=columns,
            positions=positions,
            shape=(len(rows), max(row_lengths)),
            rows_in_order=order == list(range(len(rows))),
            token_mask=token_mask,
        )

    # ---- results: one value for each needed token ----

    @cached_property
    def num_results(self) -> int:
        """K, the number of tokens whose final hidden state is needed."""
        return len(self.embeddings) if self.token_mask is None else int(self.token_mask.sum())

    def to_padded(self, values: Tensor) -> Tensor:
        """Unpack into the caller's padded batch, with zeros elsewhere.  (K, ...) -> (B, T, ...)."""
        num_rows, length = self.shape
        padded = values.new_zeros(num_rows * length, *values.shape[1:])
        padded.index_copy_(0, self._needed(self.positions), values)
        return padded.view(num_rows, length, *values.shape[1:])

    def to_rows(self, values: Tensor) -> Tensor:
        """Bring packed values into the order of the caller's rows.  (K, ...) -> (K, ...)."""
        if self.rows_in_order:
            return values
        return values[self._needed(self.positions).argsort()]

    def first_tokens(self, values: Tensor) -> Tensor | None:
        """Select the values of column 0, in the caller's order.  (K, ...) -> (B, ...).

        A row whose column 0 is padding gets zeros. The result is None if column 0 of some row is a
        token that is not needed.
        """
        is_first = self.columns == 0  # (S,)
        if self.token_mask is None:
            first_values = values[is_first]
        elif torch.equal(self.token_mask, is_first):
            first_values = values
        elif bool(self.token_mask[is_first].all()):
            first_values = values[is_first[self.token_mask]]
        else:
            return None
        first = values.new_zeros(self.shape[0], *values.shape[1:])
        first[self.row_indices[is_first]] = first_values
        return first

    def _needed(self, per_token: Tensor) -> Tensor:
        """(S, ...) -> (K, ...), the needed tokens."""
        return per_token if self.token_mask is None else per_token[self.token_mask]

    # ---- chunks: some of the rows ----

    @cached_property
    def row_starts(self) -> list[int]:
        """The index of each packed row's first token, and S at the end."""
        return [0, *accumulate(self.row_lengths)]

    @cached_property
    def result_indices(self) -> Tensor | None:
        """(S,) long, the index of each needed token among the K results, -1 for the others.

        None if all tokens are needed.
        """
        if self.token_mask is None:
            return None
        return torch.where(self.token_mask, self.token_mask.cumsum(0) - 1, -1)

    def chunk(self, rows: Sequence[int], padding_to_block: Callable[[int], int]) -> Chunk:
        """Take some of the packed rows, padded so that matrices have round sizes.

        Args:
            rows: Indices of packed rows, ascending.
            padding_to_block: How many rows to add to a matrix of a given size.
        """
        starts = self.row_starts
        tokens: TokenIndex = slice(starts[rows[0]], starts[rows[-1] + 1])
        are_neighbours = rows[-1] - rows[0] == len(rows) - 1
        if not are_neighbours:
            indices = [range(starts[row], starts[row + 1]) for row in rows]
            tokens = torch.tensor(list(chain.from_iterable(indices)))
        embeddings = self.embeddings[tokens]
        num_tokens = num_results = len(embeddings)
        needed, results = None, tokens
        if self.result_indices is not None:
            chunk_results = self.result_indices[tokens]
            needed = (chunk_results >= 0).nonzero().squeeze(1)
            results = chunk_results[needed]
            num_results = len(needed)
            needed = torch.cat([needed, needed[: padding_to_block(num_results)]])
        row_lengths = [self.row_lengths[row] for row in rows]
        extra_tokens = padding_to_block(num_tokens)
        if extra_tokens > 0:  # one more row, whose results are not read
            embeddings = torch.cat([embeddings, embeddings[:extra_tokens]])
            row_lengths.append(extra_tokens)
        return Chunk(embeddings, row_lengths, needed, tokens, results, num_tokens, num_results)


@dataclass(frozen=True)
class Chunk:
    """Some rows of a `PackedBatch`, computed together, padded to a round size.

    The padding consists of copies of tokens, whose results are not read.

    Attributes:
        embeddings: (C, E), the chunk's tokens and the padding.
        row_lengths: Number of tokens of each row; the padding counts as one row.
        needed: (K',) long, which of the C tokens are needed after the last attention, and padding;
            None means all.
        tokens: Which of the batch's S tokens these are, without the padding.
        results: Which of the batch's K results these are, without the padding.
        num_tokens: Number of tokens without the padding.
        num_results: Number of results without the padding.
    """

    embeddings: Tensor
    row_lengths: Sequence[int]
    needed: Tensor | None
    tokens: TokenIndex
    results: TokenIndex
    num_tokens: int
    num_results: int


@dataclass(frozen=True)
class PackedOutput:
    """What a model returns for rows of token ids, without padding.

    Attributes:
        values: Tensors by the name of the field in the model's output class, such as "logits" or
            "last_hidden_state". They have one entry for each needed token, row after row in the
            caller's order, (K, ...), or one entry for each row, (B, ...).
        row_lengths: Number of needed tokens of each row.
    """

    values: dict[str, Tensor]
    row_lengths: list[int]

    def __getitem__(self, name: str) -> Tensor:
        """Return the values of that name.

        Raises:
            KeyError: If there are none.
        """
        if name not in self.values:
            raise KeyError(f"the output has no {name!r}, only {', '.join(self.values)}")
        return self.values[name]

    def split(self, name: str) -> tuple[Tensor, ...]:
        """Return the values that belong to each row, for an output with one entry per token.

        (K, ...) -> B tensors (tokens of the row, ...).
        """
        return torch.split(self[name], self.row_lengths)
