"""`FinetuningConfig`: everything that decides a fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_torch.training.config import TrainingConfig
from albert_torch.training.options import option

BATCHING = ("length", "random", "file")


@dataclass
class FinetuningConfig(TrainingConfig):
    """One fine-tuning run, apart from the options of its task.

    The defaults are the paper's (Table 14, appendix A.4) where it has one value for all tasks.
    """

    task: str = option("", "name of the task, or package.module:ClassName")
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
    text: str = option("", "column of the text")
    text_pair: str = option("", "column of the second text")
    label: str = option("", "column of the label")
    labels: list[str] = option(
        [], "label names in the order of their numbers; empty: those of the training file"
    )
    max_qa_length: int = option(128, "tokens of question and option at most (race)", minimum=0)
    doc_stride: int = option(128, "tokens that neighbouring windows share (squad)", minimum=0)
    answerability_head: bool = option(
        False, "a head of its own for 'no answer' (squad2), as in the paper"
    )
    masked_lm_prob: float = option(
        0.15, "share of the tokens to predict (mlm)", minimum=0, maximum=1
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
        if self.lora_per_depth and not self.lora_rank:
            raise ValueError("lora_per_depth needs a lora_rank above 0")
        if self.lora_rank and self.parallel == "fsdp":
            raise ValueError(
                "parallel='fsdp' shards what is trained, and LoRA adapters are small: use "
                "parallel='ddp'"
            )
