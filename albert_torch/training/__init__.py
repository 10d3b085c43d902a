"""Fine-tuning: recipes, tasks, and a loop that resumes bit for bit."""

from albert_torch.training.adapters import add_lora, expand_groups, load_adapter, merge_lora, save_adapter
from albert_torch.training.loop import Diverged
from albert_torch.training.recipe import Recipe
from albert_torch.training.runs import finetune
from albert_torch.training.trainer import Result

__all__ = [
    "Diverged",
    "Recipe",
    "Result",
    "add_lora",
    "expand_groups",
    "finetune",
    "load_adapter",
    "merge_lora",
    "save_adapter",
]
