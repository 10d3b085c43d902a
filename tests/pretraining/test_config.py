"""The recipe of a pretraining run: its limits, and what is made from its keys."""

from typing import Any

import pytest

from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.corpus import CorpusFormat
from albert_torch.pretraining.examples import ExampleOptions


def test_defaults_are_those_of_the_paper() -> None:
    """Catches: a default that differs between the recipe and the functions that use it."""
    config = PretrainingConfig()
    assert (config.batch_size, config.steps, config.warmup_steps) == (4096, 125_000, 3_125)
    assert (config.learning_rate, config.optimizer) == (0.00176, "lamb")
    assert config.corpus_format == CorpusFormat()
    assert config.example_options(512) == ExampleOptions()


def test_keys_reach_the_corpus_and_the_examples() -> None:
    """Catches: a key that does nothing."""
    config = PretrainingConfig.from_dict(
        {
            "document_separator": "file",
            "sentence_splitting": "sentences",
            "encoding": "latin-1",
            "column": "body",
            "max_length": 24,
            "short_seq_prob": 1.0,
            "masked_lm_prob": 0.5,
            "max_ngram_size": 1,
            "random_next_sentence": True,
        }
    )
    assert config.corpus_format == CorpusFormat("file", "sentences", "latin-1", "body")
    assert config.example_options(512) == ExampleOptions(24, 1.0, 0.5, 1, True)
    assert config.example_options(16).max_length == 16


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_length": 7}, "max_length=7 must be at least 8"),
        ({"masked_lm_prob": 0.0}, r"masked_lm_prob=0\.0 must be above 0"),
        ({"adam_eps": 0.0}, r"adam_eps=0\.0 must be above 0"),
        ({"adam_beta2": 1.0}, "adam_beta1 and adam_beta2 must be below 1"),
        ({"document_separator": "blank"}, "document_separator='blank'.*blank_line"),
        ({"sentence_splitting": "words"}, "sentence_splitting='words'.*lines"),
        ({"documents": "file"}, "unknown key 'documents'"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], message: str) -> None:
    """Catches: a value that shows only as a division by zero, or as another corpus."""
    with pytest.raises(ValueError, match=message):
        PretrainingConfig.from_dict(values)
