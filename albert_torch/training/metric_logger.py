"""What a run records about itself: metrics.jsonl, TensorBoard files, a progress bar, curves.png."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from albert_torch.files import atomic_write, atomic_write_text
from albert_torch.training.checkpointing import TrainingState
from albert_torch.training.config import TrainingConfig

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"


class MetricLogger:
    """Writes the metrics of one run. To be used as a context manager.

    Lines of metrics.jsonl that were written after the checkpoint that a run continues are removed:
    their updates are computed again.

    Args:
        directory: The directory of the run.
        config: The options of the run.
        state: Where the run starts.
        is_main: Whether this is the process that writes; on others nothing happens.
    """

    def __init__(
        self, directory: Path, config: TrainingConfig, state: TrainingState, is_main: bool
    ) -> None:
        self.directory = directory
        self.attempt = state.attempt
        self.progress_bar = tqdm(
            total=config.steps,
            initial=state.step,
            unit="step",
            disable=None if is_main else True,  # None: shown on terminals only
        )
        self.file: TextIO | None = None
        self.tensorboard: Any = None
        if is_main:
            start = (state.attempt, state.step)
            lines = [
                line for line in read_metrics(directory) if (line["attempt"], line["step"]) <= start
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            atomic_write_text(directory / METRICS_FILE, text)
            self.file = (directory / METRICS_FILE).open("a", encoding="utf-8")
            if config.tensorboard:
                self.tensorboard = _open_tensorboard(directory, state.step + 1)

    def log(self, step: int, **metrics: float) -> None:
        """Write the metrics of a step as one line."""
        if self.file is None:
            return
        self.file.write(json.dumps({"attempt": self.attempt, "step": step, **metrics}) + "\n")
        self.file.flush()
        if self.tensorboard is not None:
            for name, value in metrics.items():
                self.tensorboard.add_scalar(name, value, step)
        if "learning_rate" in metrics:  # metrics of training, not of an evaluation
            self.progress_bar.set_postfix_str(
                f"loss {metrics['loss']:.4f}, lr {metrics['learning_rate']:.1e}, "
                f"{metrics['tokens_per_second']:.0f} tokens/s"
            )
            self.progress_bar.update(step - self.progress_bar.n)

    def __enter__(self) -> MetricLogger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and draw the curves."""
        self.progress_bar.close()
        if self.file is None:
            return
        self.file.close()
        if self.tensorboard is not None:
            self.tensorboard.close()
        try:
            plot_curves(self.directory)
        except ImportError:
            logger.warning(
                "%s was not drawn because matplotlib is not installed: "
                "pip install 'albert-torch[train]'",
                CURVES_FILE,
            )


def _open_tensorboard(directory: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError(
            "tensorboard = true needs tensorboard: pip install 'albert-torch[train]'"
        ) from None
    return SummaryWriter(str(directory / "tensorboard"), purge_step=first_step)


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, without a last line that a kill cut off."""
    path = directory / METRICS_FILE
    if not path.exists():
        return []
    complete_lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in complete_lines]


def plot_curves(directory: Path) -> None:
    """Draw the losses, the learning rate and the metrics of a run's last attempt into curves.png.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    lines = read_metrics(directory)
    last_attempt = max((line["attempt"] for line in lines), default=0)
    lines = [line for line in lines if line["attempt"] == last_attempt]
    not_drawn = {"attempt", "step", "learning_rate", "grad_norm", "tokens_per_second"}
    names = sorted({name for line in lines for name in line} - not_drawn)
    losses = [name for name in names if name.endswith("loss")]
    metrics = [name for name in names if not name.endswith("loss")]
    panels = [losses, ["learning_rate"]]
    if metrics:
        panels.append(metrics)
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name in panel:
            points = [(line["step"], line[name]) for line in lines if name in line]
            if points:
                steps, values = zip(*points, strict=True)
                axes.plot(steps, values, label=name, marker="." if len(points) < 50 else None)
        axes.set_xlabel("step")
        if axes.lines:
            axes.legend()
    with atomic_write(directory / CURVES_FILE) as path:
        figure.savefig(path, format="png")
