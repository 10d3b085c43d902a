"""The fine-tuning tasks. Importing this package registers the tasks that it contains."""

from albert_torch.finetuning.tasks import (
    classification,
    masked_lm,
    multiple_choice,
    question_answering,
    token_classification,
)
