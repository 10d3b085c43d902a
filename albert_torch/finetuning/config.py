"""`FinetuningConfig`: everything that decides a fine-tuning run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from albert_torch.finetuning.tasks.registry import find_task, task_option_fields
from albert_torch.training.config import TrainingConfig
from albert_torch.training.options import option, unknown_option

BATCHING = ("length", "random", "file")


@dataclass
class FinetuningConfig(TrainingConfig):
    """One fine-tuning run.

    The defaults are the paper's (Table 14, appendix A.4) where it has one value for all tasks. The
    options of the task, such as `doc_stride` of "squad1", are in `task_options`. In recipes, in
    `from_dict` and on the command line they stand side by side with the other keys.

    Raises:
        ValueError: A key is neither a key of all tasks nor an option of this one, or a value has
            the wrong type or is impossible.
    """

    task: str = option("", "name of the task, or package.module:ClassName of a task of your own")
    new_head: bool = option(
        False, "initialise the head anew if the checkpoint's has another number of labels"
    )
    data: str = option("", "directory with the files of the task, or a Hub data set")
    data_config: str = option("", "name of the subset of a Hub data set")
    train: str = option("", "training file; empty: the file of that name in `data`")
    dev: str = option(
        "",
        "file that selects the best checkpoint; empty: the file of that name in `data`; 'none': no "
        "evaluation",
    )
    test: str = option("", "file to predict at the end, into predictions.jsonl")
    task_options: dict[str, Any] = option(
        {}, "options of the task by name; each can also be given by itself, like the other keys"
    )
    classifier_dropout: float | None = option(
        0.1, "dropout before the classifier; none: as in the checkpoint", minimum=0, maximum=1
    )
    batching: str = option(
        "length",
        "how rows are put into batches: 'length' (rows of similar length), 'random' or 'file' (in "
        "the order of the file)",
        choices=BATCHING,
    )
    patience: int = option(
        0, "evaluations without a better result before stopping; 0: never stop early", minimum=0
    )
    metric: str = option("", "metric that selects the best checkpoint; empty: the task's own")
    seeds: int = option(
        1, "number of runs, with seeds counted up from `seed`; reports median and spread", minimum=1
    )
    restarts_on_collapse: int = option(
        0,
        "restarts after a collapse, each with half the learning rate and another seed",
        minimum=0,
    )
    lora_rank: int = option(
        0, "rank of LoRA adapters, trained instead of the encoder's weights; 0: none", minimum=0
    )
    lora_alpha: float = option(
        16.0, "adapters are scaled by lora_alpha / lora_rank", minimum=0, maximum=1e6
    )
    lora_per_depth: bool = option(
        False, "a separate adapter for each application of the shared layer"
    )

    FREE_ON_RESUME: ClassVar[frozenset[str]] = TrainingConfig.FREE_ON_RESUME | {
        "seeds",
        "restarts_on_collapse",
        "test",
        "patience",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task:  # all options, so that the config says everything about the run
            options = find_task(self.task).options_class.from_dict(self.task_options)
            self.task_options = dataclasses.asdict(options)
        if self.lora_per_depth and not self.lora_rank:
            raise ValueError("lora_per_depth needs a lora_rank above 0")
        if self.lora_rank and self.parallel == "fsdp":
            raise ValueError(
                "parallel='fsdp' shards what is trained, and LoRA adapters are small: use "
                "parallel='ddp'"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FinetuningConfig:
        """Create the config from the values of a recipe or of the command line.

        Args:
            values: Values of the config's own keys and of the options of the task that the key
                `task` names, see `Options.from_dict`.

        Raises:
            ValueError: A name is unknown (the error suggests a similar one), the task is unknown,
                or a value does not fit its key.
        """
        own_keys = cls.field_types()
        task_options = {name: value for name, value in values.items() if name not in own_keys}
        if not task_options:
            return super().from_dict(values)
        task = values.get("task", "")
        task_keys = find_task(task).options_class.field_types() if task else {}
        for name in task_options:
            if name not in task_keys:
                hint = "" if task else "; the options of a task need the key task"
                raise ValueError(unknown_option(name, [*own_keys, *task_keys]) + hint)
        own_values = {name: value for name, value in values.items() if name in own_keys}
        own_values["task_options"] = {**values.get("task_options", {}), **task_options}
        return super().from_dict(own_values)

    def to_dict(self) -> dict[str, Any]:
        """Return the value of every key, with the task's options side by side with the others."""
        values = super().to_dict()
        task_options = values.pop("task_options")
        return {**values, **task_options}

    def defaults(self) -> dict[str, Any]:
        """Return the default of every key, among them the options of the task."""
        task_fields = task_option_fields(self.task) if self.task else ()
        return {**super().defaults(), **{field.name: field.default for field in task_fields}}
