"""Pretraining: from raw text to an ALBERT, by masked n-grams and sentence order."""

from albert_torch.pretraining.config import PretrainingConfig
from albert_torch.pretraining.pretrain import pretrain
from albert_torch.pretraining.vocab import train_tokenizer
from albert_torch.training.lamb import Lamb

__all__ = ["Lamb", "PretrainingConfig", "pretrain", "train_tokenizer"]
