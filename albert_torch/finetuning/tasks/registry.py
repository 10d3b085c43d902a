"""Which class a recipe's `task` names."""

from __future__ import annotations

from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.tasks.base import Task
from albert_torch.finetuning.tasks.classification import GLUE, KINDS, Classification
from albert_torch.finetuning.tasks.masked_lm import MaskedLM
from albert_torch.finetuning.tasks.multiple_choice import CHOICES, MultipleChoice
from albert_torch.finetuning.tasks.question_answering import QuestionAnswering
from albert_torch.finetuning.tasks.token_classification import Tagging
from albert_torch.tokenization.tokenizer import AlbertTokenizer

TASKS: dict[str, type[Task]] = {
    **dict.fromkeys((*GLUE, *KINDS), Classification),
    **dict.fromkeys(CHOICES, MultipleChoice),
    **dict.fromkeys(("squad1", "squad2"), QuestionAnswering),
    "conll": Tagging,
    "mlm": MaskedLM,
}


def make_task(recipe: FinetuningConfig, tokenizer: AlbertTokenizer) -> Task:
    """The task of a recipe.  Raises `ValueError` that lists the tasks."""
    if recipe.task not in TASKS:
        raise ValueError(f"task={recipe.task!r} is not known; use one of {', '.join(TASKS)}")
    return TASKS[recipe.task](recipe, tokenizer)
