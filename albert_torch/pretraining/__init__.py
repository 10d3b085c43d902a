"""Pretraining: from raw text to an ALBERT, by masked n-grams and sentence order."""

from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.corpus import CorpusFormat
from albert_torch.pretraining.pretrain import pretrain
from albert_torch.pretraining.vocab import VocabularyOptions, train_tokenizer
from albert_torch.training.lamb import Lamb

__all__ = [
    "CorpusFormat",
    "Lamb",
    "PretrainingConfig",
    "VocabularyOptions",
    "pretrain",
    "train_tokenizer",
]
