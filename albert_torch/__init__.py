"""ALBERT (A Lite BERT, Lan et al. 2020) in PyTorch, with the Hub's weights and transformers' numbers."""

from albert_torch.checkpoints.reader import CheckpointError
from albert_torch.config import AlbertConfig
from albert_torch.heads import (
    AlbertForMaskedLM,
    AlbertForMultipleChoice,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
)
from albert_torch.inference import Encoder
from albert_torch.integrations.peft import register_with_peft
from albert_torch.integrations.transformers import register_with_transformers
from albert_torch.model import AlbertModel
from albert_torch.pretrained import AlbertPreTrainedModel
from albert_torch.tokenization.tokenizer import AlbertTokenizer

__version__ = "0.1.0"

__all__ = [
    "AlbertConfig",
    "AlbertForMaskedLM",
    "AlbertForMultipleChoice",
    "AlbertForPreTraining",
    "AlbertForQuestionAnswering",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertModel",
    "AlbertPreTrainedModel",
    "AlbertTokenizer",
    "CheckpointError",
    "Encoder",
    "__version__",
    "register_with_peft",
    "register_with_transformers",
]
