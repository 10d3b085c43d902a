"""`albert-torch finetune`: train a model for a task, by a recipe."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from albert_torch.cli.parser import CommandParser, UsageError
from albert_torch.cli.plugins import allow_modules_of_current_directory
from albert_torch.cli.recipe_options import (
    add_field_argument,
    add_recipe_arguments,
    add_run_arguments,
    load_recipe,
    resume_hint,
)
from albert_torch.recipe_files import Recipe, recipe_path

if TYPE_CHECKING:
    from albert_torch.finetuning.attempt import FinetuningResult

SUMMARY = "Fine-tune a model for a task, by a recipe."
EXAMPLES = """\
examples:
  albert-torch recipes
  albert-torch finetune sst2 --data glue/SST-2 --out runs/sst2
  albert-torch finetune sst2 --data glue/SST-2 --out runs/try --scale 0.01
  albert-torch finetune classification --data reviews --text review --label stars \\
      --out runs/stars
  albert-torch finetune sst2 --data glue/SST-2 --out runs/lora --lora-rank 8 --seeds 5
  albert-torch finetune my.toml --plugin my_task.py --task my_task:MyTask --out runs/x
  torchrun --nproc-per-node 2 -m albert_torch finetune sst2 --data glue/SST-2 \\
      --out runs/sst2

The directory of the run then holds the best model in the layout of the Hub, its tokenizer,
metrics.jsonl, result.json, the recipe that ran, and last.pt, from which --resume continues.
"""
TOPICS = {
    "task and model": ("task", "model", "tokenizer", "model_config", "new_head"),
    "data": ("data", "data_config", "train", "dev", "test"),
    "optimisation": (
        "steps",
        "batch_size",
        "gradient_accumulation_steps",
        "max_length",
        "learning_rate",
        "warmup_steps",
        "weight_decay",
        "adam_beta1",
        "adam_beta2",
        "adam_eps",
        "max_grad_norm",
        "batching",
        "seed",
    ),
    "regularisation": ("dropout", "ffn_dropout_prob", "classifier_dropout"),
    "LoRA": ("lora_rank", "lora_alpha", "lora_per_depth"),
    "speed and memory": ("dtype", "unpad", "gradient_checkpointing", "parallel"),
    "evaluation and records": (
        "metric",
        "eval_steps",
        "patience",
        "save_steps",
        "log_steps",
        "tensorboard",
    ),
    "several runs": ("seeds", "restarts_on_collapse"),
}


def add_arguments(parser: CommandParser) -> None:
    """Declare the options of `albert-torch finetune`, among them those of the task it names."""
    from albert_torch.finetuning.config import FinetuningConfig
    from albert_torch.finetuning.tasks.registry import task_option_fields

    allow_modules_of_current_directory()  # a task may be given as module:Class
    add_run_arguments(parser, "sst2")
    fields = dataclasses.fields(FinetuningConfig)
    add_recipe_arguments(parser, [f for f in fields if f.name != "task_options"], TOPICS)
    task = _named_task(parser)
    own_fields = {field.name: field for field in task_option_fields(task)}
    owner = "tasks" if task is None else f"the task {task}"
    group = parser.add_argument_group(f"recipe keys: options of {owner}")
    for field in own_fields.values():
        tasks = f" (tasks: {', '.join(_tasks_with(field.name))})" if task is None else ""
        add_field_argument(group, field, tasks)
    others = [field for field in task_option_fields() if field.name not in own_fields]
    for field in others:
        add_field_argument(group, field, hidden=True)
    parser.set_defaults(task_keys=list(own_fields), other_keys=[field.name for field in others])


def _named_task(parser: CommandParser) -> str | None:
    """Return the task that the options or the recipe name; None if they name none.

    Raises:
        UsageError: There is no such task. Its options are not known then, so that parsing them
            would report the first one instead.
    """
    from albert_torch.finetuning.tasks.registry import find_task

    recipe, task = parser.peek("--task")
    source = ""
    if task is None and recipe is not None:
        try:
            path = recipe_path(recipe, "finetune")
            task = Recipe(path.stem, "finetune", path).task
        except (OSError, ValueError):  # reported when the recipe is loaded
            return None
        source = f"{path}: "
        if task == "pretraining":  # the file names no task, or cannot be read
            return None
    if not task:
        return None
    try:
        find_task(task)
    except ValueError as error:
        if {"-h", "--help"} & set(parser.arguments):
            return None
        raise UsageError(f"{source}{error}") from error
    return task


def _tasks_with(option: str) -> list[str]:
    """Return the registered tasks that have an option of this name."""
    from albert_torch.finetuning.tasks.registry import TASKS, task_option_fields

    return [task for task in TASKS if option in [f.name for f in task_option_fields(task)]]


def run(args: argparse.Namespace) -> int:
    """Train, and print the best score of each run."""
    from albert_torch.finetuning.config import FinetuningConfig
    from albert_torch.finetuning.finetune import finetune, summary_text
    from albert_torch.training.distributed import first_process

    for key in args.other_keys:
        if key in vars(args):
            option = f"--{key.replace('_', '-')}"
            tasks = ", ".join(_tasks_with(key))
            raise UsageError(f"{option} is an option of {tasks}, not of the task of this recipe")
    names = [*(field.name for field in dataclasses.fields(FinetuningConfig)), *args.task_keys]
    config = load_recipe(args, FinetuningConfig, "finetune", names)
    with resume_hint(args):
        results = finetune(config, args.out, resume=args.resume)
    if first_process():
        for result in results:
            print(_line(result))
        if len(results) > 1:
            print(summary_text(results))
        print(f"written to {args.out}")
    return 0


def _line(result: FinetuningResult) -> str:
    from albert_torch.training.loop import StopReason

    early = result.stop_reason is StopReason.EARLY_STOPPING
    ending = "stopped early" if early else "finished"
    score = (
        "no dev split"
        if result.best is None
        else f"best {result.metric} {result.best:.2f} at step {result.best_step}"
    )
    restarts = f"; {result.attempt} restarts" if result.attempt else ""
    collapse = "; collapsed to one class" if result.collapsed else ""
    return f"{ending} after {result.step} steps, {score}{restarts}{collapse}"
