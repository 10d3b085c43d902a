"""Low-rank deltas for the shared layer, one for all of its runs or one for each depth; and unsharing the layer.

The encoder runs group `i * G // L` of its G stored groups at depth i. Per-depth deltas are therefore no change of the
forward pass: the list of groups becomes one of L, whose weights are the same parameters and whose deltas are their own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from albert_torch.checkpoints.writer import save_state_dict
from albert_torch.files import write
from albert_torch.pretrained import AlbertPreTrainedModel

Model = TypeVar("Model", bound=AlbertPreTrainedModel)


class LoRALinear(nn.Linear):
    """A linear map plus `scale * up @ down` of a low rank (Hu et al. 2021); `up` starts at zero."""

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.scale = base.in_features, base.out_features, scale
        self.weight, self.bias = (
            base.weight,
            base.bias,
        )  # the parameters themselves: shared by all depths
        self.lora_down = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        low = nn.functional.linear(x, self.lora_down)  # (..., rank)
        return super().forward(x) + self.scale * nn.functional.linear(low, self.lora_up)

    def merged(self) -> nn.Linear:
        """The plain linear map with the delta added to its weight."""
        plain = nn.Linear(
            self.in_features, self.out_features, device=self.weight.device, dtype=self.weight.dtype
        )
        with torch.no_grad():
            plain.weight.copy_(self.weight + self.scale * self.lora_up @ self.lora_down)
            plain.bias.copy_(self.bias)
        return plain


def add_lora(
    model: AlbertPreTrainedModel, rank: int, alpha: float = 16.0, per_depth: bool = False
) -> None:
    """Freeze the encoder and embeddings, and give every linear map of the layers a delta; the head stays trainable.

    `per_depth`: a delta for each of the L runs, where the weights stay shared. Changes `model` in place.
    """
    for parameter in model.base_model.parameters():
        parameter.requires_grad = False
    encoder = model.base_model.encoder
    if any(isinstance(module, LoRALinear) for module in encoder.modules()):
        raise ValueError(
            "this model has low-rank deltas already: merge or load the adapter into a fresh model"
        )
    if per_depth:
        _spread(model, share=True)
    for parent in list(encoder.albert_layer_groups.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(
                    parent,
                    name,
                    LoRALinear(child, rank, alpha / rank).to(
                        child.weight.device, child.weight.dtype
                    ),
                )
    if getattr(model.base_model, "pooler", None) is not None:  # the pooler belongs to the head
        model.base_model.pooler.requires_grad_(True)


def expand_groups(model: Model, num_groups: int | None = None) -> Model:
    """A copy whose layer is unshared into `num_groups` groups (None: one for each of the L runs); the same numbers.

    Raises `ValueError` for a number of groups that does not divide L, or that is no multiple of the present one.
    """
    expanded = copy.deepcopy(model)
    _spread(expanded, share=False, num_groups=num_groups)
    return expanded


def _spread(model: AlbertPreTrainedModel, share: bool, num_groups: int | None = None) -> None:
    """Give the encoder a group for each depth, or `num_groups`: copies, or the same parameters in other modules."""
    encoder, layers = model.base_model.encoder, model.config.num_hidden_layers
    groups = encoder.albert_layer_groups
    count = layers if num_groups is None else num_groups
    if count < 1 or layers % count or count % len(groups):
        allowed = [n for n in range(1, layers + 1) if layers % n == 0 and n % len(groups) == 0]
        raise ValueError(
            f"num_groups={count}: {layers} layers in {len(groups)} groups can have {allowed}"
        )
    spread = []
    for i in range(count):
        group = groups[i * len(groups) // count]
        memo = {id(parameter): parameter for parameter in group.parameters()} if share else {}
        spread.append(copy.deepcopy(group, memo))
    encoder.albert_layer_groups = nn.ModuleList(spread)
    if not share:
        model.config.num_hidden_groups = count


def merge_lora(model: Model) -> Model:
    """A copy with the deltas added to the weights. Per-depth deltas leave no shared layer: it has L groups then."""
    merged = copy.deepcopy(model)
    groups = merged.base_model.encoder.albert_layer_groups
    for parent in list(groups.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoRALinear):
                setattr(parent, name, child.merged())
    merged.config.num_hidden_groups = len(groups)
    # What had no delta (LayerNorms) is still shared between the groups: each gets its own.
    merged.base_model.encoder.albert_layer_groups = nn.ModuleList(
        copy.deepcopy(group) for group in groups
    )
    return merged.requires_grad_(True)


def save_adapter(
    model: AlbertPreTrainedModel, directory: str | Path, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write what is trained (deltas and head) into `directory`/adapter; `weights`: a state dict to use."""
    deltas = [module for module in model.modules() if isinstance(module, LoRALinear)]
    if not deltas:
        raise ValueError(
            "this model has no low-rank deltas: add_lora makes them, save_pretrained saves a whole model"
        )
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    state = {
        name: tensor for name, tensor in (weights or model.state_dict()).items() if name in trained
    }
    groups = model.base_model.encoder.albert_layer_groups
    rank = deltas[0].lora_down.shape[0]
    settings = {
        "rank": rank,
        "alpha": deltas[0].scale * rank,
        "per_depth": len(groups) != model.config.num_hidden_groups,
        "base_model": model.name_or_path,
        "config": json.loads(model.config.to_json_string()),
    }
    folder = Path(directory) / "adapter"
    save_state_dict(state, folder)
    write(
        folder / "adapter.json",
        lambda path: path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8"),
    )


def load_adapter(model: AlbertPreTrainedModel, directory: str | Path) -> None:
    """Put an adapter's deltas and head on a model that was built from the same checkpoint, in place.

    Raises `FileNotFoundError` where there is none, `ValueError` for one of another shape.
    """
    folder = Path(directory) / "adapter"
    if not (folder / "adapter.json").exists():
        raise FileNotFoundError(f"no adapter in {folder}: save_adapter writes one")
    settings = json.loads((folder / "adapter.json").read_text(encoding="utf-8"))
    state = load_file(folder / "model.safetensors")
    add_lora(model, settings["rank"], settings["alpha"], settings["per_depth"])
    trained = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    if trained != {name: tensor.shape for name, tensor in state.items()}:
        differing = sorted(
            trained.items() ^ {name: tensor.shape for name, tensor in state.items()}.items()
        )
        raise ValueError(
            f"the adapter in {folder} does not fit {type(model).__name__}: {differing[:4]}"
        )
    model.load_state_dict(state, strict=False)
