"""ALBERT (A Lite BERT, Lan et al. 2020) in PyTorch: the Hub's weights, transformers' numbers.

Public names are imported on first use (PEP 562), so that `import albert_torch` and the command's
`--help` do not wait for torch. A new public name is added to the three lists below; a test compares
them.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from albert_torch.checkpoints.reader import CheckpointError
    from albert_torch.config import AlbertConfig
    from albert_torch.heads import (
        AlbertForAnswerableQuestions,
        AlbertForMaskedLM,
        AlbertForMultipleChoice,
        AlbertForPreTraining,
        AlbertForQuestionAnswering,
        AlbertForSequenceClassification,
        AlbertForTokenClassification,
        AlbertHeadModel,
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
    "AlbertForAnswerableQuestions",
    "AlbertForMaskedLM",
    "AlbertForMultipleChoice",
    "AlbertForPreTraining",
    "AlbertForQuestionAnswering",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertHeadModel",
    "AlbertModel",
    "AlbertPreTrainedModel",
    "AlbertTokenizer",
    "CheckpointError",
    "Encoder",
    "__version__",
    "register_with_peft",
    "register_with_transformers",
]

_MODULE_OF = {
    "AlbertConfig": "config",
    "AlbertForAnswerableQuestions": "heads",
    "AlbertForMaskedLM": "heads",
    "AlbertForMultipleChoice": "heads",
    "AlbertForPreTraining": "heads",
    "AlbertForQuestionAnswering": "heads",
    "AlbertForSequenceClassification": "heads",
    "AlbertForTokenClassification": "heads",
    "AlbertHeadModel": "heads",
    "AlbertModel": "model",
    "AlbertPreTrainedModel": "pretrained",
    "AlbertTokenizer": "tokenization.tokenizer",
    "CheckpointError": "checkpoints.reader",
    "Encoder": "inference",
    "register_with_peft": "integrations.peft",
    "register_with_transformers": "integrations.transformers",
}


def __getattr__(name: str) -> Any:
    """Import a public name, or a submodule such as `albert_torch.inference`, on first use."""
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names that completion in a shell offers."""
    return sorted({*globals(), *__all__})
