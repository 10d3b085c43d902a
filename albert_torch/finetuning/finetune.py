"""`finetune`: a whole run, with several seeds, restarts after a collapse and predictions."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from albert_torch.files import atomic_write_json, atomic_write_text
from albert_torch.finetuning.attempt import (
    Datasets,
    FinetuningResult,
    FinetuningState,
    start_attempt,
)
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.evaluation import predict
from albert_torch.finetuning.run_attempt import run_attempt
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.registry import make_task, with_task
from albert_torch.training.checkpointing import RECIPE_FILE, load_checkpoint, refuse_second_run
from albert_torch.training.distributed import first_process, leave_process_group_at_exit
from albert_torch.training.loop import StopReason
from albert_torch.training.model import load_tokenizer

logger = logging.getLogger(__name__)

OnUpdate = Callable[[int], None]


def finetune(
    config: FinetuningConfig,
    directory: str | Path,
    *,
    resume: bool = False,
    task: type[Task] | None = None,
    on_update: OnUpdate | None = None,
) -> list[FinetuningResult]:
    """Fine-tune a model and write the best one, its tokenizer and the metrics to a directory.

    Args:
        config: The options of the run.
        directory: Where the files are written. With several seeds, each run has a directory
            `seed-N` inside it, and a `summary.json` compares them.
        resume: Continue a run that was interrupted, bit for bit. Starts a new run if there is no
            checkpoint yet.
        task: The class of the task; None: the one that `config.task` names. A class without a
            registered name is registered as "package.module:ClassName".
        on_update: Called at the end of each update with the number of updates done. An exception
            that it raises ends the run, which can be resumed.

    Returns:
        The result for each seed.

    Raises:
        ValueError: Config, data and model do not fit each other, the directory holds another run,
            or (as `Diverged`) the loss became NaN or infinite.
        FileNotFoundError: The model, the tokenizer or the data are missing.
        OSError: The disk is full. The last checkpoint is unchanged.
    """
    config = with_task(config, task)
    directory = Path(directory)
    refuse_second_run(directory, resume)
    datasets = load_datasets(config, task)
    if config.seeds == 1:
        return [_run_with_restarts(config, directory, datasets, resume, on_update)]
    directory.mkdir(parents=True, exist_ok=True)
    if first_process():
        atomic_write_text(directory / RECIPE_FILE, config.to_toml())
    results, directories = [], []
    for seed in range(config.seed, config.seed + config.seeds):
        directories.append(directory / f"seed-{seed}")
        config_of_seed = replace(config, seed=seed, seeds=1)
        results.append(
            _run_with_restarts(config_of_seed, directories[-1], datasets, resume, on_update)
        )
    if first_process():
        atomic_write_json(directory / "summary.json", summarize(results, directories))
    return results


def load_datasets(config: FinetuningConfig, task_class: type[Task] | None = None) -> Datasets:
    """Return the task of a run with its splits.

    Args:
        config: The options of the run.
        task_class: The class of the task; None: the one that `config.task` names.

    Raises:
        ValueError: The data do not fit the task.
        FileNotFoundError: There is no training split.
    """
    tokenizer = load_tokenizer(config)
    task = make_task(config, tokenizer, task_class)
    train = _load_split(task, "train")
    if train is None:
        place = f"data={config.data!r} has none" if config.data else "data is not set"
        raise FileNotFoundError(f"there is no training split: {place}; name a file with train")
    dev = None if config.dev == "none" else _load_split(task, "dev")
    if dev is None:
        logger.warning("there is no dev split: the model is not evaluated, the last one is kept")
    test = _load_split(task, "test") if config.test else None
    return Datasets(task, train, dev, test)


def _load_split(task: Task, name: str) -> Split | None:
    split = task.load_split(name)
    if split is not None:
        logger.info("%s: %d examples", name, len(split.examples))
    return split


def _run_with_restarts(
    config: FinetuningConfig,
    directory: Path,
    datasets: Datasets,
    resume: bool,
    on_update: OnUpdate | None,
) -> FinetuningResult:
    """Run one seed, again with another seed and half the learning rate after each collapse."""
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint = load_checkpoint(directory, FinetuningState) if resume else None
    number = 0 if checkpoint is None else checkpoint.state.attempt
    while True:
        config_of_attempt = replace(
            config,
            seed=config.seed + 1000 * number,
            learning_rate=config.learning_rate * 0.5**number,
        )
        attempt = start_attempt(config_of_attempt, directory, datasets, number, checkpoint)
        if attempt.context.runtime.is_main:
            atomic_write_text(directory / RECIPE_FILE, config.to_toml())
        restarts_left = config.restarts_on_collapse - number
        result = run_attempt(attempt, stop_on_collapse=restarts_left > 0, on_update=on_update)
        if result.stop_reason is not StopReason.COLLAPSE:
            break
        number, checkpoint = number + 1, None
        logger.warning(
            "restart %d of %d, with half the learning rate and another seed",
            number,
            config.restarts_on_collapse,
        )
    predictions = None if datasets.test is None else predict(attempt, datasets.test)
    if attempt.context.runtime.is_main:
        if predictions is not None:
            lines = "".join(json.dumps(prediction) + "\n" for prediction in predictions)
            atomic_write_text(directory / "predictions.jsonl", lines)
        atomic_write_json(directory / "result.json", asdict(result))
    leave_process_group_at_exit()
    return result


def summarize(results: list[FinetuningResult], directories: list[Path]) -> dict[str, Any]:
    """Return median, spread and best of the results of several seeds."""
    values = [float("nan") if result.best is None else result.best for result in results]
    best = max(range(len(values)), key=values.__getitem__)
    return {
        "metric": results[0].metric,
        "values": values,
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        "collapsed": sum(result.collapsed for result in results),
        "best": str(directories[best]),
    }


def summary_text(results: list[FinetuningResult]) -> str:
    """Return the summary of several seeds as one line."""
    summary = summarize(results, [Path() for _ in results])
    return (
        f"{summary['metric']} of {len(results)} seeds: median {summary['median']:.2f}, "
        f"{summary['lowest']:.2f} to {summary['highest']:.2f}, standard deviation "
        f"{summary['standard_deviation']:.2f}, {summary['collapsed']} collapsed"
    )
