"""Runs as people ask for them: with restarts after a collapse, over several seeds, resumed, with predictions."""

from __future__ import annotations

import json
import logging
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from albert_torch.files import atomic_write_json, atomic_write_text
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.registry import make_task, with_task
from albert_torch.finetuning.trainer import Datasets, FinetuningState, Result, Trainer
from albert_torch.training import checkpointing as states
from albert_torch.training.distributed import first_process, leave_at_exit
from albert_torch.training.model import load_tokenizer

logger = logging.getLogger(__name__)


def finetune(
    recipe: FinetuningConfig,
    directory: str | Path,
    *,
    resume: bool = False,
    task: type[Task] | None = None,
) -> list[Result]:
    """Train as the recipe says, into `directory`: the best model, its tokenizer, the records; a result for each seed.

    With several seeds each has a directory `seed-N` in it. `resume` continues a run that was killed, bit for bit.
    Raises `ValueError` or `FileNotFoundError` for a bad recipe or bad data, `Diverged` for a loss that is no number.
    """
    recipe = with_task(recipe, task)
    folder = Path(directory)
    states.refuse_second_run(folder, resume)
    material = load(recipe, task)
    if recipe.seeds == 1:
        return [_one(recipe, folder, material, resume)]
    folder.mkdir(parents=True, exist_ok=True)
    if first_process():
        atomic_write_text(folder / "recipe.toml", recipe.to_toml())
    results, paths = [], []
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        paths.append(folder / f"seed-{seed}")
        results.append(_one(replace(recipe, seed=seed, seeds=1), paths[-1], material, resume))
    if first_process():
        atomic_write_json(folder / "summary.json", summary(results, paths))
    return results


def load(recipe: FinetuningConfig, task_class: type[Task] | None = None) -> Datasets:
    """The task with its splits.  Raises `ValueError` for data that do not fit it."""
    task = make_task(recipe, load_tokenizer(recipe), task_class)
    train = _split(task, "train")
    if train is None:
        raise FileNotFoundError(
            f"no training file: {recipe.data or '`data` is empty'}; name it with the key train"
        )
    dev = None if recipe.dev == "none" else _split(task, "dev")
    if dev is None:
        logger.warning("no dev split: the model is not evaluated, the last one is kept")
    return Datasets(task, train, dev, _split(task, "test") if recipe.test else None)


def _split(task: Task, name: str) -> Split | None:
    split = task.load_split(name)
    if split is not None:
        logger.info("%s: %d rows", name, len(split.examples))
    return split


def _one(recipe: FinetuningConfig, folder: Path, material: Datasets, resume: bool) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    state = states.load(folder, FinetuningState) if resume else None
    attempt = state.attempt if state is not None else 0
    while True:
        tried = replace(
            recipe,
            seed=recipe.seed + 1000 * attempt,
            learning_rate=recipe.learning_rate * 0.5**attempt,
        )
        trainer = Trainer(tried, folder, material, attempt, state)
        if trainer.accelerator.is_main_process:
            atomic_write_text(folder / "recipe.toml", recipe.to_toml())
        result = trainer.run(stop_on_collapse=attempt < recipe.restarts_on_collapse)
        if result.ended != "collapse":
            break
        attempt, state = attempt + 1, None
        logger.warning(
            "start %d of %d: half the rate, another seed", attempt, recipe.restarts_on_collapse
        )
    predictions = None
    if material.test is not None:
        trainer.load_best()
        _, kept = trainer.outputs(material.test)
        predictions = material.task.predictions(material.test, kept)
    if trainer.accelerator.is_main_process:
        if predictions is not None:
            atomic_write_text(
                folder / "predictions.jsonl",
                "".join(json.dumps(line) + "\n" for line in predictions),
            )
        atomic_write_json(folder / "result.json", asdict(result))
    leave_at_exit()
    return result


def summary(results: list[Result], paths: list[Path]) -> dict[str, Any]:
    """Median, spread and best over the seeds."""
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
        "best": str(paths[best]),
    }


def summary_text(results: list[Result]) -> str:
    """The summary as one line."""
    found = summary(results, [Path(f"seed {i}") for i in range(len(results))])
    return (
        f"{found['metric']} of {len(results)} seeds: median {found['median']:.2f}, {found['lowest']:.2f} to "
        f"{found['highest']:.2f}, standard deviation {found['standard_deviation']:.2f}, {found['collapsed']} collapsed"
    )
