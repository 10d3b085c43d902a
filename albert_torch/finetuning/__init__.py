"""Fine-tuning: recipes, tasks, and a loop that resumes bit for bit.

The modules of a run, in the order in which they call each other:

    finetune.finetune               reads the data; runs each seed, again after a collapse
    ├── attempt.start_attempt       builds the model and the optimizer, or restores them
    ├── run_attempt.run_attempt     trains with the loop of `training.loop`
    │   └── evaluation.evaluate     scores the dev split, keeps the best model, stops early
    └── evaluation.predict          writes the predictions of the best model
"""

from albert_torch.finetuning.attempt import FinetuningResult
from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.finetuning.finetune import finetune
from albert_torch.finetuning.lora import (
    is_adapter_directory,
    load_adapter,
    load_merged,
    merge_adapter,
    save_adapter,
)
from albert_torch.finetuning.lora_layers import add_lora, expand_groups, merge_lora
from albert_torch.finetuning.tasks.base import Split, Task
from albert_torch.finetuning.tasks.classification import SingleLabelClassification
from albert_torch.finetuning.tasks.registry import TASKS, register_task
from albert_torch.training.loop import Diverged, StopReason
from albert_torch.training.options import Options, option

__all__ = [
    "TASKS",
    "Diverged",
    "FinetuningConfig",
    "FinetuningResult",
    "Options",
    "SingleLabelClassification",
    "Split",
    "StopReason",
    "Task",
    "add_lora",
    "expand_groups",
    "finetune",
    "is_adapter_directory",
    "load_adapter",
    "load_merged",
    "merge_adapter",
    "merge_lora",
    "option",
    "register_task",
    "save_adapter",
]
