"""The ALBERT encoder (Lan et al. 2020). The module tree is the checkpoint schema: attribute names are the Hub's.

B batch, T tokens in a row, S tokens in all (packed), E embedding, H hidden, N heads, D head size, F feed-forward,
V vocabulary, L layers, G groups. A comment at a line's end gives the new shape; (..., H) is (B, T, H) or (S, H).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from albert_torch.attention import PACKED_BACKENDS, AttentionContext, Packing
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

    def forward(
        self, x: Tensor, attend: AttentionContext, token_mask: Tensor | None = None
    ) -> Tensor:
        """(..., H) -> (..., H), or (K, H), the K tokens that `token_mask` marks."""
        dropout_p = self.attention_dropout.p if self.training else 0.0
        context = attend(self.query(x), self.key(x), self.value(x), dropout_p)  # (..., H)
        if token_mask is not None:
            context, x = context[token_mask], x[token_mask]
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

    def forward(
        self, x: Tensor, attend: AttentionContext, token_mask: Tensor | None = None
    ) -> Tensor:
        """(..., H) -> (..., H), or (K, H), the K tokens that `token_mask` marks."""
        x = self.attention(x, attend, token_mask)
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

    def forward(
        self, x: Tensor, attend: AttentionContext, token_mask: Tensor | None = None
    ) -> Tensor:
        """(..., H) -> (..., H), or (K, H), the K tokens that `token_mask` marks."""
        *layers, last = self.albert_layers
        for layer in layers:
            x = layer(x, attend)
        last_hidden: Tensor = last(x, attend, token_mask)
        return last_hidden


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
        token_mask: Tensor | None = None,
    ) -> Tensor:
        """(..., E) -> (..., H), or (K, H), the K tokens that `token_mask` marks: past the last attention only they go on.

        Into `hidden_states` go the projection and the result of each run.
        """
        x = self.embedding_hidden_mapping_in(x)  # (..., H)
        for i in range(self.config.num_hidden_layers):
            if hidden_states is not None:
                hidden_states.append(x)
            group = self.albert_layer_groups[
                i * len(self.albert_layer_groups) // self.config.num_hidden_layers
            ]
            wanted = token_mask if i == self.config.num_hidden_layers - 1 else None
            if self.gradient_checkpointing and self.training:
                x = checkpoint(
                    group, x, attend, wanted, use_reentrant=False
                )  # one checkpoint a run, not a stored group
            else:
                x = group(x, attend, wanted)  # the same weights, again: cross-layer sharing (§3.1)
        if hidden_states is not None:
            hidden_states.append(x)
        return x


class AlbertModel(AlbertPreTrainedModel):
    """The encoder, with the pooler unless `add_pooling_layer=False`: ids in, hidden states out.

    `attn_implementation` names the attention backend, "sdpa" or "eager". With `unpad=True` the encoder runs on the real
    tokens alone: the same numbers there, zeros at padding, and no time spent on it.
    """

    output_class = BaseModelOutputWithPooling
    head_modules: ClassVar[tuple[str, ...]] = ()
    uses_pooler = True
    auto_class = "AutoModel"
    label_names = ()

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

    def forward(  # noqa: PLR0913 - the signature of transformers
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Tensor, ...]:
        """Encode a batch.

        Args:
            input_ids: Token ids, (B, T), torch.long or torch.int.
            attention_mask: (B, T), nonzero at real tokens; or (B, 1 or N, T, T), where a bool or integer mask says which
                token (row) may attend to which (column) and a float mask is added to the attention scores.
            token_type_ids: Segment of each token, (B, T); 0 everywhere by default.
            position_ids: Position of each token, (B, T); 0 to T - 1 by default.
            inputs_embeds: Word embeddings, (B, T, E), instead of `input_ids`.
            output_attentions: Whether to return attention probabilities. They are computed by the eager backend,
                whichever is selected. None means the value in the config, as for the next two.
            output_hidden_states: Whether to return all hidden states.
            return_dict: Whether to return an output object rather than a tuple.

        Returns:
            A `BaseModelOutputWithPooling`, or a tuple of its fields that are not None.

        Raises:
            ValueError: If an input has a wrong shape, type or id.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if return_dict is None:
            return_dict = self.config.return_dict
        embeddings = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        attention = self._attention_context(attention_mask, embeddings, output_attentions)
        packing = attention.packing
        hidden_states: list[Tensor] | None = [] if output_hidden_states else None
        if packing is None:
            hidden = self.encoder(embeddings, attention, hidden_states)  # (B, T, H)
        else:
            packed = self.encoder(packing.pack(embeddings), attention, hidden_states)  # (S, H)
            hidden = packing.pad(packed)  # (B, T, H)
            if hidden_states is not None:
                hidden_states = [packing.pad(states) for states in hidden_states]
        output = self._output(hidden, attention, hidden_states)
        return output if return_dict else output.to_tuple()

    def encode(  # noqa: PLR0913 - the inputs of `forward`
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        *,
        token_mask: Tensor | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of which only some last hidden states are needed.

        All tokens take part in attention. In the last layer, only the needed tokens go through the output projection
        and the feed-forward network, which saves up to one layer's work and memory, forward and backward. Forward hooks
        of this module do not run, because `forward` does not.

        Args:
            input_ids: As for `forward`, like the next four.
            attention_mask: As for `forward`.
            token_type_ids: As for `forward`.
            position_ids: As for `forward`.
            inputs_embeds: As for `forward`.
            token_mask: (B, T) bool, True for the tokens that are needed. A model with a pooler adds the first token of
                each row, which the pooler reads. None means the first token of each row alone.
            output_attentions: As for `forward`.

        Returns:
            A `BaseModelOutputWithPooling` whose `last_hidden_state` is zero at the other tokens.

        Raises:
            ValueError: If an input has a wrong shape, type or id.
        """
        embeddings = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        attention = self._attention_context(attention_mask, embeddings, output_attentions)
        batch_shape = embeddings.shape[:2]  # (B, T)
        if token_mask is None:
            needed = torch.zeros(batch_shape, dtype=torch.bool, device=embeddings.device)
        elif token_mask.shape == batch_shape:
            needed = token_mask.clone()
        else:
            raise ValueError(
                f"token_mask has shape {tuple(token_mask.shape)}, must be {tuple(batch_shape)} like the tokens"
            )
        if token_mask is None or self.pooler is not None:
            needed[:, 0] = True
        packing = attention.packing
        if packing is None:
            hidden = self.encoder(embeddings, attention, token_mask=needed)  # (K, H)
        else:
            packed_mask = packing.pack(needed)  # (S,)
            hidden = self.encoder(packing.pack(embeddings), attention, token_mask=packed_mask)
            needed = packing.pad(packed_mask)  # (B, T), without padding
        return self._output(Packing(needed).pad(hidden), attention, None)

    def _attention_context(
        self, attention_mask: Tensor | None, embeddings: Tensor, output_attentions: bool | None
    ) -> AttentionContext:
        """Everything that attention needs to know about a batch; the same for all layers."""
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        backend = "eager" if output_attentions else self.attn_implementation
        if backend in PACKED_BACKENDS and not self.unpad:
            raise ValueError(
                f"attn_implementation={backend!r} attends packed tokens, but this model keeps rows "
                "padded: set model.unpad = True, or select another backend"
            )
        return AttentionContext(
            num_heads=self.config.num_attention_heads,
            backend=backend,
            mask=self._mask(attention_mask, embeddings),
            packing=Packing(attention_mask) if self.unpad and attention_mask is not None else None,
            probabilities=[] if output_attentions else None,
        )

    def _output(
        self, hidden: Tensor, attention: AttentionContext, hidden_states: list[Tensor] | None
    ) -> BaseModelOutputWithPooling:
        pooled = None if self.pooler is None else self.pool(hidden[:, 0])
        probabilities = attention.probabilities
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden,
            pooler_output=pooled,
            hidden_states=None if hidden_states is None else tuple(hidden_states),
            attentions=None if probabilities is None else tuple(probabilities),
        )

    def pool(self, first_tokens: Tensor) -> Tensor:
        """Apply the pooler, a linear layer and tanh, to the last hidden states of first tokens.  (B, H) -> (B, H)."""
        if self.pooler is None:
            raise ValueError(
                "this model has no pooler: create it with add_pooling_layer=True, or use last_hidden_state"
            )
        return torch.tanh(self.pooler(first_tokens))

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
