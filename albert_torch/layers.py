"""The layers of ALBERT, from attention to the whole stack of layers.

The names of shapes are explained at the top of `model.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from albert_torch.activations import activation
from albert_torch.attention import AttentionContext
from albert_torch.config import AlbertConfig


class AlbertAttention(nn.Module):
    """Multi-head self-attention with its residual connection and LayerNorm."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.attention_dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.output_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.dense = nn.Linear(size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)

    def forward(
        self, hidden_states: Tensor, attention: AttentionContext, token_mask: Tensor | None = None
    ) -> Tensor:
        """(..., H) -> (..., H), or (K, H): the tokens that `token_mask` marks."""
        query, key, value = (
            projection(hidden_states) for projection in (self.query, self.key, self.value)
        )
        dropout_p = self.attention_dropout.p if self.training else 0.0
        context = attention(query, key, value, dropout_p)  # (..., H)
        if token_mask is not None:
            context, hidden_states = context[token_mask], hidden_states[token_mask]  # (K, H)
        output: Tensor = self.LayerNorm(hidden_states + self.output_dropout(self.dense(context)))
        return output


class AlbertLayer(nn.Module):
    """The layer that ALBERT shares across depths (section 3.1)."""

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
        self, hidden_states: Tensor, attention: AttentionContext, token_mask: Tensor | None = None
    ) -> Tensor:
        """Apply attention, then the feed-forward network, each with a residual and LayerNorm.

        (..., H) -> (..., H), or (K, H): the tokens that `token_mask` marks.
        """
        hidden_states = self.attention(hidden_states, attention, token_mask)
        output: Tensor = self.full_layer_layer_norm(
            hidden_states + self.feed_forward(hidden_states)
        )
        return output

    def feed_forward(self, hidden_states: Tensor) -> Tensor:
        """(..., H) -> (..., F) -> (..., H), `chunk_size_feed_forward` tokens at a time if set."""
        chunk_size = self.config.chunk_size_feed_forward or hidden_states.shape[-2]
        if chunk_size >= hidden_states.shape[-2]:
            return self._feed_forward(hidden_states)
        chunks = torch.split(hidden_states, chunk_size, dim=-2)
        return torch.cat([self._feed_forward(chunk) for chunk in chunks], dim=-2)

    def _feed_forward(self, hidden_states: Tensor) -> Tensor:
        inner = self.activation(self.ffn(hidden_states))  # (..., F)
        output: Tensor = self.dropout(self.ffn_output(inner))
        return output


class AlbertLayerGroup(nn.Module):
    """`inner_group_num` different layers that always run one after the other."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.albert_layers = nn.ModuleList(
            AlbertLayer(config) for _ in range(config.inner_group_num)
        )

    def forward(
        self, hidden_states: Tensor, attention: AttentionContext, token_mask: Tensor | None = None
    ) -> Tensor:
        """(..., H) -> (..., H), or (K, H): the tokens that `token_mask` marks."""
        *inner_layers, last_layer = self.albert_layers
        for layer in inner_layers:
            hidden_states = layer(hidden_states, attention)
        output: Tensor = last_layer(hidden_states, attention, token_mask)
        return output


class AlbertTransformer(nn.Module):
    """The projection from E to H, then L runs of G groups of layers, each group L / G times."""

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
        embeddings: Tensor,
        attention: AttentionContext,
        all_hidden_states: list[Tensor] | None = None,
        token_mask: Tensor | None = None,
    ) -> Tensor:
        """Compute the last hidden states.  (..., E) -> (..., H).

        Args:
            embeddings: (..., E).
            attention: How the tokens attend to each other.
            all_hidden_states: A list to which the projection and the result of each run are added.
            token_mask: (B, T) or (S,) bool, the tokens that are needed of the last layer. The
                others leave it after attention, and the result is (K, H).
        """
        hidden_states: Tensor = self.embedding_hidden_mapping_in(embeddings)  # (..., H)
        num_layers, num_groups = self.config.num_hidden_layers, len(self.albert_layer_groups)
        for depth in range(num_layers):
            if all_hidden_states is not None:
                all_hidden_states.append(hidden_states)
            group = self.albert_layer_groups[depth * num_groups // num_layers]
            needed = token_mask if depth == num_layers - 1 else None
            if self.gradient_checkpointing and self.training:
                hidden_states = checkpoint(
                    group, hidden_states, attention, needed, use_reentrant=False
                )
            else:
                hidden_states = group(hidden_states, attention, needed)
        if all_hidden_states is not None:
            all_hidden_states.append(hidden_states)
        return hidden_states
