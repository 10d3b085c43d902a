"""The table of fine-tuning tasks, and finding the class that a recipe names."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from albert_torch.finetuning.tasks.base import Task
from albert_torch.tokenization.tokenizer import AlbertTokenizer

if TYPE_CHECKING:
    from albert_torch.finetuning.config import FinetuningConfig

TaskT = TypeVar("TaskT", bound=Task)

TASKS: dict[str, type[Task]] = {}
"""The registered tasks by the name that a recipe uses."""


def register_task(*names: str) -> Callable[[type[TaskT]], type[TaskT]]:
    """Return a class decorator that makes a task available to recipes under one or more names.

    Args:
        names: One or more values of a recipe's key `task`, such as "sst2", that select this class.
            A class with several names, as `SingleLabelClassification` has for the tasks of GLUE,
            can read the one that was used from `self.config.task`.

    Raises:
        ValueError: Another class is registered under one of the names.
    """

    def register(task_class: type[TaskT]) -> type[TaskT]:
        for name in names:
            known = TASKS.get(name, task_class)
            if known.__qualname__ != task_class.__qualname__:  # a module may be loaded again
                raise ValueError(
                    f"the task name {name!r} is taken by {known.__module__}.{known.__qualname__}"
                )
            TASKS[name] = task_class
        return task_class

    return register


def find_task(name: str) -> type[Task]:
    """Return the task class that a recipe names.

    Args:
        name: The name of a registered task, or "package.module:ClassName", which is imported.

    Raises:
        ValueError: There is no such task, or the class is not a `Task`.
    """
    if name in TASKS:
        return TASKS[name]
    module_name, colon, class_name = name.partition(":")
    if not colon:
        raise ValueError(
            f"task={name!r} is not known; use one of {', '.join(TASKS)}, or "
            "package.module:ClassName"
        )
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"task={name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ValueError(f"task={name!r} is not a subclass of albert_torch.finetuning.Task")
    return found


def task_option_fields(name: str | None = None) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of a task's own options, as `FinetuningConfig`'s fields describe its keys.

    The metadata of a field has the key "help", see `albert_torch.training.options.option`.

    Args:
        name: The name of a task, or "package.module:ClassName". None returns the options of all
            registered tasks; of those with the same name the first one.

    Raises:
        ValueError: There is no such task.
    """
    if name is not None:
        return dataclasses.fields(find_task(name).options_class)
    by_name: dict[str, dataclasses.Field[Any]] = {}
    for task_class in TASKS.values():
        for field in dataclasses.fields(task_class.options_class):
            by_name.setdefault(field.name, field)
    return tuple(by_name.values())


def ensure_registered(task: type[Task]) -> str:
    """Return the name of a task, and register it as "package.module:ClassName" if it has none.

    A class that is defined inside a function or a notebook is then found by its name in this
    process, although it cannot be imported.
    """
    for name, known in TASKS.items():
        if known is task:
            return name
    name = f"{task.__module__}:{task.__qualname__}"
    register_task(name)(task)
    return name


def with_task(config: FinetuningConfig, task: type[Task] | None) -> FinetuningConfig:
    """Return the recipe with `task` naming the given class.

    The recipe then describes the run completely, so that it can be written to a file.

    Args:
        config: A recipe that names no task, or the same one, or a base class of it.
        task: A task class, which `ensure_registered` registers if the recipe names no task. None
            leaves the recipe as it is.

    Raises:
        ValueError: The recipe names another task, or its `task_options` are not options of this
            one.
    """
    if task is None:
        return config
    if config.task:
        if not issubclass(task, find_task(config.task)):
            raise ValueError(
                f"the recipe names the task {config.task!r}, but task={task.__qualname__} was "
                "given: leave one of them out"
            )
        return config
    return dataclasses.replace(config, task=ensure_registered(task))


def make_task(
    config: FinetuningConfig, tokenizer: AlbertTokenizer, task: type[Task] | None = None
) -> Task:
    """Create the task of a recipe.

    Args:
        config: The recipe.
        tokenizer: The tokenizer of the model.
        task: The class to use; None looks up the one that the recipe names.

    Raises:
        ValueError: The recipe names no known task, or one of its options does not fit the task.
    """
    task_class = find_task(config.task) if task is None else task
    return task_class(config, tokenizer)
