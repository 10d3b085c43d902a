"""`FinetuningConfig`: everything that decides a fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from albert_torch.training.config import COUNT, MANY, SHARE, Range, TrainingConfig, key

BATCHING = ("length", "random", "file")


@dataclass
class FinetuningConfig(TrainingConfig):
    """One fine-tuning run. The defaults are the paper's (Table 14, appendix A.4) where it names one for all tasks."""

    task: str = key("", "what is learned, and from which files")
    new_head: bool = key(
        False, "draw a head anew that has another number of labels in the checkpoint"
    )
    data: str = key("", "the directory with the task's files, or a Hub data set")
    data_config: str = key("", "the name of the subset of a Hub data set")
    train: str = key("", "the training file, if not train.* of `data`")
    dev: str = key(
        "",
        "the file that chooses the best checkpoint, if not dev.* of `data`; 'none': no evaluation",
    )
    test: str = key("", "a file to predict at the end, into predictions.jsonl")
    text: str = key("", "the column of the text")
    text_pair: str = key("", "the column of the second text")
    label: str = key("", "the column of the label")
    labels: list[str] = field(
        default_factory=list,
        metadata={
            "help": "the label names in the order of their numbers; empty: those of the training file"
        },
    )
    max_qa_length: int = key(128, "tokens of question and option at most (race)")
    doc_stride: int = key(128, "tokens that neighbouring windows of a text share (squad)")
    answerability_head: bool = key(
        False, "a head of its own for 'no answer' (squad2), as in the paper"
    )
    masked_lm_prob: float = key(0.15, "share of the tokens to predict (mlm)")
    classifier_dropout: float | None = key(
        0.1, "before the classifier; None: as the checkpoint has it"
    )
    batching: str = key(
        "length",
        f"how batches are made, one of {', '.join(BATCHING)}: like lengths together, or not",
    )
    patience: int = key(
        0, "evaluations without a better result before stopping; 0: never stop early"
    )
    metric: str = key("", "what chooses the best checkpoint; empty: the task's own")
    seeds: int = key(1, "runs, with seeds counted up from `seed`; reports median, spread and best")
    restarts_on_collapse: int = key(
        0, "new starts after a collapse, each with half the rate and another seed"
    )
    lora_rank: int = key(
        0, "rank of low-rank deltas, trained in place of the encoder's weights; 0: none"
    )
    lora_alpha: float = key(16.0, "the deltas are scaled by lora_alpha / lora_rank")
    lora_per_depth: bool = key(False, "a delta of its own for each run of the shared layer")

    FREE: ClassVar[frozenset[str]] = TrainingConfig.FREE | {
        "seeds",
        "restarts_on_collapse",
        "test",
        "patience",
    }
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {**TrainingConfig.CHOICES, "batching": BATCHING}
    RANGES: ClassVar[dict[Range, tuple[str, ...]]] = {
        MANY: (*TrainingConfig.RANGES[MANY], "seeds"),
        COUNT: (
            *TrainingConfig.RANGES[COUNT],
            "max_qa_length",
            "doc_stride",
            "patience",
            "restarts_on_collapse",
            "lora_rank",
        ),
        (0, 1e6): (*TrainingConfig.RANGES[0, 1e6], "lora_alpha"),
        SHARE: (*TrainingConfig.RANGES[SHARE], "classifier_dropout", "masked_lm_prob"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora_per_depth and not self.lora_rank:
            raise ValueError("lora_per_depth needs a lora_rank above 0")
        if self.lora_rank and self.parallel == "fsdp":
            raise ValueError(
                "parallel='fsdp' shards what is trained, and low-rank deltas are small: use parallel='ddp'"
            )
