"""What a model gives on one batch, and how far two models are apart on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

QUANTITIES = ("hidden", "attn", "pooled", "logits", "loss", "grad")

# What is allowed, times the scale: for outputs the largest magnitude of the reference's tensor, at least 1; for
# gradients the largest gradient of the whole model, since some are zero but for rounding (those of the key biases).
# float64 is the proof: a wrong eps or activation is far above 1e-10, rounding far below. float32 has what the published
# shapes need; the narrow dtypes have two roundings.
TOLERANCES: Mapping[torch.dtype, float] = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2**-6,
                                           torch.float16: 2**-9}  # fmt: skip
# Rounding grows with depth and with the weights, so below float64 the reference's own error against float64 measures
# what cannot be asked for: a difference of up to this many times that error is allowed too, for so far apart are the
# reference and a model that is twice as wrong. Of gradients the model's largest such error counts, as for the scale.
OWN_ERRORS = 3.0


class Quantity(NamedTuple):
    """One thing that is compared: a quantity, its name within the model, and its layer if it has one."""

    what: str
    name: str
    layer: int | None = None


Observed = dict[Quantity, Tensor]
Row = tuple[list[int], list[int]]  # token ids, segments


@dataclass(frozen=True)
class Measurement:
    """The largest absolute difference at one place, in one number that is within tolerance or not."""

    place: Quantity
    error: float  # infinite for NaN, another shape, or a place that only one side has
    scale: float
    tolerance: float
    ours_to_float64: float | None = (
        None  # each side's own error, where the reference was also run in float64
    )
    theirs_to_float64: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the difference is finite and within tolerance."""
        return math.isfinite(self.error) and self.error <= self.tolerance

    @property
    def excess(self) -> float:
        """The difference in tolerances: up to 1 is equal."""
        if not math.isfinite(self.error) or not self.tolerance:
            return math.inf if self.error else 0.0
        return self.error / self.tolerance


def observe(model: nn.Module, batch: Mapping[str, Tensor], *, attentions: bool = False) -> Observed:
    """Everything that a model of ours or of transformers gives: hidden states, pooled, logits, loss, gradients.

    `attentions` adds the probabilities, which only eager attention has. Without a loss the gradients are those of a
    fixed random projection of the outputs at real tokens.
    """
    dtype = next(model.parameters()).dtype
    batch = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in batch.items()
    }
    backbone: Any = model.base_model
    within: dict[
        str, Any
    ] = {}  # what the backbone gives: transformers' heads keep the pooled output to themselves
    hook = backbone.register_forward_hook(lambda module, inputs, output: within.update(output))
    output = model(
        **batch, output_hidden_states=True, output_attentions=attentions, return_dict=True
    )
    hook.remove()
    results = {name: x for name, x in {**within, **output}.items() if isinstance(x, Tensor)}
    objective: Any = (
        results["loss"] if "loss" in results else _projection(results.values(), _real(batch))
    )
    model.zero_grad(set_to_none=True)
    objective.backward()
    layers = backbone.config.num_hidden_layers
    runs = max(
        1, (len(output.hidden_states) - 1) // layers
    )  # transformers keeps a state for each inner layer
    observed: Observed = {}
    for layer, states in enumerate(output.hidden_states[::runs]):
        observed[Quantity("hidden", f"hidden {layer}/{layers}", layer)] = states.detach()
    for layer, probabilities in enumerate(output.attentions if attentions else (), 1):
        name = f"attn {layer}/{len(output.attentions)}"
        observed[Quantity("attn", name, layer)] = probabilities.detach().transpose(
            1, 2
        )  # (B, T, N, T)
    kinds = {"loss": "loss", "pooler_output": "pooled", "last_hidden_state": "hidden"}
    for name, tensor in results.items():
        observed[Quantity(kinds.get(name, "logits"), name)] = tensor.detach()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            observed[Quantity("grad", name)] = parameter.grad
    model.zero_grad(set_to_none=True)
    return observed


def at_real_tokens(observed: Observed, batch: Mapping[str, Tensor]) -> Observed:
    """What does not depend on padding: of rows of tokens the real ones.

    The question-answering loss does depend on it, since its softmax runs over the whole row: it is left out, and so are
    its gradients.
    """
    real = _real(batch)
    spans = "start_positions" in batch
    return {
        place: x[real] if place.what != "grad" and x.shape[:2] == real.shape else x
        for place, x in observed.items()
        if not (spans and place.what in ("loss", "grad"))
    }


def _real(batch: Mapping[str, Tensor]) -> Tensor:
    return batch["attention_mask"].flatten(0, -2).bool()  # (B, T), choices as rows


def _projection(tensors: Iterable[Tensor], mask: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros((), dtype=torch.float64)
    for x in tensors:
        weights = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype)
        if x.shape[:2] == mask.shape:
            weights = weights * mask.reshape(*mask.shape, *[1] * (x.dim() - 2))
        total = total + (x * weights).sum().double() / x.numel() ** 0.5
    return total


def compare(
    ours: Observed, theirs: Observed, *, tolerance: float, truth: Observed | None = None
) -> list[Measurement]:
    """The measurement of every place that either side has.

    `tolerance` is times the scale (see `TOLERANCES`); with `truth`, the reference in float64, `OWN_ERRORS` holds too.
    """
    largest = max((_largest(x) for place, x in theirs.items() if place.what == "grad"), default=0.0)
    rounding = (
        {}
        if truth is None
        else {place: difference(x, truth.get(place)) for place, x in theirs.items()}
    )
    measurements = []
    for place in {**theirs, **ours}:
        error = difference(ours.get(place), theirs.get(place))
        scale = largest if place.what == "grad" else max(1.0, _largest(theirs.get(place)))
        allowed = tolerance * scale
        own: tuple[float | None, float | None] = (None, None)
        if truth is not None:
            kin = {"grad": ("grad",), "loss": ("loss", "logits")}.get(
                place.what, ()
            )  # a loss errs with its logits
            theirs_own = max(
                (e for at, e in rounding.items() if at == place or at.what in kin), default=0.0
            )
            allowed = max(allowed, OWN_ERRORS * theirs_own)
            own = difference(ours.get(place), truth.get(place)), rounding.get(place)
        measurements.append(Measurement(place, error, scale, allowed, *own))
    return measurements


def compare_weights(ours: nn.Module, theirs: nn.Module) -> list[Measurement]:
    """Whether both state dicts have the same keys in the same order, the same shapes and the same values."""
    mine, others = ours.state_dict(), theirs.state_dict()
    measurements = []
    for key, other in zip_longest(mine, others):
        name = (
            key
            if key == other
            else f"{key or 'nothing'} where transformers has {other or 'nothing'}"
        )
        error = difference(mine[key], others[key]) if key == other else math.inf
        measurements.append(
            Measurement(Quantity("weights", name), error, _largest(others.get(other)), 0.0)
        )
    return measurements


def compare_ids(ours: Sequence[Row], theirs: Sequence[Row]) -> list[Measurement]:
    """Text by text, how many token ids and segments differ; none may."""
    measurements = []
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True), 1):
        wrong = sum(
            a != b
            for ours, theirs in zip(mine, other, strict=True)
            for a, b in zip_longest(ours, theirs)
        )
        measurements.append(
            Measurement(Quantity("tokens", f"text {number}"), wrong, len(other[0]), 0.0)
        )
    return measurements


def difference(ours: Tensor | None, theirs: Tensor | None) -> float:
    """The largest absolute difference; infinite for another shape, a NaN or infinity, or a tensor that is not there."""
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return math.inf
    if not ours.numel():
        return 0.0
    error = float((ours.double() - theirs.double()).abs().max())
    return error if math.isfinite(error) else math.inf


def _largest(x: Tensor | None) -> float:
    return float(x.abs().max()) if x is not None and x.numel() else 0.0
