"""The ALBERT encoder (Lan et al. 2020). The module tree is the checkpoint schema: attribute names are the Hub's.

B batch, T tokens in a row, S tokens in all (packed), E embedding, H hidden, N heads, D head size, F feed-forward,
V vocabulary, L layers, G groups. A comment at a line's end gives the new shape; (..., H) is (B, T, H) or (S, H).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from albert_torch.attention import BACKENDS, AttentionContext, Packing
from albert_torch.config import AlbertConfig
from albert_torch.outputs import BaseModelOutputWithPooling
from albert_torch.pretrained import AlbertPreTrainedModel

_gelu_tanh = partial(F.gelu, approximate="tanh")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(
        ("gelu", "gelu_python"), F.gelu
    ),  # the erf form, as transformers reads these names
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python_tanh"), _gelu_tanh),
    **dict.fromkeys(("silu", "swish"), F.silu),
    "relu": F.relu,
    "tanh": torch.tanh,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function that `hidden_act` names.  Raises `ValueError` for a name that no ALBERT uses."""
    if name not in ACTIVATIONS:
        raise ValueError(f"hidden_act={name!r} is not known; use one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class AlbertEmbeddings(nn.Module):
    """Word, position and segment embeddings of width E, a vocabulary factor apart from H (§3.1)."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        width = config.embedding_size
        self.word_embeddings = nn.Embedding(
            config.vocab_size, width, padding_idx=config.pad_token_id
        )
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """(B, T) ids, or (B, T, E) `inputs_embeds` -> (B, T, E).  Raises `ValueError` for what cannot be looked up."""
        words = self._words(input_ids, inputs_embeds)  # (B, T, E)
        rows, length, _ = words.shape
        if position_ids is None:
            if length > (limit := self.position_embeddings.num_embeddings):
                raise ValueError(
                    f"rows have {length} tokens, the model {limit} positions: truncate to max_length={limit}"
                )
            position_ids = torch.arange(length, device=words.device)[None]  # (1, T)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(position_ids)  # (1, T)
        for name, ids in (("position_ids", position_ids), ("token_type_ids", token_type_ids)):
            if ids.dim() != 2 or ids.shape[0] not in (1, rows) or ids.shape[1] != length:
                raise ValueError(
                    f"{name} is {tuple(ids.shape)}, must be {(rows, length)} as the tokens are"
                )
        segments = _look_up("token_type_ids", self.token_type_embeddings, token_type_ids)
        positions = _look_up("position_ids", self.position_embeddings, position_ids)
        embedded: Tensor = self.dropout(self.LayerNorm(words + segments + positions))
        return embedded

    def _words(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        given, shape = (
            ("input_ids", "(B, T)") if inputs_embeds is None else ("inputs_embeds", "(B, T, E)")
        )
        x = input_ids if inputs_embeds is None else inputs_embeds
        assert x is not None
        if x.dim() != shape.count(",") + 1:
            raise ValueError(
                f"{given} is {tuple(x.shape)}, must be {shape}: rows of tokens; one row is {given}[None]"
            )
        if 0 in x.shape[:2]:
            raise ValueError(f"{given} is {tuple(x.shape)}: give at least one row and one token")
        if input_ids is not None:
            return _look_up("input_ids", self.word_embeddings, input_ids)
        if x.shape[-1] != (width := self.word_embeddings.embedding_dim):
            raise ValueError(
                f"inputs_embeds has width {x.shape[-1]}, must be embedding_size={width} (not hidden_size)"
            )
        return x


def _look_up(name: str, table: nn.Embedding, ids: Tensor) -> Tensor:
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} is {ids.dtype}, must be torch.long or torch.int: use .long()")
    try:
        rows: Tensor = table(ids)
        return rows
    except IndexError:  # raised on the CPU; a GPU reports it as a device-side assert
        low, high = int(ids.min()), int(ids.max())
        raise ValueError(
            f"{name} go from {low} to {high}, must be 0 to {table.num_embeddings - 1}: another vocabulary?"
        ) from None


class AlbertAttention(nn.Module):
    """Multi-head self-attention with its residual and LayerNorm."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.attention_dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.output_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.dense = nn.Linear(hidden, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, attend: AttentionContext, keep: Tensor | None = None) -> Tensor:
        """(..., H) -> (..., H), or (K, H), the K tokens that `keep` marks."""
        dropout_p = self.attention_dropout.p if self.training else 0.0
        context = attend(self.query(x), self.key(x), self.value(x), dropout_p)  # (..., H)
        if keep is not None:
            context, x = context[keep], x[keep]
        attended: Tensor = self.LayerNorm(x + self.output_dropout(self.dense(context)))
        return attended


class AlbertLayer(nn.Module):
    """One shared layer (§3.1): attention, then feed-forward, each with a residual and LayerNorm."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.config = config
        self.full_layer_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = AlbertAttention(config)
        self.ffn = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = activation(config.hidden_act)
        self.dropout = nn.Dropout(config.ffn_dropout_prob)

    def forward(self, x: Tensor, attend: AttentionContext, keep: Tensor | None = None) -> Tensor:
        """(..., H) -> (..., H), or (K, H), the K tokens that `keep` marks."""
        x = self.attention(x, attend, keep)
        if (
            chunk := self.config.chunk_size_feed_forward
        ):  # tokens at a time: less memory, the same numbers
            fed = torch.cat(
                [self.feed_forward(part) for part in torch.split(x, chunk, dim=-2)], dim=-2
            )
        else:
            fed = self.feed_forward(x)
        normed: Tensor = self.full_layer_layer_norm(x + fed)
        return normed

    def feed_forward(self, x: Tensor) -> Tensor:
        """(..., H) -> (..., F) -> (..., H)."""
        fed: Tensor = self.dropout(self.ffn_output(self.activation(self.ffn(x))))
        return fed


class AlbertLayerGroup(nn.Module):
    """`inner_group_num` layers that always run one after the other."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.albert_layers = nn.ModuleList(
            AlbertLayer(config) for _ in range(config.inner_group_num)
        )

    def forward(self, x: Tensor, attend: AttentionContext, keep: Tensor | None = None) -> Tensor:
        """(..., H) -> (..., H), or (K, H), the K tokens that `keep` marks."""
        *layers, last = self.albert_layers
        for layer in layers:
            x = layer(x, attend)
        kept: Tensor = last(x, attend, keep)
        return kept


class AlbertTransformer(nn.Module):
    """The E -> H projection, then L runs of G stored groups."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding_hidden_mapping_in = nn.Linear(config.embedding_size, config.hidden_size)
        self.albert_layer_groups = nn.ModuleList(
            AlbertLayerGroup(config) for _ in range(config.num_hidden_groups)
        )
        self.gradient_checkpointing = False

    def forward(
        self,
        x: Tensor,
        attend: AttentionContext,
        hidden_states: list[Tensor] | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """(..., E) -> (..., H), or (K, H), the K tokens that `keep` marks: past the last attention only they go on.

        Into `hidden_states` go the projection and the result of each run.
        """
        x = self.embedding_hidden_mapping_in(x)  # (..., H)
        for i in range(self.config.num_hidden_layers):
            if hidden_states is not None:
                hidden_states.append(x)
            group = self.albert_layer_groups[
                i * len(self.albert_layer_groups) // self.config.num_hidden_layers
            ]
            kept = keep if i == self.config.num_hidden_layers - 1 else None
            if self.gradient_checkpointing and self.training:
                x = checkpoint(
                    group, x, attend, kept, use_reentrant=False
                )  # one checkpoint a run, not a stored group
            else:
                x = group(x, attend, kept)  # the same weights, again: cross-layer sharing (§3.1)
        if hidden_states is not None:
            hidden_states.append(x)
        return x


class AlbertModel(AlbertPreTrainedModel):
    """The encoder, with the pooler unless `add_pooling_layer=False`: ids in, hidden states out.

    `attn_implementation` names the attention backend, "sdpa" or "eager". With `unpad=True` the encoder runs on the real
    tokens alone: the same numbers there, zeros at padding, and no time spent on it.
    """

    def __init__(
        self,
        config: AlbertConfig,
        add_pooling_layer: bool = True,
        *,
        attn_implementation: str = "sdpa",
        unpad: bool = False,
    ) -> None:
        super().__init__(config)
        self.embeddings = AlbertEmbeddings(config)
        self.encoder = AlbertTransformer(config)
        self.pooler = (
            nn.Linear(config.hidden_size, config.hidden_size) if add_pooling_layer else None
        )
        self.pooler_activation = nn.Tanh() if add_pooling_layer else None
        self.set_attn_implementation(attn_implementation)
        self.unpad = unpad
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        keep: Tensor | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Tensor, ...]:
        """Encode a batch.

        `input_ids`, `token_type_ids`, `position_ids`: (B, T) integers; `inputs_embeds` (B, T, E) in place of the ids.
        `attention_mask`: (B, T), nonzero = real token; or (B, 1 or N, T, T): bool or integer, who may attend to whom;
        floats to be added to the scores. Probabilities need the eager backend: `output_attentions=True` runs it.
        What is None is read from the config. `keep`: (B, T) bool, the tokens that are wanted beside those the pooler
        reads: the others leave the last layer before its feed-forward, and their last hidden state is zero.
        Raises `ValueError` for a wrong shape, type or id, and for `keep` where all hidden states are asked for.
        """
        x = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)  # (B, T, E)
        mask = self._mask(attention_mask, x)  # broadcasts to (B, N, T, T)
        packing = Packing(attention_mask) if self.unpad and attention_mask is not None else None
        probabilities: list[Tensor] | None = (
            [] if _or(output_attentions, self.config.output_attentions) else None
        )
        hidden_states: list[Tensor] | None = (
            [] if _or(output_hidden_states, self.config.output_hidden_states) else None
        )
        backend = BACKENDS["eager" if probabilities is not None else self.attn_implementation]
        attend = AttentionContext(
            self.config.num_attention_heads, backend, mask, packing, probabilities
        )
        if keep is not None:
            if keep.shape != x.shape[:2] or hidden_states is not None:
                raise ValueError(
                    f"keep is {tuple(keep.shape)}, must be {tuple(x.shape[:2])}, and without output_hidden_states"
                )
            x = self._encode_kept(x, attend, keep)  # (B, T, H)
        elif packing is None:
            x = self.encoder(x, attend, hidden_states)  # (B, T, H)
        else:
            x = packing.pad(
                self.encoder(packing.pack(x), attend, hidden_states)
            )  # (S, E) -> (S, H) -> (B, T, H)
            hidden_states = hidden_states and [packing.pad(states) for states in hidden_states]
        output = BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=torch.tanh(self.pooler(x[:, 0]))
            if self.pooler is not None
            else None,  # (B, H)
            hidden_states=None if hidden_states is None else tuple(hidden_states),
            attentions=None if probabilities is None else tuple(probabilities),
        )
        return output if _or(return_dict, self.config.return_dict) else output.to_tuple()

    def _encode_kept(self, x: Tensor, attend: AttentionContext, keep: Tensor) -> Tensor:
        """(B, T, E) -> (B, T, H), zeros where neither `keep` nor the pooler wants a token."""
        if self.pooler is not None:
            keep = keep.index_fill(1, keep.new_zeros(1, dtype=torch.long), True)
        kept = keep  # (B, T)
        if (packing := attend.packing) is not None:
            x, kept = packing.pack(x), packing.pack(keep)  # (S, E), (S,)
            keep = packing.pad(kept)  # without padding
        x = self.encoder(x, attend, None, kept)  # (K, H)
        return Packing(keep).pad(x)

    def _mask(self, mask: Tensor | None, x: Tensor) -> Tensor | None:
        """What the backends take: bool, True = may attend, or floats to add; broadcasts to (B, N, T, T)."""
        if mask is None:
            return None
        rows, length, _ = x.shape
        if mask.shape == (rows, length):
            return mask[:, None, None, :].bool()  # (B, 1, 1, T)
        allowed = ((1, rows), (1, self.config.num_attention_heads), (1, length), (length,))
        if mask.dim() != 4 or any(
            size not in sizes for size, sizes in zip(mask.shape, allowed, strict=True)
        ):
            raise ValueError(
                f"attention_mask is {tuple(mask.shape)}, must be {(rows, length)} or {(rows, 1, length, length)}"
            )
        if self.unpad:
            raise ValueError(
                "unpad=True needs a (B, T) attention_mask, to know the real tokens; or set model.unpad = False"
            )
        return mask.to(x.dtype) if mask.is_floating_point() else mask.bool()


def _or(argument: bool | None, default: bool) -> bool:
    return default if argument is None else argument
