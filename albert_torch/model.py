"""The ALBERT encoder (Lan et al. 2020, "ALBERT: A Lite BERT", arXiv 1909.11942).

The module tree is the checkpoint schema: attribute names are those of the checkpoints on the Hub.
`embeddings.py` and `layers.py` hold the parts that are put together here. All of them use these
letters for sizes:

    B  batch size, in rows        N  attention heads            V  vocabulary size
    T  tokens in a row            D  size of a head, H / N      L  layers, that is, runs of a layer
    S  tokens in a packed batch   F  feed-forward size          G  groups of layers that are stored
    E  embedding size             H  hidden size                K  tokens needed of the last layer

A comment at the end of a line gives the new shape. (..., H) stands for (B, T, H), or (S, H) for
packed tokens.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from albert_torch.attention import PACKED_BACKENDS, AttentionContext, Packing
from albert_torch.config import AlbertConfig
from albert_torch.embeddings import AlbertEmbeddings
from albert_torch.layers import AlbertTransformer
from albert_torch.outputs import BaseModelOutputWithPooling
from albert_torch.pretrained import AlbertPreTrainedModel


class AlbertModel(AlbertPreTrainedModel):
    """The encoder: token ids in, hidden states out, and a pooled vector for each row.

    Args:
        config: The shape of the model.
        add_pooling_layer: Whether there is a pooler, a linear layer and tanh on the first token.
        attn_implementation: The attention backend: "sdpa" (torch's fused kernels), "eager" (written
            out) or "varlen" (for packed rows, so it needs `unpad`).
        unpad: Whether the encoder runs on real tokens only, packed one after the other. Values at
            real tokens are the same, values at padding are zero.
    """

    output_class = BaseModelOutputWithPooling
    head_modules: ClassVar[tuple[str, ...]] = ()
    uses_pooler = True
    auto_class = "AutoModel"
    label_names = ()

    unpad: bool
    _attn_implementation: str

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
        size = config.hidden_size
        self.pooler = nn.Linear(size, size) if add_pooling_layer else None
        self.pooler_activation = nn.Tanh() if add_pooling_layer else None
        self.set_attn_implementation(attn_implementation)
        self.unpad = unpad
        self.post_init()

    def forward(  # noqa: PLR0913 - the signature is that of transformers
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
            attention_mask: (B, T), nonzero at real tokens. Or (B, 1 or N, T, T): bool or integer,
                nonzero where a token (row) may attend to another (column); or float, added to the
                attention scores. By default all tokens are real.
            token_type_ids: Segment of each token, (B, T); 0 everywhere by default.
            position_ids: Position of each token, (B, T); 0 to T - 1 by default.
            inputs_embeds: Word embeddings, (B, T, E), instead of `input_ids`.
            output_attentions: Whether to return attention probabilities. If so, the eager backend
                runs, whichever is selected. None means the value in the config, like the next two.
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
        states: list[Tensor] | None = [] if output_hidden_states else None
        if packing is None:
            hidden_states = self.encoder(embeddings, attention, states)  # (B, T, H)
        else:
            packed = self.encoder(packing.pack(embeddings), attention, states)  # (S, H)
            hidden_states = packing.pad(packed)  # (B, T, H)
            states = None if states is None else [packing.pad(x) for x in states]
        output = self._output(hidden_states, attention, states)
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

        All tokens take part in attention, but only the needed ones go through the rest of the last
        layer. That saves up to most of one layer's work and memory, forward and backward. This is a
        method and not an argument of `forward`, whose signature is that of transformers; forward
        hooks of this module do not run.

        Args:
            input_ids: As for `forward`.
            attention_mask: As for `forward`.
            token_type_ids: As for `forward`.
            position_ids: As for `forward`.
            inputs_embeds: As for `forward`.
            token_mask: (B, T) bool, True for the tokens that are needed. If there is a pooler, the
                first token of each row is needed too. None means the first tokens only.
            output_attentions: As for `forward`.

        Returns:
            A `BaseModelOutputWithPooling`; its `last_hidden_state` is zero at all other tokens.

        Raises:
            ValueError: If an input has a wrong shape, type or id.
        """
        embeddings = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        attention = self._attention_context(attention_mask, embeddings, output_attentions)
        needed = self._needed_tokens(token_mask, embeddings)  # (B, T)
        packing = attention.packing
        if packing is None:
            hidden_states = self.encoder(embeddings, attention, token_mask=needed)  # (K, H)
        else:
            packed_mask = packing.pack(needed)  # (S,)
            hidden_states = self.encoder(
                packing.pack(embeddings), attention, token_mask=packed_mask
            )  # (K, H)
            needed = packing.pad(packed_mask)  # (B, T), now False at padding
        hidden_states = Packing(needed).pad(hidden_states)  # (B, T, H), zeros where not needed
        return self._output(hidden_states, attention, None)

    def pool(self, first_tokens: Tensor) -> Tensor:
        """Apply the pooler to the last hidden states of first tokens.  (B, H) -> (B, H).

        Raises:
            ValueError: If the model has no pooler.
        """
        if self.pooler is None:
            raise ValueError(
                "this model has no pooler: create it with add_pooling_layer=True, or use the last "
                "hidden states"
            )
        return torch.tanh(self.pooler(first_tokens))

    def _needed_tokens(self, token_mask: Tensor | None, embeddings: Tensor) -> Tensor:
        shape = embeddings.shape[:2]  # (B, T)
        if token_mask is None:
            needed = torch.zeros(shape, dtype=torch.bool, device=embeddings.device)
        elif token_mask.shape == shape:
            needed = token_mask.clone()
        else:
            raise ValueError(
                f"token_mask has shape {tuple(token_mask.shape)}, must be {tuple(shape)} like the "
                "tokens"
            )
        if token_mask is None or self.pooler is not None:
            needed[:, 0] = True
        return needed

    def _attention_context(
        self, attention_mask: Tensor | None, embeddings: Tensor, output_attentions: bool | None
    ) -> AttentionContext:
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if self.attn_implementation in PACKED_BACKENDS and not self.unpad:
            raise ValueError(
                f"attn_implementation={self.attn_implementation!r} is for packed rows, but this "
                "model keeps rows padded: set model.unpad = True, or select another backend"
            )
        mask = self._backend_mask(attention_mask, embeddings)  # also checks it
        return AttentionContext(
            num_heads=self.config.num_attention_heads,
            backend="eager" if output_attentions else self.attn_implementation,
            mask=mask,
            packing=Packing(attention_mask) if self.unpad and attention_mask is not None else None,
            probabilities=[] if output_attentions else None,
        )

    def _backend_mask(self, mask: Tensor | None, embeddings: Tensor) -> Tensor | None:
        """The mask that the padded backends take; it broadcasts to (B, N, T, T)."""
        if mask is None:
            return None
        num_rows, length, _ = embeddings.shape
        if mask.shape == (num_rows, length):
            return mask[:, None, None, :].bool()  # (B, 1, 1, T)
        num_heads = self.config.num_attention_heads
        allowed = ((1, num_rows), (1, num_heads), (1, length), (length,))
        if mask.dim() != 4 or any(
            size not in sizes for size, sizes in zip(mask.shape, allowed, strict=True)
        ):
            raise ValueError(
                f"attention_mask has shape {tuple(mask.shape)}, must be {(num_rows, length)} or "
                f"{(num_rows, 1, length, length)}"
            )
        if self.unpad:
            raise ValueError(
                "unpad=True needs an attention_mask of shape (B, T), which says which tokens are "
                "real; or set model.unpad = False"
            )
        return mask.to(embeddings.dtype) if mask.is_floating_point() else mask.bool()

    def _output(
        self, hidden_states: Tensor, attention: AttentionContext, states: list[Tensor] | None
    ) -> BaseModelOutputWithPooling:
        probabilities = attention.probabilities
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_states,
            pooler_output=None if self.pooler is None else self.pool(hidden_states[:, 0]),
            hidden_states=None if states is None else tuple(states),
            attentions=None if probabilities is None else tuple(probabilities),
        )
