"""The encoder on packed rows: no padding, no mask, weights prepared once and reused by every run of the shared layer.

Rows come sorted by length, so that attention meets neighbours of like lengths, and are computed some hundred tokens at
a time, so that what passes between two products stays in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from albert_torch.config import AlbertConfig
from albert_torch.inference.kernels import int8
from albert_torch.inference.kernels import linear as kernels
from albert_torch.inference.kernels.attention import Attention
from albert_torch.inference.parallel import shares, side_by_side
from albert_torch.inference.scheduling import filling, plan
from albert_torch.model import AlbertLayer, AlbertTransformer


def linears(
    layer: AlbertLayer, dtype: torch.dtype, device: torch.device
) -> dict[str, kernels.Linear]:
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

    def __init__(
        self, layer: AlbertLayer, config: AlbertConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.eps, self.hidden_act = config.layer_norm_eps, config.hidden_act
        given = linears(layer, dtype, device)
        self.qkv, self.dense = kernels.linear(*given["qkv"]), kernels.linear(*given["dense"])
        self.feed_forward: kernels.Kernel = kernels.FeedForward(
            given["ffn"], given["ffn_output"], self.hidden_act
        )
        norms = (layer.attention.LayerNorm, layer.full_layer_layer_norm)
        self.norms = [
            (norm.weight.to(device, dtype, copy=True), norm.bias.to(device, dtype, copy=True))
            for norm in norms
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


def _groups(encoder: AlbertTransformer) -> list[list[AlbertLayer]]:
    return [list(group.albert_layers) for group in encoder.albert_layer_groups]  # type: ignore[arg-type]


class PackedEncoder:
    """`AlbertTransformer` on packed rows."""

    def __init__(
        self,
        encoder: AlbertTransformer,
        config: AlbertConfig,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.config, self.dtype = config, dtype
        mapping = encoder.embedding_hidden_mapping_in
        weight, bias = (x.to(device, dtype, copy=True) for x in (mapping.weight, mapping.bias))
        self.project = kernels.linear(weight, bias)
        self.groups = [
            [PackedLayer(layer, config, dtype, device) for layer in group]
            for group in _groups(encoder)
        ]

    def to_int8(self, encoder: AlbertTransformer, embedded: Tensor, lengths: Sequence[int]) -> None:
        """Compute in bytes; the ranges of what passes through the layers are taken from these rows."""
        seen = [[layer.record() for layer in group] for group in self.groups]
        self(embedded, lengths, staffs=[1])  # one chunk after another, as a recorder counts
        for group, packed, recorders in zip(_groups(encoder), self.groups, seen, strict=True):
            for layer, one, recorder in zip(group, packed, recorders, strict=True):
                one.to_int8(layer, recorder)

    def __call__(
        self,
        embedded: Tensor,
        lengths: Sequence[int],
        keep: Tensor | None = None,
        hidden_states: list[Tensor] | None = None,
        staffs: Sequence[int] | None = None,
    ) -> Tensor:
        """(S, E) -> (S, H) in float32, or only the tokens that `keep` (S,), bool, marks.

        `lengths`: of the rows, ascending. Into `hidden_states` go the projection and the result of each run. `staffs`:
        how many workers there may be on a CPU, most first; None: as the threads allow.
        """
        workers, chunks = 1, [list(range(len(lengths)))] if lengths else []
        if embedded.device.type == "cpu":
            workers, chunks = plan(
                lengths, self.config.hidden_size, shares() if staffs is None else staffs
            )
        empty = partial(torch.empty, dtype=torch.float32, device=embedded.device)
        x: Tensor = empty(
            len(embedded) if keep is None else int(keep.sum()), self.config.hidden_size
        )
        if hidden_states is not None:
            shape = len(embedded), self.config.hidden_size
            hidden_states += [empty(*shape) for _ in range(self.config.num_hidden_layers + 1)]
        starts = [0, *accumulate(lengths)]
        places = None if keep is None else torch.where(keep, keep.cumsum(0) - 1, -1)
        side_by_side(
            partial(self._encode, embedded, starts, places, x, hidden_states or []), chunks, workers
        )
        return x

    @torch.inference_mode()  # what is written to was made outside, and is what autograd takes
    def _encode(
        self,
        embedded: Tensor,
        starts: Sequence[int],
        places: Tensor | None,
        out: Tensor,
        states: Sequence[Tensor],
        rows: Sequence[int],
    ) -> None:
        """Of these rows, write their last states into `out`, and all the others into `states`.

        `starts`: of all rows. `places` (S,): where in `out` a token goes, -1 for one that is not kept; None: all are.
        """
        here: slice | Tensor = slice(
            starts[rows[0]], starts[rows[-1] + 1]
        )  # the tokens of the rows
        if len(rows) <= rows[-1] - rows[0]:
            here = torch.tensor([i for row in rows for i in range(starts[row], starts[row + 1])])
        x, kept, there = embedded[here], None, here
        if places is not None:
            kept = (places[here] >= 0).nonzero().squeeze(1)
            there = places[here][kept]
        real, wanted = len(x), len(x) if kept is None else len(kept)
        lengths = [starts[row + 1] - starts[row] for row in rows]
        if x.device.type == "cpu":
            if extra := filling(real):
                x, lengths = (
                    torch.cat([x, x[:extra]]),
                    [*lengths, extra],
                )  # one row more, that nobody reads
            kept = kept if kept is None else torch.cat([kept, kept[: filling(wanted)]])
        attend = Attention(lengths, self.config.num_attention_heads)
        x = self.project(x.to(self.dtype))  # (S, H)
        count = self.config.num_hidden_layers
        runs = [layer for i in range(count) for layer in self.groups[i * len(self.groups) // count]]
        for i, layer in enumerate(runs):
            if states and i % self.config.inner_group_num == 0:
                states[i // self.config.inner_group_num][here] = x[:real].float()
            x = layer(x, attend, kept if i == len(runs) - 1 else None)
        if states:
            states[-1][here] = x[:real].float()
        out[there] = x[:wanted].float()
