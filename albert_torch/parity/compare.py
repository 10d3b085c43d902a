"""Observing all that a model computes on a batch, and measuring how far two models differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from albert_torch.parity.inputs import EncodedText

CATEGORIES = ("hidden", "attn", "pooled", "logits", "loss", "grad")

# The largest difference that is allowed, as a multiple of a scale. For outputs the scale is the
# largest magnitude in the reference's tensor, but at least 1. For gradients it is the largest
# gradient of the whole model, because some gradients are zero except for rounding (those of the
# biases of the keys). float64 is the proof: a wrong epsilon or activation function causes
# differences far above 1e-10, and rounding far below. float32 allows what the published shapes
# need; the narrow dtypes allow two roundings.
TOLERANCES: Mapping[torch.dtype, float] = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
    torch.bfloat16: 2**-6,
    torch.float16: 2**-9,
}
# Rounding errors grow with the depth and the weights of a model. Below float64, a difference of up
# to this many times the reference's own error against float64 is therefore allowed too: it is the
# distance between the reference and a model that errs twice as much, in the other direction. For
# gradients the largest error of any gradient counts, as for the scale.
ERROR_FACTOR = 3.0


class Quantity(NamedTuple):
    """One thing that is compared, such as the hidden states of a layer or the gradient of a weight.

    Attributes:
        category: One of `CATEGORIES`, or "weights" or "tokens".
        name: A name that is unique within the model.
        layer: The layer for hidden states (0: the embeddings) and attentions, otherwise None.
    """

    category: str
    name: str
    layer: int | None = None


Observed = dict[Quantity, Tensor]


@dataclass(frozen=True)
class Measurement:
    """The largest absolute difference in one quantity, and what is allowed.

    Attributes:
        quantity: What was compared.
        error: The difference. It is infinite for a NaN or an infinity, for tensors of different
            shapes, and for a quantity that only one of the models has.
        scale: What `TOLERANCES` are a multiple of.
        tolerance: The largest difference that is allowed.
        ours_to_float64: Our model's difference from the reference in float64, if it was computed.
        theirs_to_float64: The reference's own difference from itself in float64.
    """

    quantity: Quantity
    error: float
    scale: float
    tolerance: float
    ours_to_float64: float | None = None
    theirs_to_float64: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the difference is finite and within the tolerance."""
        return math.isfinite(self.error) and self.error <= self.tolerance

    @property
    def excess(self) -> float:
        """The difference as a multiple of the tolerance; up to 1 counts as equal."""
        if not math.isfinite(self.error) or not self.tolerance:
            return math.inf if self.error else 0.0
        return self.error / self.tolerance


def observe(model: nn.Module, batch: Mapping[str, Tensor], *, attentions: bool = False) -> Observed:
    """Run a model of ours or of transformers, forward and backward, and return all it computed.

    Args:
        model: The model.
        batch: Its inputs and labels. If it computes no loss from them, the gradients are those of
            a fixed random projection of its outputs at real tokens.
        attentions: Whether to include attention probabilities, which only eager attention has.

    Returns:
        Hidden states of every layer (B, T, H), attention probabilities as (B, T, N, T), the other
        outputs, the loss, and the gradients of all parameters.
    """
    dtype = next(model.parameters()).dtype
    batch = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in batch.items()
    }
    backbone: Any = model.base_model
    outputs: dict[str, Any] = {}
    # The heads of transformers do not return the pooled output, so it is taken from the backbone.
    hook = backbone.register_forward_hook(lambda module, args, output: outputs.update(output))
    output = model(
        **batch, output_hidden_states=True, output_attentions=attentions, return_dict=True
    )
    hook.remove()
    outputs.update(output)
    tensors = {name: value for name, value in outputs.items() if isinstance(value, Tensor)}
    model.zero_grad(set_to_none=True)
    objective: Any = tensors.get("loss")
    if objective is None:
        objective = _projection(tensors.values(), _real_tokens(batch))
    objective.backward()
    observed = _layers(output, backbone.config.num_hidden_layers, attentions)
    categories = {"loss": "loss", "pooler_output": "pooled", "last_hidden_state": "hidden"}
    for name, tensor in tensors.items():
        observed[Quantity(categories.get(name, "logits"), name)] = tensor.detach()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            observed[Quantity("grad", name)] = parameter.grad
    model.zero_grad(set_to_none=True)
    return observed


def at_real_tokens(observed: Observed, batch: Mapping[str, Tensor]) -> Observed:
    """Reduce an observation to what does not depend on padding.

    Values per token are kept at real tokens only. The loss of question answering and its gradients
    are left out, because its softmax runs over the whole row, padding included.
    """
    real = _real_tokens(batch)
    loss_depends_on_padding = "start_positions" in batch
    reduced: Observed = {}
    for quantity, tensor in observed.items():
        if loss_depends_on_padding and quantity.category in ("loss", "grad"):
            continue
        has_token_axis = quantity.category != "grad" and tensor.shape[:2] == real.shape
        reduced[quantity] = tensor[real] if has_token_axis else tensor
    return reduced


def compare(
    ours: Observed, theirs: Observed, *, tolerance: float, truth: Observed | None = None
) -> list[Measurement]:
    """Measure the difference in every quantity that either model has.

    Args:
        ours: What our model computed.
        theirs: What the reference computed.
        tolerance: The largest difference that is allowed, as a multiple of the scale (see
            `TOLERANCES`).
        truth: What the reference computed in float64. If it is given, differences that
            `ERROR_FACTOR` permits are allowed as well.
    """
    largest_gradient = max(
        (_largest(tensor) for quantity, tensor in theirs.items() if quantity.category == "grad"),
        default=0.0,
    )
    own_errors: dict[Quantity, float] = {}
    if truth is not None:
        own_errors = {
            quantity: difference(tensor, truth.get(quantity)) for quantity, tensor in theirs.items()
        }
    measurements = []
    for quantity in {**theirs, **ours}:
        reference = theirs.get(quantity)
        scale = largest_gradient if quantity.category == "grad" else max(1.0, _largest(reference))
        allowed = tolerance * scale
        ours_to_float64 = None
        if truth is not None:
            allowed = max(allowed, ERROR_FACTOR * _expected_error(quantity, own_errors))
            ours_to_float64 = difference(ours.get(quantity), truth.get(quantity))
        measurements.append(
            Measurement(
                quantity=quantity,
                error=difference(ours.get(quantity), reference),
                scale=scale,
                tolerance=allowed,
                ours_to_float64=ours_to_float64,
                theirs_to_float64=own_errors.get(quantity),
            )
        )
    return measurements


def compare_weights(ours: nn.Module, theirs: nn.Module) -> list[Measurement]:
    """Measure whether two state dicts have the same keys, order, shapes and values."""
    our_state, their_state = ours.state_dict(), theirs.state_dict()
    measurements = []
    for key, reference_key in zip_longest(our_state, their_state):
        if key == reference_key:
            name = key
            error = difference(our_state[key], their_state[key])
        else:
            name = f"{key or 'nothing'} where transformers has {reference_key or 'nothing'}"
            error = math.inf
        scale = _largest(their_state.get(reference_key))
        measurements.append(Measurement(Quantity("weights", name), error, scale, 0.0))
    return measurements


def compare_ids(ours: Sequence[EncodedText], theirs: Sequence[EncodedText]) -> list[Measurement]:
    """Count for each text how many token ids and segment ids differ; none may."""
    measurements = []
    for number, (our_text, their_text) in enumerate(zip(ours, theirs, strict=True), 1):
        differing = 0
        for our_ids, their_ids in zip(our_text, their_text, strict=True):
            differing += sum(a != b for a, b in zip_longest(our_ids, their_ids))
        quantity = Quantity("tokens", f"text {number}")
        measurements.append(Measurement(quantity, differing, len(their_text[0]), 0.0))
    return measurements


def difference(ours: Tensor | None, theirs: Tensor | None) -> float:
    """Return the largest absolute difference of two tensors.

    It is infinite if one of them is None, if their shapes differ, or if it is not a finite number.
    """
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return math.inf
    if not ours.numel():
        return 0.0
    error = float((ours.double() - theirs.double()).abs().max())
    return error if math.isfinite(error) else math.inf


def _layers(output: Any, num_layers: int, attentions: bool) -> Observed:
    """Return the hidden states, embeddings first, and the attention probabilities of each layer."""
    observed: Observed = {}
    # transformers keeps the states of every inner layer, we those of every group run.
    stride = max(1, (len(output.hidden_states) - 1) // num_layers)
    for layer, states in enumerate(output.hidden_states[::stride]):
        quantity = Quantity("hidden", f"hidden {layer}/{num_layers}", layer)
        observed[quantity] = states.detach()
    for layer, probabilities in enumerate(output.attentions if attentions else (), 1):
        quantity = Quantity("attn", f"attn {layer}/{len(output.attentions)}", layer)
        observed[quantity] = probabilities.detach().transpose(1, 2)  # (B, T, N, T)
    return observed


def _real_tokens(batch: Mapping[str, Tensor]) -> Tensor:
    return batch["attention_mask"].flatten(0, -2).bool()  # (B, T) or (B * C, T)


def _projection(tensors: Iterable[Tensor], real: Tensor) -> Tensor:
    """Return a fixed random linear function of the outputs, to have gradients without a loss."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros((), dtype=torch.float64)
    for tensor in tensors:
        weights = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        weights = weights.to(tensor.dtype)
        if tensor.shape[:2] == real.shape:
            weights = weights * real.reshape(*real.shape, *[1] * (tensor.dim() - 2))
        total = total + (tensor * weights).sum().double() / tensor.numel() ** 0.5
    return total


def _expected_error(quantity: Quantity, own_errors: Mapping[Quantity, float]) -> float:
    """Return the error of the reference that a difference in `quantity` is compared with."""
    related = {"grad": ("grad",), "loss": ("loss", "logits")}.get(quantity.category, ())
    return max(
        (
            error
            for other, error in own_errors.items()
            if other == quantity or other.category in related
        ),
        default=0.0,
    )


def _largest(tensor: Tensor | None) -> float:
    return float(tensor.abs().max()) if tensor is not None and tensor.numel() else 0.0
