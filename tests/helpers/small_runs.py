"""Training runs of seconds: a small vocabulary, a data set that can be learned, a tiny model."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from albert_torch.finetuning import FinetuningConfig, finetune
from albert_torch.training.checkpointing import TrainingState, load_checkpoint
from albert_torch.training.config import TrainingConfig
from albert_torch.training.metric_logger import read_metrics
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
    """Texts of 1 to 12 words with a label: 1 if it contains "good", 0 if it contains "bad"."""
    rng = random.Random(seed)
    examples = []
    for _ in range(count):
        words = [rng.choice(WORDS[:30]) for _ in range(rng.randint(0, 11))]
        label = rng.randint(0, 1)
        words.insert(rng.randint(0, len(words)), ("bad", "good")[label])
        examples.append((" ".join(words), label))
    return examples


def table(folder: Path, **sizes: int) -> Path:
    """A directory of TSV files with `sentences`; `train=40` writes train.tsv with 40 rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate(sizes.items()):
        lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in sentences(count, seed))]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def small_config(folder: Path, **changes: Any) -> FinetuningConfig:
    """A config for twelve updates of classification, with a checkpoint every four."""
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


def losses(directory: Path) -> list[float]:
    """The training loss of each update."""
    return [line["loss"] for line in read_metrics(directory) if "loss" in line]


def last_tensors(directory: Path) -> dict[str, torch.Tensor]:
    """The weights and the optimizer's moments in a run's last checkpoint, by name."""
    checkpoint = torch.load(directory / "last.pt", weights_only=True)
    moments = {
        f"{parameter}.{name}": x
        for parameter, of_parameter in checkpoint["optimizer"]["state"].items()
        for name, x in of_parameter.items()
    }
    return {**checkpoint["model"], **moments}


def same_tensors(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Whether two dictionaries have the same names and, bit for bit, the same tensors."""
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stop_after(last_step: int) -> Callable[[int], None]:
    """A callback for `on_update` that interrupts a run after some updates, as Ctrl-C does."""

    def interrupt(step: int) -> None:
        if step == last_step:
            raise KeyboardInterrupt

    return interrupt


def finetune_in_two_parts(config: FinetuningConfig, directory: Path) -> None:
    """A run that is interrupted after its seventh update, and then resumed."""
    with pytest.raises(KeyboardInterrupt):
        finetune(config, directory, on_update=stop_after(7))
    finetune(config, directory, resume=True)


def killed_runs(
    command: list[str], directory: Path, state_class: type[TrainingState], kills: int
) -> Iterator[None]:
    """Start a command that resumes a run again and again, and kill it at random moments.

    Yields after each kill.
    """
    # The number of threads decides in which order floats are added: use that of this process.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    rng = random.Random(5)
    for kill in range(kills):
        checkpoint = load_checkpoint(directory, state_class)
        step_before = checkpoint.state.step if checkpoint else 0
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if kill % 4 == 3:
            time.sleep(rng.random() * 5)  # while it starts
        else:  # after its first checkpoint: while it trains, evaluates or saves
            while process.poll() is None:
                checkpoint = load_checkpoint(directory, state_class)
                if checkpoint is not None and checkpoint.state.step > step_before:
                    break
                time.sleep(0.01)
            time.sleep(rng.random() * 0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert load_checkpoint(directory, state_class) is not None
        yield


# The handler is registered first, so it runs last. The threads of a process group that was not left
# abort the process now and then; here it always fails.
FAIL_IF_GROUP_WAS_NOT_LEFT = """
import atexit, os
from torch import distributed

atexit.register(lambda: distributed.is_initialized() and os._exit(1))
"""


def run_two_processes(script: str, arguments: Sequence[Path], directory: Path) -> None:
    """Run a script in two processes over gloo.

    Kills, besides what a test checks: a process that ends without leaving its group.
    """
    (directory / "worker.py").write_text(FAIL_IF_GROUP_WAS_NOT_LEFT + script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(directory / "worker.py"), *map(str, arguments)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


def write_recipes(configs: Mapping[str, TrainingConfig], directory: Path) -> list[Path]:
    """Write configs as recipes `NAME.toml`."""
    paths = [directory / f"{name}.toml" for name in configs]
    for path, config in zip(paths, configs.values(), strict=True):
        path.write_text(config.to_toml())
    return paths
