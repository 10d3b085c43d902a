"""What a run leaves to look at: metrics.jsonl, TensorBoard, a progress bar, a picture of the curves."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tqdm import tqdm

from albert_torch.files import atomic_write, atomic_write_text

logger = logging.getLogger(__name__)

FILE = "metrics.jsonl"


class MetricLogger:
    """The writers of one run. On other processes than the first (`main=False`) nothing is written."""

    def __init__(
        self, folder: Path, attempt: int, step: int, steps: int, tensorboard: bool, main: bool
    ) -> None:
        self.folder, self.attempt, self.main = folder, attempt, main
        self.board: Any = None
        self.bar = tqdm(total=steps, initial=step, unit="step", disable=None if main else True)
        if not main:
            return
        kept = [line for line in read(folder) if (line["attempt"], line["step"]) <= (attempt, step)]
        text = "".join(
            json.dumps(line) + "\n" for line in kept
        )  # what came after the checkpoint is done again
        atomic_write_text(folder / FILE, text)
        self.file = (folder / FILE).open("a", encoding="utf-8")
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ImportError(
                    "tensorboard = true needs tensorboard: pip install 'albert-torch[train]'"
                ) from None
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(self, step: int, **values: float) -> None:
        """One line of numbers."""
        if not self.main:
            return
        self.file.write(json.dumps({"attempt": self.attempt, "step": step, **values}) + "\n")
        self.file.flush()
        for name, value in values.items():
            if self.board is not None:
                self.board.add_scalar(name, value, step)
        if "learning_rate" in values:
            speed = f"{values['tokens_per_second']:.0f} tokens/s"
            self.bar.set_postfix_str(
                f"loss {values['loss']:.4f}, lr {values['learning_rate']:.1e}, {speed}"
            )
            self.bar.update(step - self.bar.n)

    def __enter__(self) -> MetricLogger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and draw the curves."""
        self.bar.close()
        if not self.main:
            return
        self.file.close()
        if self.board is not None:
            self.board.close()
        try:
            curves(self.folder)
        except ImportError:
            logger.warning(
                "no curves.png: matplotlib is missing; pip install 'albert-torch[train]'"
            )


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line cut off by a kill is left out."""
    path = folder / FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def curves(folder: Path) -> None:
    """Draw losses, learning rate and metrics of metrics.jsonl over the steps, into curves.png."""
    from matplotlib.figure import Figure

    lines = read(folder)
    attempt = max((line["attempt"] for line in lines), default=0)
    lines = [line for line in lines if line["attempt"] == attempt]
    names = sorted(
        {name for line in lines for name in line}
        - {"attempt", "step", "grad_norm", "tokens_per_second"}
    )
    losses, rates = [name for name in names if name.endswith("loss")], ["learning_rate"]
    metrics = [name for name in names if name not in losses + rates]
    panels = [losses, rates, *([metrics] if metrics else [])]
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name in panel:
            points = [(line["step"], line[name]) for line in lines if name in line]
            if points:
                axes.plot(
                    *zip(*points, strict=True), label=name, marker="." if len(points) < 50 else None
                )
        axes.set_xlabel("update")
        if axes.lines:
            axes.legend()
    with atomic_write(folder / "curves.png") as path:
        figure.savefig(path, format="png")
