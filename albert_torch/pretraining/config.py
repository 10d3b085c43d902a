"""`PretrainingConfig`: everything that decides a pretraining run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_torch.training.config import TrainingConfig
from albert_torch.training.lamb import OPTIMIZERS
from albert_torch.training.options import option


@dataclass
class PretrainingConfig(TrainingConfig):
    """One pretraining run. The defaults are the paper's (§4.1); the names that fine-tuning has too mean the same."""

    batch_size: int = option(
        4096, "rows an update, over all processes and accumulation parts", minimum=1
    )
    steps: int = option(125_000, "updates in all", minimum=1)
    warmup_steps: int = option(
        3_125,
        "updates in which the rate rises to learning_rate; it falls to 0 afterwards",
        minimum=0,
    )
    learning_rate: float = option(0.00176, "the highest rate", minimum=0, maximum=1e6)
    corpus: list[str] = option(
        [],
        "text files (.gz and .zst too), JSON lines, directories of them, Hub data sets "
        "(org/name[:config][@revision])",
    )
    dev: list[str] = option([], "texts to evaluate on; left out of the corpus where they lie in it")
    cache: str = option(
        "",
        "where the tokenized corpus is kept, for several runs to share; empty: in the run's directory",
    )
    documents: str = option(
        "blank",
        "what ends a document: 'blank', an empty line, or 'file', the end of its file",
        choices=("blank", "file"),
    )
    units: str = option(
        "lines",
        "'lines': a line is a sentence; 'sentences': cut after . ! ? and at the paragraph's end",
        choices=("lines", "sentences"),
    )
    encoding: str = option("utf-8", "of the text files")
    column: str = option("text", "of JSON lines and data sets")
    short_seq_prob: float = option(
        0.1,
        "share of the rows that get a random length, so that short ones are learned too",
        minimum=0,
        maximum=1,
    )
    masked_lm_prob: float = option(0.15, "share of the tokens to predict", minimum=0, maximum=1)
    max_ngram_size: int = option(
        3, "words that are masked together at most; n words with a probability as 1/n", minimum=1
    )
    random_next_sentence: bool = option(
        False, "give a lone sentence a second one from elsewhere, as Google's code can"
    )
    sinusoidal_position_init: bool = option(
        False, "let position embeddings start as sinusoids: short runs then find neighbours sooner"
    )
    optimizer: str = option("lamb", f"one of {', '.join(OPTIMIZERS)}", choices=OPTIMIZERS)
    lr_decay_power: float = option(
        1.0, "the rate falls as (what is left of the run) ** power", minimum=0, maximum=10
    )
    num_workers: int = option(
        0,
        "processes that prepare batches; 0: the training process does, which is mostly fast enough",
        minimum=0,
    )
    dev_rows: int = option(1000, "rows to evaluate on at most", minimum=1)

    # Files and tokenizer are known by their contents, wherever they lie.
    FREE_ON_RESUME: ClassVar[frozenset[str]] = TrainingConfig.FREE_ON_RESUME | {
        *("num_workers", "cache", "corpus", "dev", "dev_rows", "tokenizer", "eval_steps"),
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
