"""A fine-tuning task of your own: files of one class each, and an option that only this task has.

    pip install 'albert-torch[train]'
    python examples/custom_task.py

The class works on the command line too, with its option:

    albert-torch finetune classification --plugin examples/custom_task.py \\
        --task one-file-per-class --data reviews --max-lines 1000 --out runs/reviews
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from albert_torch.finetuning import (
    FinetuningConfig,
    Options,
    Split,
    Task,
    finetune,
    option,
    register_task,
)
from albert_torch.heads import AlbertForSequenceClassification


@dataclass
class OneFilePerClassOptions(Options):
    """The options of the task."""

    max_lines: int = option(0, "lines to read from each file at most; 0: all", minimum=0)


@register_task("one-file-per-class")
class OneFilePerClass(Task):
    """Classification of lines; the directories train and dev hold a text file for each class."""

    head_class = AlbertForSequenceClassification
    metric = "accuracy"
    options_class = OneFilePerClassOptions
    options: OneFilePerClassOptions
    labels: tuple[str, ...] = ()

    def load_split(self, name: str) -> Split | None:
        """Read every line of every file; the name of the file is the label."""
        files = sorted((Path(self.config.data) / name).glob("*.txt"))
        if not files:
            return None
        self.labels = self.labels or tuple(file.stem for file in files)
        limit = self.options.max_lines or None
        examples = []
        for file in files:
            lines = file.read_text(encoding="utf-8").splitlines()[:limit]
            for example in self.encode(lines):
                examples.append({**example, "labels": self.labels.index(file.stem)})
        return Split(examples)

    def model_config_overrides(self) -> dict[str, Any]:
        """Return the names of the classes, which become part of the model's config."""
        return {"id2label": dict(enumerate(self.labels))}

    def score(self, split: Split, outputs: list[Any]) -> dict[str, float]:
        """Return the accuracy in percent."""
        predicted = torch.stack(outputs).argmax(-1)
        labels = torch.tensor([example["labels"] for example in split.examples])
        return {"accuracy": 100 * float((predicted == labels).float().mean())}

    def predictions(self, split: Split, outputs: list[Any]) -> list[dict[str, Any]]:
        """Return the label of each line."""
        return [{"prediction": self.labels[int(logits.argmax())]} for logits in outputs]


def main() -> None:
    """Write a few lines, train on them, and print the result."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        for split in ("train", "dev"):
            (data / split).mkdir(parents=True)
            (data / split / "sea.txt").write_text(
                "the ship sailed\nthe captain slept\nwaves rose\n"
            )
            (data / split / "land.txt").write_text("the horse ran\nthe farmer slept\n")
        config = FinetuningConfig.from_dict(
            {
                "task": "one-file-per-class",
                "model": "albert-torch/nano",
                "data": str(data),
                "max_lines": 2,
                "max_length": 32,
                "batch_size": 4,
                "steps": 20,
                "warmup_steps": 2,
                "learning_rate": 1e-3,
            }
        )
        (result,) = finetune(config, Path(folder) / "run")
        print(f"{result.metric} {result.best:.1f} at step {result.best_step}")


if __name__ == "__main__":
    main()
