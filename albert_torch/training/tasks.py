"""Which class a recipe's `task` names."""

from __future__ import annotations

from albert_torch.tokenizer import AlbertTokenizer
from albert_torch.training.choice import CHOICES, MultipleChoice
from albert_torch.training.classification import GLUE, KINDS, Classification
from albert_torch.training.masked import MaskedLM
from albert_torch.training.recipe import Recipe
from albert_torch.training.squad import QuestionAnswering
from albert_torch.training.tagging import Tagging
from albert_torch.training.task import Task

TASKS: dict[str, type[Task]] = {
    **dict.fromkeys((*GLUE, *KINDS), Classification),
    **dict.fromkeys(CHOICES, MultipleChoice),
    **dict.fromkeys(("squad1", "squad2"), QuestionAnswering),
    "conll": Tagging,
    "mlm": MaskedLM,
}


def make_task(recipe: Recipe, tokenizer: AlbertTokenizer) -> Task:
    """The task of a recipe.  Raises `ValueError` that lists the tasks."""
    if recipe.task not in TASKS:
        raise ValueError(f"task={recipe.task!r} is not known; use one of {', '.join(TASKS)}")
    return TASKS[recipe.task](recipe, tokenizer)
