"""The parity check itself."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from albert_torch.heads import HEADS
from albert_torch.hub import Source
from albert_torch.parity.compare import (
    TOLERANCES,
    Measurement,
    Observed,
    Quantity,
    at_real_tokens,
    compare,
    compare_weights,
    observe,
)
from albert_torch.parity.inputs import make_batches
from albert_torch.parity.options import PARITY_BACKENDS, PARITY_DTYPES, ParityOptions
from albert_torch.parity.reference import generate_checkpoint, import_transformers, load_reference
from albert_torch.parity.report import Case, Report
from albert_torch.parity.selection import (
    HeadToCheck,
    select_checkpoint,
    select_packaged_and_generated,
)


def check(
    source: Source | str | os.PathLike[str] | None = None,
    options: ParityOptions | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Compare everything that a checkpoint computes here and in transformers.

    Weights, token ids, hidden states, attention probabilities, pooled outputs, logits, losses and
    gradients are compared. A head that transformers does not have is compared on the encoder of
    transformers (see `parity.reference`).

    Args:
        source: The checkpoint. None: the model that is installed with the package, and generated
            checkpoints of the published base shape and of a shape with several groups.
        options: What to compare. None: everything.
        progress: Called with a line of text before each head.

    Returns:
        The report; `report.equal` tells whether all differences are within their tolerance.

    Raises:
        ImportError: transformers is not installed.
        FileNotFoundError: There is no such checkpoint.
        ValueError: The options do not fit the checkpoint, or one of the libraries cannot load it.
    """
    options = ParityOptions() if options is None else options
    import_transformers()
    start = time.perf_counter()
    if source is None:
        selection = select_packaged_and_generated(options)
    else:
        selection = select_checkpoint(
            source if isinstance(source, Source) else Source(source), options
        )
    report = Report(selection.token_cases, selection.notes)
    for number, head_to_check in enumerate(selection.heads, 1):
        if progress is not None:
            position = f"[{number}/{len(selection.heads)}]"
            progress(f"{position} {head_to_check.checkpoint}: {head_to_check.head}")
        report.cases += _check_head(head_to_check, options)
    report.seconds = time.perf_counter() - start
    return report


def _check_head(head_to_check: HeadToCheck, options: ParityOptions) -> list[Case]:
    if head_to_check.generated_config is None:
        return _compare_head(head_to_check, options)
    with tempfile.TemporaryDirectory() as directory:
        generate_checkpoint(
            head_to_check.head, head_to_check.generated_config, directory, options.seed
        )
        return _compare_head(replace(head_to_check, name_or_dir=directory), options)


def _compare_head(head_to_check: HeadToCheck, options: ParityOptions) -> list[Case]:
    """Compare the weights, and then all quantities in each dtype and backend.

    In every dtype both models start from the numbers in the files.
    """
    checkpoint, head = head_to_check.checkpoint, head_to_check.head
    name_or_dir, arguments = head_to_check.name_or_dir, head_to_check.arguments
    ours = HEADS[head].from_pretrained(name_or_dir, **arguments)
    references = {
        attention: load_reference(ours, name_or_dir, arguments, attention)
        for attention in ("eager", "sdpa")
    }
    cases = [Case(checkpoint, head, "", "", compare_weights(ours, references["eager"]))]
    worst: dict[tuple[str, str], dict[Quantity, Measurement]] = {
        (dtype, backend): {} for dtype in options.dtypes for backend in options.backends
    }
    exact = copy.deepcopy(references["eager"]).double()
    for batch in make_batches(ours, head_to_check.inputs, options.seed):
        truth = observe(exact, batch, attentions=True)
        for dtype in options.dtypes:
            measurements = _compare_in_dtype(
                copy.deepcopy(ours), references, batch, truth, dtype, options
            )
            for backend, of_backend in measurements.items():
                _keep_worst(worst[dtype, backend], of_backend)
    for (dtype, backend), of_case in worst.items():
        cases.append(Case(checkpoint, head, dtype, backend, list(of_case.values())))
    return cases


def _compare_in_dtype(
    ours: Any,
    references: dict[str, nn.Module],
    batch: dict[str, Tensor],
    truth: Observed,
    dtype: str,
    options: ParityOptions,
) -> dict[str, list[Measurement]]:
    """Compare on one batch in one dtype; the measurements by backend. `ours` is changed."""
    ours = ours.to(PARITY_DTYPES[dtype])
    expected: dict[str, Observed] = {"eager": truth} if dtype == "float64" else {}
    tolerance = options.tolerances.get(dtype, TOLERANCES[PARITY_DTYPES[dtype]])
    allows_own_error = dtype != "float64" and dtype not in options.tolerances
    measurements: dict[str, list[Measurement]] = {}
    for backend in options.backends:
        attention, unpad = PARITY_BACKENDS[backend]
        attentions = attention == "eager"
        if attention not in expected:
            reference = copy.deepcopy(references[attention]).to(PARITY_DTYPES[dtype])
            expected[attention] = observe(reference, batch, attentions=attentions)
        ours.set_attn_implementation(attention)
        ours.base_model.unpad = unpad
        observed = [observe(ours, batch, attentions=attentions), expected[attention], truth]
        if unpad:
            observed = [at_real_tokens(one, batch) for one in observed]
        our_values, their_values, true_values = observed
        measurements[backend] = compare(
            our_values,
            their_values,
            tolerance=tolerance,
            truth=true_values if allows_own_error else None,
        )
    return measurements


def _keep_worst(worst: dict[Quantity, Measurement], measurements: list[Measurement]) -> None:
    """Replace the measurement of each quantity if a later batch exceeds it."""
    for measurement in measurements:
        known = worst.get(measurement.quantity)
        if known is None or measurement.excess > known.excess:
            worst[measurement.quantity] = measurement
