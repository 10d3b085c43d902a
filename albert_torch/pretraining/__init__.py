"""Pretraining: from raw text to an ALBERT, by masked n-grams and sentence order."""

from albert_torch.pretraining.lamb import Lamb
from albert_torch.pretraining.recipe import PretrainingRecipe
from albert_torch.pretraining.runs import pretrain
from albert_torch.pretraining.vocabulary_training import train_tokenizer

__all__ = ["Lamb", "PretrainingRecipe", "pretrain", "train_tokenizer"]
