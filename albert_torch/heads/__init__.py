"""Every `AlbertFor*` class, and `HEADS`, the only table of model classes.

A head is one class: it states its output class and the modules that it adds to the encoder, and it
implements `compute_logits` and `compute_loss` (see `AlbertHeadModel`). Its `forward`, loading,
conversion, the fast path, the parity check, export and registration with transformers are derived
from that. A class that is defined outside the package is a full member:

    class AlbertForScoring(AlbertHeadModel):
        output_class = SequenceClassifierOutput
        head_modules = ("scorer",)
        uses_pooler = True
        reads_pooler_only = True

        def __init__(self, config, *, attn_implementation="sdpa", unpad=False):
            super().__init__(config, attn_implementation=attn_implementation, unpad=unpad)
            self.scorer = nn.Linear(config.hidden_size, 1)
            self.post_init()

        def compute_logits(self, hidden, pooled):
            return {"logits": self.scorer(pooled)}

        def compute_loss(self, logits, labels):
            return F.mse_loss(logits["logits"].squeeze(-1), labels["labels"])
"""

from albert_torch.heads.base import (
    AlbertHeadModel,
    EncoderInputs,
    OutputOptions,
    flatten_choices,
)
from albert_torch.heads.classification import (
    AlbertForMultipleChoice,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
)
from albert_torch.heads.language_modeling import (
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertMLMHead,
    AlbertSOPHead,
)
from albert_torch.heads.question_answering import (
    AlbertForAnswerableQuestions,
    AlbertForQuestionAnswering,
)
from albert_torch.pretrained import HEADS

__all__ = [
    "HEADS",
    "AlbertForAnswerableQuestions",
    "AlbertForMaskedLM",
    "AlbertForMultipleChoice",
    "AlbertForPreTraining",
    "AlbertForQuestionAnswering",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertHeadModel",
    "AlbertMLMHead",
    "AlbertSOPHead",
    "EncoderInputs",
    "OutputOptions",
    "flatten_choices",
]
