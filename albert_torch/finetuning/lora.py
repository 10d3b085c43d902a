"""Adapter directories: deltas and head of a fine-tuned model, stored without the base model.

Fine-tuning with `lora_rank` writes `adapter/adapter.json` (settings, the name of the base model,
the config) and `adapter/model.safetensors` (deltas, pooler and head) into the directory of the run,
and the tokenizer beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from albert_torch.checkpoints.reader import CheckpointError
from albert_torch.checkpoints.writer import save_state_dict
from albert_torch.config import AlbertConfig
from albert_torch.files import atomic_write_json, read_json
from albert_torch.finetuning.lora_layers import LoRALinear, add_lora, merge_lora
from albert_torch.heads import HEADS
from albert_torch.hub import Source
from albert_torch.model import AlbertModel
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer

ADAPTER_DIRECTORY = "adapter"  # inside the directory that fine-tuning writes to
ADAPTER_CONFIG = "adapter.json"
ADAPTER_WEIGHTS = "model.safetensors"


def save_adapter(
    model: AlbertPreTrainedModel, directory: str | Path, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write the trained part of a model (deltas, pooler, head) to `directory`/adapter.

    Args:
        model: A model with LoRA layers.
        directory: The directory to write to; it is created if necessary.
        weights: A state dict to use instead of the model's own, as sharded training needs.

    Raises:
        ValueError: If the model has no LoRA layers.
        OSError: If the disk is full.
    """
    deltas = [module for module in model.modules() if isinstance(module, LoRALinear)]
    if not deltas:
        raise ValueError(
            "this model has no LoRA layers: add them with add_lora, or save the whole model "
            "with save_pretrained"
        )
    state = model.state_dict() if weights is None else weights
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    rank = deltas[0].lora_down.shape[0]
    base = model.name_or_path
    settings = {
        "rank": rank,
        "alpha": deltas[0].scale * rank,
        "per_depth": _has_deltas_per_depth(model),
        "base_model": str(Path(base).resolve()) if base and Path(base).is_dir() else base,
        "model_class": type(model).__name__,
        "config": json.loads(model.config.to_json_string()),
    }
    folder = Path(directory) / ADAPTER_DIRECTORY
    save_state_dict({name: tensor for name, tensor in state.items() if name in trained}, folder)
    atomic_write_json(folder / ADAPTER_CONFIG, settings)


def _has_deltas_per_depth(model: AlbertPreTrainedModel) -> bool:
    """Whether the list of groups was extended beyond the groups that the config counts."""
    return len(model.base_model.encoder.albert_layer_groups) != model.config.num_hidden_groups


def is_adapter_directory(directory: str | os.PathLike[str] | Source) -> bool:
    """Return whether this is a local directory that holds an adapter (see `save_adapter`)."""
    return (_adapter_folder(directory) / ADAPTER_CONFIG).is_file()


def _adapter_folder(directory: str | os.PathLike[str] | Source) -> Path:
    if isinstance(directory, Source):
        directory = Path(directory.name_or_dir) / directory.subfolder
    return Path(directory).expanduser() / ADAPTER_DIRECTORY


def _read_settings(folder: Path) -> dict[str, Any]:
    if not (folder / ADAPTER_CONFIG).is_file():
        raise FileNotFoundError(
            f"there is no adapter in {folder.parent}: {folder / ADAPTER_CONFIG} does not exist. "
            "Fine-tuning with lora_rank writes one, and so does save_adapter"
        )
    return read_json(folder / ADAPTER_CONFIG)


def load_adapter(model: AlbertPreTrainedModel, directory: str | os.PathLike[str]) -> None:
    """Add the deltas of an adapter to its base model and load the trained head, in place.

    Raises:
        FileNotFoundError: If the directory holds no adapter.
        ValueError: If the model already has LoRA layers, or the adapter was trained on a model of
            another shape.
    """
    folder = _adapter_folder(directory)
    settings = _read_settings(folder)
    state = load_file(folder / ADAPTER_WEIGHTS)
    add_lora(model, settings["rank"], settings["alpha"], settings["per_depth"])
    expected = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    stored = {name: tensor.shape for name, tensor in state.items()}
    if expected != stored:
        differing = sorted(expected.items() ^ stored.items())
        raise ValueError(
            f"the adapter in {folder} does not fit this {type(model).__name__}; "
            f"the first differences are {differing[:4]}"
        )
    model.load_state_dict(state, strict=False)


def load_merged(
    directory: str | os.PathLike[str] | Source,
    *,
    base_model: str | os.PathLike[str] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> AlbertPreTrainedModel:
    """Load a model that was fine-tuned with `lora_rank`, its deltas merged into the weights.

    The result is a plain model of the class that was trained, in evaluation mode, with the config
    it was trained with (labels included). If the deltas are per depth, its layers are not shared:
    it has one group for each layer.

    Args:
        directory: A directory that holds an adapter (see `is_adapter_directory`). If it is a
            `Source`, its `cache_dir`, `token` and `local_files_only` apply to fetching the base
            model.
        base_model: The directory or Hub name of the base model; None: the one that the adapter
            names.
        dtype: The dtype of the result; None: the one that the deltas were trained in.
        device: The device of the result; None: the CPU.

    Raises:
        FileNotFoundError: If there is no adapter, or its base model cannot be found.
        CheckpointError: If the base model does not fit the adapter.
    """
    source = directory if isinstance(directory, Source) else Source(directory)
    folder = _adapter_folder(source)
    settings = _read_settings(folder)
    trained_dtype = next(iter(load_file(folder / ADAPTER_WEIGHTS).values())).dtype
    config = AlbertConfig.from_dict(settings["config"])
    backbone = _load_base(source, base_model or settings["base_model"], config, trained_dtype)
    model = _model_class(settings["model_class"])(config).to(trained_dtype)
    model.base_model.embeddings = backbone.embeddings
    model.base_model.encoder = backbone.encoder
    model.tie_weights()
    load_adapter(model, folder.parent)
    merged = merge_lora(model).eval()
    merged.name_or_path = str(folder.parent)
    return merged.to(device=device, dtype=dtype)


def _load_base(
    source: Source, base_model: str | os.PathLike[str], config: AlbertConfig, dtype: torch.dtype
) -> AlbertModel:
    """Load the embeddings and the encoder of the model that an adapter was trained on."""
    if not base_model:
        raise FileNotFoundError(
            f"the adapter in {source} names no base model, because it was trained on random "
            "weights: "
            "if these weights were saved, pass their directory as base_model"
        )
    try:
        return AlbertModel.from_pretrained(
            base_model,
            cache_dir=source.cache_dir,
            token=source.token,
            local_files_only=source.local_files_only,
            config=config,
            dtype=dtype,
            add_pooling_layer=False,
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the adapter in {source} was trained on the base model {os.fspath(base_model)}, which "
            "is not available: "
            f"{error}. If it was moved, pass its new directory as base_model"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(
            f"the base model {os.fspath(base_model)} does not fit the adapter in {source}: {error}"
        ) from error


def _model_class(name: str) -> type[AlbertPreTrainedModel]:
    for model_class in HEADS.values():
        if model_class.__name__ == name:
            return model_class
    raise CheckpointError(
        f"the adapter is for a model of the class {name}, which is not defined: import the module "
        "that defines it (on the command line: --plugin MODULE)"
    )


def merge_adapter(
    directory: str | os.PathLike[str] | Source,
    out: str | os.PathLike[str],
    *,
    expand: bool = False,
    base_model: str | os.PathLike[str] | None = None,
) -> AlbertPreTrainedModel:
    """Write the merged model of an adapter, and its tokenizer, as a plain checkpoint.

    Deltas that all runs of the shared layer have in common become part of the shared weights.
    Per-depth deltas cannot: the merged layers differ, so the checkpoint must store each of them
    (`num_hidden_groups = num_hidden_layers`).

    Args:
        directory: As for `load_merged`.
        out: The directory to write to.
        expand: Allow a checkpoint with unshared layers.
        base_model: As for `load_merged`.

    Returns:
        The merged model.

    Raises:
        FileNotFoundError: If there is no adapter, or its base model cannot be found.
        CheckpointError: If the base model does not fit the adapter.
        ValueError: If the deltas are per depth and `expand` is false, or `out` itself holds an
            adapter.
        OSError: If the disk is full.
    """
    folder = _adapter_folder(directory)
    settings = _read_settings(folder)
    num_layers = settings["config"]["num_hidden_layers"]
    if settings["per_depth"] and not expand:
        raise ValueError(
            f"the adapter in {folder.parent} has its own deltas for each of the {num_layers} "
            "layers, so the merged "
            "layers are all different and cannot be stored as one shared layer. Use expand=True "
            "(--expand) to write a "
            f"checkpoint with num_hidden_groups = num_hidden_layers = {num_layers}, which is "
            "larger, or use the adapter "
            "directory as it is"
        )
    if is_adapter_directory(out):
        raise ValueError(
            f"{os.fspath(out)} holds an adapter: write the merged model to another directory"
        )
    model = load_merged(directory, base_model=base_model)
    model.save_pretrained(out)
    if (folder.parent / "tokenizer.json").is_file():
        AlbertTokenizer.from_pretrained(folder.parent).save_pretrained(out)
    return model
