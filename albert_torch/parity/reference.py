"""The reference of the parity check: the model that transformers builds from the same files.

transformers does not have every head: not `AlbertForAnswerableQuestions`, and not the heads that
are defined outside this package. The reference of such a head is transformers' `AlbertModel` under
a copy of the head's own modules, with the head's own `compute_logits` and `compute_loss`: the
encoder is compared with transformers, and the head with itself on transformers' hidden states.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from types import MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from albert_torch.config import AlbertConfig
from albert_torch.heads import HEADS, AlbertHeadModel
from albert_torch.pretrained import AlbertPreTrainedModel

_ADVICE = "rewrite the files with `albert-torch convert` and check the result"


def import_transformers() -> ModuleType:
    """Return the module `transformers`, with its warnings and progress bars switched off.

    Raises:
        ImportError: It cannot be imported. The error says what to install.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"the parity check needs transformers, which cannot be imported ({error}): "
            "pip install 'albert-torch[parity]'"
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    module: ModuleType = transformers
    return module


def transformers_class(head: str) -> type[Any] | None:
    """Return the class of transformers for a head, or None if transformers has no such class."""
    return getattr(import_transformers(), HEADS[head].__name__, None)


def load_reference(
    ours: AlbertPreTrainedModel,
    name_or_dir: str | os.PathLike[str],
    arguments: Mapping[str, Any],
    attention: str,
) -> nn.Module:
    """Load the model that ours is compared with, in evaluation mode.

    Args:
        ours: Our model, loaded from the same files.
        name_or_dir: The checkpoint.
        arguments: Further arguments of `from_pretrained`.
        attention: "eager" or "sdpa".

    Raises:
        ValueError: transformers cannot load the files, or misses weights in them.
    """
    transformers = import_transformers()
    reference_class = getattr(transformers, type(ours).__name__, None)
    if reference_class is not None:
        return _load(reference_class, name_or_dir, arguments, attention)
    assert isinstance(ours, AlbertHeadModel)
    encoder_arguments = {**arguments, "add_pooling_layer": ours.uses_pooler}
    encoder = _load(transformers.AlbertModel, name_or_dir, encoder_arguments, attention)
    return _with_encoder(ours, encoder)


def generate_checkpoint(
    head: str, config: Mapping[str, Any], directory: str | os.PathLike[str], seed: int
) -> None:
    """Write a checkpoint in which every parameter is random, biases and LayerNorms included.

    transformers writes it if it has the class, otherwise we do.

    Args:
        head: A name in `HEADS`.
        config: The keys of its `config.json`.
        directory: The directory to write to.
        seed: The seed of the parameters.
    """
    model_class = transformers_class(head)
    model: Any
    if model_class is None:
        model = HEADS[head](AlbertConfig.from_dict(dict(config)))
    else:
        model = model_class(import_transformers().AlbertConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "layernorm" in key.lower().replace("_", "") and key.endswith("weight"):
                parameter.normal_(mean=1.0, std=0.2, generator=generator)
            else:
                parameter.normal_(std=0.05, generator=generator)
    model.save_pretrained(directory)


def _load(
    reference_class: Any,
    name_or_dir: str | os.PathLike[str],
    arguments: Mapping[str, Any],
    attention: str,
) -> nn.Module:
    try:
        model, info = reference_class.from_pretrained(
            name_or_dir, **arguments, attn_implementation=attention, output_loading_info=True
        )
    except Exception as error:  # transformers raises almost any error
        reason = " ".join([f"{type(error).__name__}:", *str(error).split()])[:200]
        raise ValueError(
            f"transformers cannot load {name_or_dir} as {reference_class.__name__} ({reason}); "
            f"{_ADVICE}"
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(
            f"transformers finds no {', '.join(missing[:3])} in {name_or_dir}, but albert_torch "
            f"does; {_ADVICE}"
        )
    evaluated: nn.Module = model.eval()
    return evaluated


def _with_encoder(ours: AlbertHeadModel, encoder: nn.Module) -> nn.Module:
    """Return a copy of our model that runs on the encoder of transformers."""
    reference = copy.deepcopy(ours)
    reference.albert = encoder  # type: ignore[assignment]
    reference.tie_weights()  # to the embeddings of the new encoder
    vars(reference)["forward"] = MethodType(_forward_on_reference, reference)
    return reference


def _forward_on_reference(
    model: AlbertHeadModel,
    *,
    output_hidden_states: bool,
    output_attentions: bool,
    return_dict: bool,
    **batch: Tensor,
) -> Any:
    """Do what the head contract says, without using our own forward pass."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: batch.pop(name) for name in names}
    num_choices = inputs["input_ids"].shape[1]
    if model.has_choices:
        inputs = {name: tensor.flatten(0, 1) for name, tensor in inputs.items()}
    encoded = model.albert(
        **inputs,
        output_hidden_states=output_hidden_states,
        output_attentions=output_attentions,
        return_dict=return_dict,
    )
    hidden = encoded.last_hidden_state  # (B, T, H)
    pooled = encoded.pooler_output if model.uses_pooler else hidden[:, 0]  # (B, H)
    logits = model.compute_logits(hidden, pooled)
    if model.has_choices:
        logits = {name: x.view(-1, num_choices, *x.shape[1:]) for name, x in logits.items()}
    loss = None
    if set(model.label_names) <= batch.keys():
        loss = model.compute_loss(logits, batch)
    return model.output_class(
        loss=loss, **logits, hidden_states=encoded.hidden_states, attentions=encoded.attentions
    )
