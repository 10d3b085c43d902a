"""What clients of transformers ask of a model, besides loading and saving.

Trainer, PEFT, sentence-transformers and others call these methods, so their names and arguments are
those of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from albert_torch.attention import backend_names
from albert_torch.config import AlbertConfig
from albert_torch.initialization import init_parameter

if TYPE_CHECKING:
    from albert_torch.model import AlbertModel

# The only gradient checkpointing there is: these values may be given, and no others.
_CHECKPOINTING_OPTIONS = {"use_reentrant": False, "every_n_layers": 1, "offload": False}


class ClientInterface(nn.Module):
    """The encoder inside, embeddings and their size, attention, gradient checkpointing, counts."""

    config: AlbertConfig
    base_model_prefix = "albert"
    supports_gradient_checkpointing = True
    # Copy -> original; in force if config.tie_word_embeddings is set.
    _tied_weights_keys: ClassVar[dict[str, str]] = {}

    # ---- the encoder, and where the model is ----

    @property
    def base_model(self) -> AlbertModel:
        """The `AlbertModel` inside, or the model itself if it is one."""
        model: Any = getattr(self, self.base_model_prefix, self)
        return model  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        """The device of the first parameter."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating-point parameter."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Return the number of weights. Tied weights count once.

        Args:
            only_trainable: Whether to leave out parameters that need no gradient.
            exclude_embeddings: Whether to leave out word, position and segment embeddings.
        """
        excluded: set[int] = set()
        if exclude_embeddings:
            excluded = {id(m.weight) for m in self.modules() if isinstance(m, nn.Embedding)}
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if id(parameter) not in excluded and (parameter.requires_grad or not only_trainable)
        )

    # ---- embeddings ----

    def tie_weights(self) -> None:
        """Make tied weights one parameter, if the config says that they are tied."""
        if not self.config.tie_word_embeddings:
            return
        for copy, original in self._tied_weights_keys.items():
            module, _, name = copy.rpartition(".")
            setattr(self.get_submodule(module), name, self.get_parameter(original))

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings, (V, E)."""
        return self.base_model.embeddings.word_embeddings

    def set_input_embeddings(self, embeddings: nn.Embedding) -> None:
        """Replace the word embeddings, and tie the decoder to them."""
        self.base_model.embeddings.word_embeddings = embeddings
        self.tie_weights()

    def get_output_embeddings(self) -> nn.Linear | None:
        """Return the decoder of masked tokens, E -> V, or None if the model has none."""
        return getattr(getattr(self, "predictions", None), "decoder", None)

    def set_output_embeddings(self, decoder: nn.Linear) -> None:
        """Replace the decoder of masked tokens. `tie_weights` replaces its weights in turn.

        Raises:
            ValueError: If the model has no such decoder.
        """
        if not hasattr(self, "predictions"):
            raise ValueError(
                f"{type(self).__name__} has no output embeddings; the models for masked tokens and "
                "for pretraining have"
            )
        self.get_submodule("predictions").decoder = decoder

    @torch.no_grad()
    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None
    ) -> nn.Embedding:
        """Change the size of the vocabulary, in the embeddings, the decoder and the config.

        Rows are cut off at the end, or added there with initial values.

        Args:
            new_num_tokens: The new size; None for the present one.
            pad_to_multiple_of: If given, the size is rounded up to a multiple of it.

        Returns:
            The word embeddings.

        Raises:
            ValueError: If a number is below 1, or the padding token would be cut off.
        """
        embeddings = self.get_input_embeddings()
        size = _new_vocab_size(embeddings, new_num_tokens, pad_to_multiple_of)
        if size == embeddings.num_embeddings:
            return embeddings
        std = self.config.initializer_range
        _resize_rows(embeddings, "weight", size, std)
        decoder = self.get_output_embeddings()
        if decoder is not None:
            _resize_rows(decoder, "weight", size, std)
            _resize_rows(decoder, "bias", size, std)
            _resize_rows(self.get_submodule("predictions"), "bias", size, std)
            decoder.out_features = size
        embeddings.num_embeddings = size
        self.config.vocab_size = size
        self.base_model.config.vocab_size = size
        self.tie_weights()
        return embeddings

    # ---- attention ----

    @property
    def attn_implementation(self) -> str:
        """The name of the attention backend."""
        return str(self.base_model._attn_implementation)

    def set_attn_implementation(self, name: str) -> None:
        """Select the attention backend.

        Raises:
            ValueError: If there is no backend of that name.
        """
        names = backend_names()
        if name not in names:
            raise ValueError(
                f"attn_implementation={name!r} is not known; use one of {', '.join(names)}"
            )
        self.base_model._attn_implementation = name

    # ---- gradient checkpointing ----

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Keep only the input of each layer in training and compute it again in the backward pass.

        Args:
            gradient_checkpointing_kwargs: Options of transformers. There is one way of
                checkpointing here, so only options that describe it are accepted.
            **options: The same options as keyword arguments.

        Raises:
            ValueError: If an option asks for something else.
        """
        for name, value in {**(gradient_checkpointing_kwargs or {}), **options}.items():
            if name not in _CHECKPOINTING_OPTIONS or value != _CHECKPOINTING_OPTIONS[name]:
                raise ValueError(
                    f"{name}={value!r} is not supported: every layer is checkpointed, always "
                    f"without re-entrance; leave {name} out"
                )
        self.base_model.encoder.gradient_checkpointing = True

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Call `gradient_checkpointing_enable`, of which this is the newer name."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **options)

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations in training."""
        self.base_model.encoder.gradient_checkpointing = False

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether gradient checkpointing is enabled."""
        return self.base_model.encoder.gradient_checkpointing

    def enable_input_require_grads(self) -> None:
        """Make the word embeddings require gradients, as adapters on a frozen model need it."""
        self.get_input_embeddings().register_forward_hook(_require_grad)


def _require_grad(module: nn.Module, inputs: Any, output: Tensor) -> None:
    output.requires_grad_(True)


def _new_vocab_size(
    embeddings: nn.Embedding, new_num_tokens: int | None, pad_to_multiple_of: int | None
) -> int:
    size = embeddings.num_embeddings if new_num_tokens is None else new_num_tokens
    multiple = 1 if pad_to_multiple_of is None else pad_to_multiple_of
    for name, value in (("new_num_tokens", size), ("pad_to_multiple_of", multiple)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number above 0")
    size += -size % multiple
    if embeddings.padding_idx is not None and embeddings.padding_idx >= size:
        raise ValueError(
            f"new_num_tokens={size} cuts off the padding token {embeddings.padding_idx}: choose a "
            "larger size, or give the padding token another id"
        )
    return size


def _resize_rows(module: nn.Module, name: str, size: int, std: float) -> None:
    """Replace a parameter by one with `size` rows, the first of which are those of the old one."""
    old = module.get_parameter(name)
    new = nn.Parameter(old.new_empty(size, *old.shape[1:]), old.requires_grad)
    setattr(module, name, new)
    init_parameter(module, name, std)
    num_kept = min(size, len(old))
    new[:num_kept] = old[:num_kept]
