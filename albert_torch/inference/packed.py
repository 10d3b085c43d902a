"""The encoder on packed rows: no padding, no mask, weights prepared once and reused by every run of the shared layer.

Rows come sorted by length, so that attention meets neighbours of like lengths, and are computed some hundred tokens at
a time, so that what passes between two products stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.config import AlbertConfig
from albert_torch.inference import int8, kernels
from albert_torch.inference.attention import Attention
from albert_torch.inference.workers import shares, side_by_side
from albert_torch.model import AlbertLayer, AlbertTransformer

CHUNK_TOKENS = 1536  # on a CPU; more tokens at a time gain nothing and leave the cache
WORKER_TOKENS = 32  # for fewer, another worker does not pay
UNEVEN = 1.06  # nor where the one with the most to do has more than so many times its share


def linears(layer: AlbertLayer, dtype: torch.dtype, device: torch.device) -> dict[str, kernels.Linear]:
    """The weights and biases of a layer's four products."""
    attention = layer.attention
    modules = {
        "qkv": (attention.query, attention.key, attention.value),
        "dense": (attention.dense,),
        "ffn": (layer.ffn,),
        "ffn_output": (layer.ffn_output,),
    }
    return {
        name: (
            torch.cat([x.weight for x in some]).to(device, dtype),
            torch.cat([x.bias for x in some]).to(device, dtype),
        )
        for name, some in modules.items()
    }


class PackedLayer:
    """`AlbertLayer` on packed tokens: four matrix products, Q, K and V being one of them."""

    def __init__(self, layer: AlbertLayer, config: AlbertConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.eps, self.hidden_act = config.layer_norm_eps, config.hidden_act
        given = linears(layer, dtype, device)
        self.qkv, self.dense = kernels.linear(*given["qkv"]), kernels.linear(*given["dense"])
        self.feed_forward: kernels.Kernel = kernels.FeedForward(given["ffn"], given["ffn_output"], self.hidden_act)
        norms = (layer.attention.LayerNorm, layer.full_layer_layer_norm)
        self.norms = [
            (norm.weight.to(device, dtype, copy=True), norm.bias.to(device, dtype, copy=True)) for norm in norms
        ]

    def record(self) -> dict[str, int8.Recorder]:
        """From now on, note the inputs of the products; by name."""
        assert isinstance(self.feed_forward, kernels.FeedForward)
        seen = {"qkv": int8.Recorder(self.qkv), "dense": int8.Recorder(self.dense)}
        seen["ffn_output"] = int8.Recorder(self.feed_forward.ffn_output)
        self.feed_forward.ffn_output = seen["ffn_output"]
        seen["ffn"] = int8.Recorder(self.feed_forward)
        self.qkv, self.dense, self.feed_forward = seen["qkv"], seen["dense"], seen["ffn"]
        return seen

    def to_int8(self, layer: AlbertLayer, seen: dict[str, int8.Recorder]) -> None:
        """Compute in bytes, in the ranges that were seen."""
        given = linears(layer, torch.float32, torch.device("cpu"))
        attention_dtype = torch.bfloat16 if kernels.bf16_pays() else torch.float32
        self.qkv = int8.Int8Linear(*given["qkv"], seen["qkv"], attention_dtype)
        self.dense = int8.Int8Linear(*given["dense"], seen["dense"])
        self.feed_forward = int8.Int8FeedForward(
            given["ffn"], given["ffn_output"], self.hidden_act, seen["ffn"], seen["ffn_output"]
        )

    def __call__(self, x: Tensor, attend: Attention, keep: Tensor | None = None) -> Tensor:
        """(S, H) -> (S, H), or the rows `keep` of it, the only ones that are then computed past the attention."""
        context = attend(self.qkv(x))  # (S, H)
        if keep is not None:
            context, x = context[keep], x[keep]
        x = self._norm(self.dense(context, x), 0)
        return self._norm(self.feed_forward(x, x), 1)

    def _norm(self, x: Tensor, which: int) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.norms[which], self.eps)


Chunk = tuple[int, int, Sequence[int]]  # first token, end, the rows' lengths


def chunks(lengths: Sequence[int], count: int) -> Iterator[Chunk]:
    """Whole rows in `count` shares as like as can be, or fewer."""
    total = sum(lengths)
    start = row = 0
    for share in range(1, count + 1):
        first, end = row, start
        while row < len(lengths) and (row == first or end + lengths[row] / 2 <= total * share / count):
            end += lengths[row]
            row += 1
        if row > first:
            yield start, end, lengths[first:row]
        start = end


def plan(lengths: Sequence[int], staffs: Sequence[int]) -> tuple[int, list[Chunk]]:
    """How many workers to employ, one of the numbers `staffs`, and their chunks: as many workers as have enough to do,
    and about as much each."""
    total = sum(lengths)
    for workers in staffs:
        count = -(-total // CHUNK_TOKENS)
        parts = list(chunks(lengths, count + -count % workers))
        loads = [0] * workers
        for start, end, _ in parts:  # each goes to who is free first
            loads[loads.index(min(loads))] += end - start
        if min(loads) >= WORKER_TOKENS and max(loads) * workers <= total * UNEVEN:
            break
    return workers, parts


def filling(size: int) -> int:
    """How many rows bring a product's `size` to a round number, at most a thirty-second more.

    oneDNN keeps code for every shape that it has met, half a gigabyte of it if all sizes up to a thousand come along.
    """
    return -size % (1 << max(0, size.bit_length() - 6))


def _groups(encoder: AlbertTransformer) -> list[list[AlbertLayer]]:
    return [list(group.albert_layers) for group in encoder.albert_layer_groups]  # type: ignore[arg-type]


class PackedEncoder:
    """`AlbertTransformer` on packed rows."""

    def __init__(
        self, encoder: AlbertTransformer, config: AlbertConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.config, self.dtype = config, dtype
        mapping = encoder.embedding_hidden_mapping_in
        weight, bias = (x.to(device, dtype, copy=True) for x in (mapping.weight, mapping.bias))
        self.project = kernels.linear(weight, bias)
        self.groups = [[PackedLayer(layer, config, dtype, device) for layer in group] for group in _groups(encoder)]

    def to_int8(self, encoder: AlbertTransformer, embedded: Tensor, lengths: Sequence[int]) -> None:
        """Compute in bytes; the ranges of what passes through the layers are taken from these rows."""
        seen = [[layer.record() for layer in group] for group in self.groups]
        for chunk in plan(lengths, [1])[1]:  # one after another, as a recorder counts
            self._encode(embedded, None, False, chunk)
        for group, packed, recorders in zip(_groups(encoder), self.groups, seen, strict=True):
            for layer, one, recorder in zip(group, packed, recorders, strict=True):
                one.to_int8(layer, recorder)

    def __call__(
        self,
        embedded: Tensor,
        lengths: Sequence[int],
        keep: Tensor | None = None,
        hidden_states: list[Tensor] | None = None,
    ) -> Tensor:
        """(S, E) -> (S, H) in float32, or only the tokens that `keep` (S,), bool, marks.

        `lengths`: of the rows, ascending. Into `hidden_states` go the projection and the result of each run.
        """
        workers, parts = 1, [(0, len(embedded), lengths)]
        if embedded.device.type == "cpu":
            workers, parts = plan(lengths, shares())
        size = len(embedded) if keep is None else int(keep.sum())
        x = torch.empty(size, self.config.hidden_size, dtype=torch.float32, device=embedded.device)
        states, done = [], 0
        encode = partial(self._encode, embedded, keep, hidden_states is not None)
        for part, seen in side_by_side(encode, parts, workers):
            x[done : (done := done + len(part))] = part
            states.append(seen)
        if hidden_states is not None:
            hidden_states += [torch.cat(parts).float() for parts in zip(*states, strict=True)]
        return x

    @torch.inference_mode()  # what leaves the encoder is copied, outside, into tensors that autograd takes
    def _encode(self, x: Tensor, keep: Tensor | None, record: bool, chunk: Chunk) -> tuple[Tensor, list[Tensor]]:
        """Of one chunk, what is kept of its last states, and if `record`, all the others."""
        start, end, lengths = chunk
        x, keep = x[start:end], None if keep is None else keep[start:end].nonzero().squeeze(1)
        real, wanted = len(x), len(x) if keep is None else len(keep)
        if x.device.type == "cpu":
            if extra := filling(real):
                x, lengths = torch.cat([x, x[:extra]]), [*lengths, extra]  # one row more, that nobody reads
            keep = keep if keep is None else torch.cat([keep, keep[: filling(wanted)]])
        attend = Attention(lengths, self.config.num_attention_heads)
        x = self.project(x.to(self.dtype))  # (S, H)
        count = self.config.num_hidden_layers
        runs = [layer for i in range(count) for layer in self.groups[i * len(self.groups) // count]]
        seen = []
        for i, layer in enumerate(runs):
            if record and i % self.config.inner_group_num == 0:
                seen.append(x[:real])
            x = layer(x, attend, keep if i == len(runs) - 1 else None)
        if record:
            seen.append(x[:real])
        return x[:wanted], seen
