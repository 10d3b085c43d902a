"""Fine-tuning in seconds: a vocabulary of words, a table whose labels can be learned, a recipe with a tiny model."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from albert_torch.finetuning import FinetuningConfig, finetune
from albert_torch.finetuning.trainer import Trainer
from albert_torch.training import checkpointing as states
from albert_torch.training.checkpointing import TrainingState
from albert_torch.training.config import TrainingConfig
from albert_torch.training.metric_logger import read
from helpers.constants import ROOT

WORDS = [f"w{i}" for i in range(30)] + ["good", "bad", "what", "cause", "because", "so", "."]
SHAPE = {
    "embedding_size": 10,
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "num_hidden_layers": 3,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
}


def vocabulary(folder: Path) -> Path:
    """A directory with a tokenizer for `WORDS`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
    )
    return folder


def sentences(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Texts of 1 to 12 words; the label is 1 when "good" is in it, 0 when "bad" is."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = [draw.choice(WORDS[:30]) for _ in range(draw.randint(0, 11))]
        label = draw.randint(0, 1)
        words.insert(draw.randint(0, len(words)), ("bad", "good")[label])
        rows.append((" ".join(words), label))
    return rows


def table(folder: Path, **sizes: int) -> Path:
    """TSV files of `sentences`: `train=40` writes train.tsv with 40 rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate(sizes.items()):
        lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in sentences(count, seed))]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def recipe(folder: Path, **changes: Any) -> FinetuningConfig:
    """Twelve updates of classification, a checkpoint every four."""
    values = {
        "task": "classification",
        "tokenizer": str(vocabulary(folder / "vocabulary")),
        "data": str(table(folder / "data", train=43, dev=20)),
        "model_config": SHAPE,
        "max_length": 16,
        "batch_size": 8,
        "steps": 12,
        "warmup_steps": 2,
        "learning_rate": 1e-3,
        "eval_steps": 4,
        "log_steps": 1,
        "dropout": 0.1,
    }
    return FinetuningConfig.from_dict({**values, **changes})


def losses(folder: Path) -> list[float]:
    """The training loss of each update."""
    return [line["loss"] for line in read(folder) if "loss" in line]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The model and the optimizer of a run's last checkpoint, flat."""
    state = torch.load(folder / "last.pt", weights_only=True)
    moments = {
        f"{i}.{name}": x for i, of in state["optimizer"]["state"].items() for name, x in of.items()
    }
    return {**state["model"], **moments}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def killed(
    command: list[str], folder: Path, kind: type[TrainingState], kills: int
) -> Iterator[None]:
    """Start a command that trains, resuming, into `folder`, and kill it at random moments; yields after each kill."""
    one_thread = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
    }  # as this process: another number adds in another order
    draw = random.Random(5)
    for kill in range(kills):
        before = states.load(folder, kind)
        process = subprocess.Popen(
            command, env=one_thread, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if kill % 4 == 3:
            time.sleep(draw.random() * 5)  # while it starts
        else:  # while it trains, evaluates or saves: after its first checkpoint
            while process.poll() is None:
                now = states.load(folder, kind)
                if now is not None and now.step > (before.step if before else 0):
                    break
                time.sleep(0.01)
            time.sleep(draw.random() * 0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert states.load(folder, kind) is not None
        yield


@contextmanager
def interrupted(loop: type[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs of this class of loop are cut off before their eighth update, as they must be."""
    update = loop._update

    def cut(self: Any, batch: Any) -> None:
        if self.state.step == 7:
            raise KeyboardInterrupt
        update(self, batch)

    monkeypatch.setattr(loop, "_update", cut)
    with pytest.raises(KeyboardInterrupt):
        yield
    monkeypatch.undo()


def interrupt_and_resume(
    how: FinetuningConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is cut off before its eighth update, and then continued."""
    with interrupted(Trainer, monkeypatch):
        finetune(how, folder)
    finetune(how, folder, resume=True)


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Whether two runs ended with the same numbers, bit for bit."""
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


# Asked first, so answered last: a group that is not left has threads which abort the process now and then.
LEFT = """
import atexit, os
from torch import distributed

atexit.register(lambda: distributed.is_initialized() and os._exit(1))
"""


def two_processes(worker: str, recipes: Mapping[str, TrainingConfig], folder: Path) -> None:
    """Run a script in two processes over gloo; its arguments are the recipes, as files in `folder`.

    Kills, beside what a test looks at: a process that ends without leaving its group.
    """
    for name, how in recipes.items():
        (folder / f"{name}.toml").write_text(how.to_toml())
    (folder / "worker.py").write_text(LEFT + worker)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command += [str(folder / "worker.py"), *(str(folder / f"{name}.toml") for name in recipes)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
