"""The embeddings of ALBERT, and the checks of everything that is looked up in them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from albert_torch.config import AlbertConfig


class AlbertEmbeddings(nn.Module):
    """The sum of word, position and segment embeddings, normalised.

    Their size E is smaller than the hidden size H. This factorisation of the V x H embedding matrix
    is one of ALBERT's two ways to save parameters (section 3.1).
    """

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.word_embeddings = nn.Embedding(
            config.vocab_size, size, padding_idx=config.pad_token_id
        )
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Embed a batch of tokens.

        Args:
            input_ids: Token ids, (B, T).
            token_type_ids: Segment of each token, (B, T) or (1, T); 0 everywhere by default.
            position_ids: Position of each token, (B, T) or (1, T); 0 to T - 1 by default.
            inputs_embeds: Word embeddings, (B, T, E), instead of `input_ids`.

        Returns:
            The embeddings, (B, T, E).

        Raises:
            ValueError: If an input has a wrong shape, type or id, or a row has too many tokens.
        """
        words = self._embed_words(input_ids, inputs_embeds)  # (B, T, E)
        num_rows, length, _ = words.shape
        if position_ids is None:
            limit = self.position_embeddings.num_embeddings
            if length > limit:
                raise ValueError(
                    f"rows have {length} tokens, but the model has {limit} positions: truncate to "
                    f"max_length={limit}"
                )
            position_ids = torch.arange(length, device=words.device)[None]  # (1, T)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(position_ids)  # (1, T)
        for name, ids in (("position_ids", position_ids), ("token_type_ids", token_type_ids)):
            if ids.dim() != 2 or ids.shape[0] not in (1, num_rows) or ids.shape[1] != length:
                raise ValueError(
                    f"{name} has shape {tuple(ids.shape)}, must be {(num_rows, length)} like the "
                    "tokens"
                )
        segments = _look_up("token_type_ids", self.token_type_embeddings, token_type_ids)
        positions = _look_up("position_ids", self.position_embeddings, position_ids)
        embeddings: Tensor = self.dropout(self.LayerNorm(words + segments + positions))
        return embeddings

    def _embed_words(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if input_ids is not None and inputs_embeds is None:
            _check_tokens("input_ids", input_ids, "(B, T)")
            return _look_up("input_ids", self.word_embeddings, input_ids)
        if input_ids is not None or inputs_embeds is None:
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        _check_tokens("inputs_embeds", inputs_embeds, "(B, T, E)")
        size = self.word_embeddings.embedding_dim
        if inputs_embeds.shape[-1] != size:
            raise ValueError(
                f"inputs_embeds has {inputs_embeds.shape[-1]} features per token, must have "
                f"embedding_size={size} (not hidden_size)"
            )
        return inputs_embeds


def _check_tokens(name: str, tokens: Tensor, shape: str) -> None:
    """Check the shape of `input_ids` or `inputs_embeds`."""
    if tokens.dim() != shape.count(",") + 1:
        raise ValueError(
            f"{name} has shape {tuple(tokens.shape)}, must be {shape}: a batch of rows. For a "
            f"single row, pass {name}[None]"
        )
    if 0 in tokens.shape[:2]:
        raise ValueError(
            f"{name} has shape {tuple(tokens.shape)}: a batch needs at least one row and one token"
        )


def _look_up(name: str, table: nn.Embedding, ids: Tensor) -> Tensor:
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"{name} has dtype {ids.dtype}, must be torch.long or torch.int: call .long()"
        )
    try:
        embeddings: Tensor = table(ids)
    except IndexError:  # on a CPU; a GPU reports a device-side assertion instead
        low, high = int(ids.min()), int(ids.max())
        raise ValueError(
            f"{name} range from {low} to {high}, must be 0 to {table.num_embeddings - 1}: do they "
            "belong to another vocabulary?"
        ) from None
    return embeddings
