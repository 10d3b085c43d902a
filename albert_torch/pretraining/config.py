"""`PretrainingConfig`: the recipe of a pretraining run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from albert_torch.pretraining.corpus import (
    DOCUMENT_SEPARATORS,
    SENTENCE_SPLITTINGS,
    CorpusFormat,
)
from albert_torch.pretraining.examples import ExampleOptions
from albert_torch.training.config import TrainingConfig
from albert_torch.training.optim import OPTIMIZERS
from albert_torch.training.options import option

MIN_LENGTH = 8  # shorter examples have hardly any tokens besides the special ones


@dataclass
class PretrainingConfig(TrainingConfig):
    """Everything that determines a pretraining run.

    The defaults are those of the paper (section 4.1). Keys that fine-tuning has too mean the same
    there.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type or is impossible.
    """

    batch_size: int = option(
        4096, "examples per update, over all processes and micro-batches", minimum=1
    )
    steps: int = option(125_000, "number of updates", minimum=1)
    warmup_steps: int = option(
        3_125, "updates in which the learning rate rises; it falls to 0 afterwards", minimum=0
    )
    learning_rate: float = option(0.00176, "highest learning rate", minimum=0, maximum=1e6)
    corpus: list[str] = option(
        [],
        "texts to train on: text files, JSON lines (.jsonl) and Parquet files, the first two also "
        "compressed (.gz, .zst); directories of them; Hub data sets (org/name[:config][@revision])",
    )
    dev: list[str] = option(
        [], "texts to evaluate on, named like corpus; they are left out of the corpus"
    )
    cache: str = option(
        "",
        "directory in which the tokenized corpus is kept, so that several runs can share it; "
        "empty: in the directory of the run",
    )
    document_separator: str = option(
        "blank_line",
        "what ends a document in a text file: 'blank_line', an empty line; 'file', only the end "
        "of the file",
        choices=DOCUMENT_SEPARATORS,
    )
    sentence_splitting: str = option(
        "lines",
        "'lines': every line is a sentence; 'sentences': the lines of a paragraph are joined and "
        "cut where English sentences end",
        choices=SENTENCE_SPLITTINGS,
    )
    encoding: str = option("utf-8", "encoding of the text files")
    column: str = option("text", "column of JSON lines and data sets that contains the text")
    short_seq_prob: float = option(
        0.1,
        "share of the rows that get a random, shorter length, so that the model also learns from "
        "short texts",
        minimum=0,
        maximum=1,
    )
    masked_lm_prob: float = option(
        0.15, "share of the tokens that the model must predict", minimum=0, maximum=1
    )
    max_ngram_size: int = option(
        3,
        "largest number of adjacent words that are masked together; n words are masked with a "
        "probability proportional to 1/n",
        minimum=1,
    )
    random_next_sentence: bool = option(
        False,
        "give a sentence that is alone in its document a second segment from another document, "
        "as Google's code does; otherwise it is left out",
    )
    sinusoidal_position_init: bool = option(
        False,
        "initialise position embeddings with sinusoids, which helps short runs: the model attends "
        "to neighbours sooner",
    )
    optimizer: str = option("lamb", f"one of {', '.join(OPTIMIZERS)}", choices=OPTIMIZERS)
    lr_decay_power: float = option(
        1.0,
        "after warmup the learning rate is proportional to the remaining share of the updates, "
        "raised to this power",
        minimum=0,
        maximum=10,
    )
    num_workers: int = option(
        0,
        "processes that build examples; 0: the training process does it, which is usually fast "
        "enough",
        minimum=0,
    )
    max_dev_examples: int = option(1000, "largest number of rows to evaluate on", minimum=1)

    # A resumed run may change these. The corpus and the tokenizer are compared by their contents,
    # so their files may have moved.
    FREE_ON_RESUME: ClassVar[frozenset[str]] = TrainingConfig.FREE_ON_RESUME | {
        "num_workers",
        "cache",
        "corpus",
        "dev",
        "max_dev_examples",
        "tokenizer",
        "eval_steps",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < MIN_LENGTH:
            raise ValueError(
                f"max_length={self.max_length} must be at least {MIN_LENGTH}, so that two segments "
                "fit into a row"
            )
        for name in ("masked_lm_prob", "adam_eps"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name}=0.0 must be above 0")
        if max(self.adam_beta1, self.adam_beta2) == 1:
            raise ValueError("adam_beta1 and adam_beta2 must be below 1")

    @property
    def corpus_format(self) -> CorpusFormat:
        """How the text of `corpus` and `dev` is stored."""
        return CorpusFormat(
            document_separator=self.document_separator,
            sentence_splitting=self.sentence_splitting,
            encoding=self.encoding,
            column=self.column,
        )

    def example_options(self, max_length: int) -> ExampleOptions:
        """How examples are made.

        Args:
            max_length: The largest number of tokens that the tokenizer allows; `self.max_length`
                applies if it is smaller.
        """
        return ExampleOptions(
            max_length=min(self.max_length, max_length),
            short_seq_prob=self.short_seq_prob,
            masked_lm_prob=self.masked_lm_prob,
            max_ngram_size=self.max_ngram_size,
            random_next_sentence=self.random_next_sentence,
        )
