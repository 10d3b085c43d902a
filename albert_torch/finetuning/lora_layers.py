"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685) of ALBERT's shared layer.

The encoder runs stored group `i * G // L` at depth `i` (L layers, G groups). A delta can therefore
be shared by all runs of a group, or each of the L depths can have its own. Per-depth deltas do not
change the forward pass: the list of groups is extended to L entries whose weights are the same
parameters and whose deltas differ.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from albert_torch.pretrained import AlbertPreTrainedModel

ModelT = TypeVar("ModelT", bound=AlbertPreTrainedModel)


class LoRALinear(nn.Linear):
    """A linear layer plus a low-rank delta: `x @ W.T + b + scale * x @ (up @ down).T`.

    `up` starts at zero, so a new delta does not change the output.

    Args:
        base: The layer to adapt. Its weight and bias are used, not copied, so they stay shared with
            other layers.
        rank: The rank of the delta.
        scale: The factor of the delta (alpha / rank).
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        nn.Module.__init__(self)
        self.in_features = base.in_features
        self.out_features = base.out_features
        self.scale = scale
        self.weight = base.weight
        self.bias = base.bias
        self.lora_down = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and its delta.  (..., in_features) -> (..., out_features)."""
        low = nn.functional.linear(x, self.lora_down)  # (..., rank)
        return super().forward(x) + self.scale * nn.functional.linear(low, self.lora_up)

    def merged(self) -> nn.Linear:
        """Return an ordinary linear layer whose weight includes the delta."""
        plain = nn.Linear(
            self.in_features, self.out_features, device=self.weight.device, dtype=self.weight.dtype
        )
        with torch.no_grad():
            plain.weight.copy_(self.weight + self.scale * self.lora_up @ self.lora_down)
            plain.bias.copy_(self.bias)
        return plain


def has_lora_layers(model: AlbertPreTrainedModel) -> bool:
    """Return whether a model has LoRA layers."""
    return any(isinstance(module, LoRALinear) for module in model.modules())


def add_lora(
    model: AlbertPreTrainedModel, rank: int, alpha: float = 16.0, per_depth: bool = False
) -> None:
    """Freeze embeddings and encoder, and add a trainable delta to each linear layer of the encoder.

    The head and the pooler stay trainable. The model is changed in place.

    Args:
        model: A model without LoRA layers.
        rank: The rank of each delta.
        alpha: The deltas are scaled by `alpha / rank`.
        per_depth: Give each of the L depths its own delta; the frozen weights stay shared.

    Raises:
        ValueError: If the model already has LoRA layers.
    """
    if has_lora_layers(model):
        raise ValueError(
            "this model already has LoRA layers: merge them, or load the adapter into a fresh model"
        )
    for parameter in model.base_model.parameters():
        parameter.requires_grad = False
    encoder = model.base_model.encoder
    if per_depth:
        _spread_groups(model, model.config.num_hidden_layers, share_parameters=True)
    for parent in list(encoder.albert_layer_groups.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                adapted = LoRALinear(child, rank, alpha / rank)
                setattr(parent, name, adapted.to(child.weight.device, child.weight.dtype))
    pooler = getattr(model.base_model, "pooler", None)
    if pooler is not None:  # in fine-tuning the pooler is part of the head
        pooler.requires_grad_(True)


def expand_groups(model: ModelT, num_groups: int | None = None) -> ModelT:
    """Return a copy of a model that stores the shared layer `num_groups` times; equal outputs.

    Args:
        model: The model to copy.
        num_groups: The number of groups of the copy; None: one for each of the L layers.

    Raises:
        ValueError: If `num_groups` does not divide L, or is not a multiple of the model's number of
            groups.
    """
    expanded = copy.deepcopy(model)
    count = model.config.num_hidden_layers if num_groups is None else num_groups
    _spread_groups(expanded, count, share_parameters=False)
    expanded.config.num_hidden_groups = count
    return expanded


def _spread_groups(model: AlbertPreTrainedModel, count: int, share_parameters: bool) -> None:
    """Store the encoder's groups as `count` modules: copies, or modules with shared parameters."""
    groups = model.base_model.encoder.albert_layer_groups
    num_layers = model.config.num_hidden_layers
    if count < 1 or num_layers % count or count % len(groups):
        allowed = [
            n for n in range(1, num_layers + 1) if num_layers % n == 0 and n % len(groups) == 0
        ]
        raise ValueError(
            f"num_groups={count} is not possible: {num_layers} layers in {len(groups)} groups "
            f"can be stored in {allowed} groups"
        )
    copies = []
    for i in range(count):
        group = groups[i * len(groups) // count]
        # deepcopy keeps the objects that its memo names
        memo = {id(p): p for p in group.parameters()} if share_parameters else {}
        copies.append(copy.deepcopy(group, memo))
    model.base_model.encoder.albert_layer_groups = nn.ModuleList(copies)


def merge_lora(model: ModelT) -> ModelT:
    """Return a copy of a model with its deltas added to the weights, without any LoRA layers.

    If the deltas are per depth, the layers of the copy are no longer shared: it has L groups.
    """
    merged = copy.deepcopy(model)
    groups = merged.base_model.encoder.albert_layer_groups
    for parent in list(groups.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoRALinear):
                setattr(parent, name, child.merged())
    merged.config.num_hidden_groups = len(groups)
    # Weights without a delta (the LayerNorms) are still shared between the groups: each group gets
    # its own copy.
    merged.base_model.encoder.albert_layer_groups = nn.ModuleList(
        copy.deepcopy(group) for group in groups
    )
    return merged.requires_grad_(True)
