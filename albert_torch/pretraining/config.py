"""`PretrainingConfig`: everything that decides a pretraining run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from albert_torch.training.config import COUNT, MANY, SHARE, Range, TrainingConfig, key
from albert_torch.training.lamb import OPTIMIZERS


@dataclass
class PretrainingConfig(TrainingConfig):
    """One pretraining run. The defaults are the paper's (§4.1); the names that fine-tuning has too mean the same."""

    batch_size: int = key(4096, "rows an update, over all processes and accumulation parts")
    steps: int = key(125_000, "updates in all")
    warmup_steps: int = key(
        3_125, "updates in which the rate rises to learning_rate; it falls to 0 afterwards"
    )
    learning_rate: float = key(0.00176, "the highest rate")
    corpus: list[str] = field(
        default_factory=list,
        metadata={
            "help": "text files (.gz and .zst too), JSON lines, directories of them, Hub data sets "
            "(org/name[:config][@revision])"
        },
    )
    dev: list[str] = field(
        default_factory=list,
        metadata={"help": "texts to evaluate on; left out of the corpus where they lie in it"},
    )
    cache: str = key(
        "",
        "where the tokenized corpus is kept, for several runs to share; empty: in the run's directory",
    )
    documents: str = key(
        "blank", "what ends a document: 'blank', an empty line, or 'file', the end of its file"
    )
    units: str = key(
        "lines",
        "'lines': a line is a sentence; 'sentences': cut after . ! ? and at the paragraph's end",
    )
    encoding: str = key("utf-8", "of the text files")
    column: str = key("text", "of JSON lines and data sets")
    short_seq_prob: float = key(
        0.1, "share of the rows that get a random length, so that short ones are learned too"
    )
    masked_lm_prob: float = key(0.15, "share of the tokens to predict")
    max_ngram_size: int = key(
        3, "words that are masked together at most; n words with a probability as 1/n"
    )
    random_next_sentence: bool = key(
        False, "give a lone sentence a second one from elsewhere, as Google's code can"
    )
    sinusoidal_position_init: bool = key(
        False, "let position embeddings start as sinusoids: short runs then find neighbours sooner"
    )
    optimizer: str = key("lamb", f"one of {', '.join(OPTIMIZERS)}")
    lr_decay_power: float = key(1.0, "the rate falls as (what is left of the run) ** power")
    num_workers: int = key(
        0,
        "processes that prepare batches; 0: the training process does, which is mostly fast enough",
    )
    dev_rows: int = key(1000, "rows to evaluate on at most")

    # Files and tokenizer are known by their contents, wherever they lie.
    FREE: ClassVar[frozenset[str]] = TrainingConfig.FREE | {
        *("num_workers", "cache", "corpus", "dev", "dev_rows", "tokenizer", "eval_steps"),
    }
    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        **TrainingConfig.CHOICES,
        "optimizer": tuple(OPTIMIZERS),
        "documents": ("blank", "file"),
        "units": ("lines", "sentences"),
    }
    RANGES: ClassVar[dict[Range, tuple[str, ...]]] = {
        **TrainingConfig.RANGES,
        MANY: (*TrainingConfig.RANGES[MANY], "max_ngram_size", "dev_rows"),
        COUNT: (*TrainingConfig.RANGES[COUNT], "num_workers"),
        SHARE: (*TrainingConfig.RANGES[SHARE], "short_seq_prob", "masked_lm_prob"),
        (0.0, 10.0): ("lr_decay_power",),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < 8:
            raise ValueError(
                f"max_length={self.max_length}: a row of two segments needs at least 8 tokens"
            )
        for name in ("masked_lm_prob", "adam_eps"):
            if not getattr(self, name):
                raise ValueError(f"{name}=0.0 must be above 0")
        if max(self.adam_beta1, self.adam_beta2) == 1:
            raise ValueError("adam_beta1 and adam_beta2 must be below 1")
