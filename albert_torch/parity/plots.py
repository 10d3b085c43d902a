"""The plots in the HTML page of a parity check."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from types import ModuleType

from albert_torch.parity.report import Case

# Text and plot colours. Each has a contrast of at least 4.5 to the background.
COLOURS = {
    "light": {
        "background": "#ffffff",
        "panel": "#f3f5f7",
        "text": "#1c2128",
        "muted": "#57606a",
        "border": "#c9d1d9",
        "good": "#116329",
        "bad": "#a40e26",
        "series-1": "#0550ae",
        "series-2": "#953800",
        "series-3": "#6639ba",
    },
    "dark": {
        "background": "#12161c",
        "panel": "#1c222b",
        "text": "#e6edf3",
        "muted": "#a5b0bd",
        "border": "#444c56",
        "good": "#56d364",
        "bad": "#ff8b85",
        "series-1": "#79c0ff",
        "series-2": "#ffa657",
        "series-3": "#d2a8ff",
    },
}
_STYLES = ("o-", "s--", "^:")  # of the lines of each backend


def import_matplotlib() -> ModuleType:
    """Return the module `matplotlib`.

    Raises:
        ImportError: It cannot be imported. The error says what to install.
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ImportError(
            "the plots of the page need matplotlib, which cannot be imported "
            f"({error}): pip install 'albert-torch[parity]'"
        ) from error
    return matplotlib


def plot_hidden_states(checkpoint: str, cases: Sequence[Case]) -> str:
    """Return a plot for each dtype of the largest difference in the hidden states of each layer.

    Args:
        checkpoint: The checkpoint, for ids that are unique within the page.
        cases: The cases of this checkpoint that have a dtype.

    Returns:
        An HTML `figure` element. Its colours are CSS variables, one for each name in `COLOURS`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    dtypes = dict.fromkeys(case.dtype for case in cases)
    drawings = [
        _plot(dtype, [case for case in cases if case.dtype == dtype], f"{checkpoint} {dtype}")
        for dtype in dtypes
    ]
    return (
        f'<figure>\n<div class="plots">\n{"".join(drawings)}</div>\n'
        "<figcaption>Largest difference in the hidden states of each layer, over all heads, and "
        "the tolerance. A difference of 0 is drawn at the bottom.</figcaption>\n</figure>"
    )


def _plot(dtype: str, cases: Sequence[Case], salt: str) -> str:
    """Return an SVG element whose colours are the variables of the page.

    Args:
        dtype: The title.
        cases: The cases of this dtype.
        salt: A text that makes the ids of the SVG unique within the page.
    """
    matplotlib = import_matplotlib()
    ink = COLOURS["light"]["text"]
    settings = {
        **dict.fromkeys(
            ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), ink
        ),
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.size": 10,
        "grid.alpha": 0.25,
    }
    with matplotlib.rc_context(settings):
        figure = matplotlib.figure.Figure(figsize=(4.4, 3.0), layout="constrained")
        axes = figure.subplots()
        tolerances = _tolerance_by_layer(cases)
        bottom = 1e-7 * min(tolerances.values(), default=1.0)  # where a difference of 0 is drawn
        backends = dict.fromkeys(case.backend for case in cases)
        for number, (style, backend) in enumerate(zip(_STYLES, backends, strict=False), 1):
            errors = _error_by_layer([case for case in cases if case.backend == backend])
            axes.plot(
                list(errors),
                [max(error, bottom) for error in errors.values()],
                style,
                label=backend,
                color=COLOURS["light"][f"series-{number}"],
                markersize=4,
                linewidth=1.4,
            )
        axes.plot(
            list(tolerances),
            list(tolerances.values()),
            label="tolerance",
            color=COLOURS["light"]["bad"],
            linewidth=1.4,
        )
        axes.set(yscale="log", xlabel="layer", title=dtype)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(True)
        axes.legend(fontsize=9, framealpha=0)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    label = f"Largest difference in the hidden states by layer, {dtype}"
    return _embed(stream.getvalue(), label)


def _tolerance_by_layer(cases: Sequence[Case]) -> dict[int, float]:
    tolerances: dict[int, float] = {}
    for case in cases:
        for layer, measurement in enumerate(case.hidden_layers()):
            tolerances[layer] = min(measurement.tolerance, tolerances.get(layer, math.inf))
    return tolerances


def _error_by_layer(cases: Sequence[Case]) -> dict[int, float]:
    errors: dict[int, float] = {}
    for case in cases:
        for layer, measurement in enumerate(case.hidden_layers()):
            errors[layer] = max(measurement.error, errors.get(layer, 0.0))
    return errors


def _embed(svg: str, label: str) -> str:
    """Prepare a drawing of matplotlib for an HTML page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)  # HTML knows the namespaces
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg)  # ids that nothing refers to
    attributes = f'role="img" aria-label="{html.escape(label)}"'
    svg = re.sub(r'<svg width="[^"]*" height="[^"]*"', f"<svg {attributes}", svg, count=1)
    for name, colour in COLOURS["light"].items():
        if name not in ("background", "panel", "border", "muted"):
            svg = svg.replace(colour, f"var(--{name})")
    return svg
