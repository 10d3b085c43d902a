"""Which model class a checkpoint is loaded as, for inference."""

from __future__ import annotations

import os
from typing import Any

from albert_torch.config import AlbertConfig
from albert_torch.heads import HEADS, AlbertForMaskedLM, AlbertForPreTraining
from albert_torch.hub import Source
from albert_torch.model import AlbertModel
from albert_torch.pretrained import AlbertPreTrainedModel


def load_model(
    name_or_dir: str | os.PathLike[str], *, with_pooler: bool = False, **source_options: Any
) -> AlbertPreTrainedModel:
    """Load a checkpoint, or a LoRA adapter with its base model, for inference.

    The model is of the class that the checkpoint was saved from. A pretraining checkpoint is loaded
    as a masked language model, and one of an unknown class as an `AlbertModel`. A directory that
    fine-tuning with LoRA wrote is loaded with its base model, the adapter merged into it.

    Args:
        name_or_dir: A directory, or a name on the Hub.
        with_pooler: Whether to load an `AlbertModel` with the pooler of the checkpoint.
        **source_options: Where to look: `revision`, `subfolder`, `cache_dir`, `token`,
            `local_files_only`, `force_download`.

    Raises:
        FileNotFoundError: If there is no such model.
        CheckpointError: If the weights do not fit.
        ValueError: If there is no pooler although it was asked for.
    """
    from albert_torch.finetuning.lora import is_adapter_directory, load_merged

    source = Source(name_or_dir, **source_options)
    if is_adapter_directory(source):
        return load_merged(source)
    if with_pooler:
        return _load_with_pooler(name_or_dir, **source_options)
    config = AlbertConfig.from_pretrained(name_or_dir, **source_options)
    model_class: Any = _model_class(config)
    class_options = {"add_pooling_layer": False} if model_class is AlbertModel else {}
    model: AlbertPreTrainedModel = model_class.from_pretrained(
        name_or_dir, config=config, **class_options, **source_options
    )
    return model


def _model_class(config: AlbertConfig) -> type[AlbertPreTrainedModel]:
    """The class that a checkpoint was saved from; `AlbertModel` if it is unknown."""
    saved_from = (config.architectures or [""])[0]
    if saved_from == AlbertForPreTraining.__name__:
        return AlbertForMaskedLM
    by_name = {model_class.__name__: model_class for model_class in HEADS.values()}
    return by_name.get(saved_from, AlbertModel)


def _load_with_pooler(
    name_or_dir: str | os.PathLike[str], **source_options: Any
) -> AlbertPreTrainedModel:
    """Load an `AlbertModel` whose pooler is in the checkpoint."""
    loaded: Any = AlbertModel.from_pretrained(
        name_or_dir, output_loading_info=True, add_pooling_layer=True, **source_options
    )
    model: AlbertModel = loaded[0]
    missing_keys: list[str] = loaded[1]["missing_keys"]
    if missing_keys:
        raise ValueError(
            f"{name_or_dir} has no {', '.join(sorted(missing_keys))}: use another pooling than "
            "'pooler'"
        )
    return model
