"""What models return: named fields that can also be read by string key and by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


class ModelOutput(dict[str, Any]):
    """The base class of all outputs.

    A field can be read as `output.logits`, as `output["logits"]` and by position, `output[0]`. A
    field that is None has no key and no position; its attribute is None. Outputs are dictionaries
    and registered pytrees, so Trainer, accelerate, distributed training and `torch.export` accept
    them. A subclass is a dataclass, and all of its fields are None by default.
    """

    def __init_subclass__(cls) -> None:
        """Register the class with pytree."""

        def unflatten(values: Any, names: Any) -> ModelOutput:
            return cls(**dict(zip(names, values, strict=True)))

        pytree.register_pytree_node(
            cls,
            _flatten,
            unflatten,
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
            flatten_with_keys_fn=_flatten_with_keys,
        )

    def __post_init__(self) -> None:
        names = self._field_names()
        first_value = getattr(self, names[0])
        if isinstance(first_value, (dict, Iterator)):
            # accelerate and nn.DataParallel rebuild an output from one mapping or from pairs.
            setattr(self, names[0], None)
            for name, value in dict(first_value).items():
                self[name] = value
        for name in names:
            setattr(self, name, getattr(self, name))  # enters the keys in the order of the fields

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if value is not None:
            super().__setitem__(name, value)
        else:
            super().pop(name, None)

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"a field of {type(self).__name__} cannot be deleted; set it to None")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self._field_names())

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None, in the order of the class."""
        return tuple(dict.__getitem__(self, name) for name in self._field_names() if name in self)

    def _field_names(self) -> list[str]:
        return [field.name for field in fields(self)]  # type: ignore[arg-type]  # a dataclass


def _flatten(output: ModelOutput) -> tuple[list[Any], list[str]]:
    return list(output.values()), list(output)


def _flatten_with_keys(
    output: ModelOutput,
) -> tuple[list[tuple[pytree.KeyEntry, Any]], list[str]]:
    entries: list[tuple[pytree.KeyEntry, Any]] = [
        (pytree.MappingKey(name), value) for name, value in output.items()
    ]
    return entries, list(output)


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """The output of `AlbertModel`.

    Attributes:
        last_hidden_state: (B, T, H).
        pooler_output: (B, H), or None if there is no pooler.
        hidden_states: If asked for, L + 1 tensors (B, T, H): the projected embeddings, then the
            result of each run of a group.
        attentions: If asked for, the probabilities (B, N, T, T) of each run of a layer.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class AlbertForPreTrainingOutput(ModelOutput):
    """The output of `AlbertForPreTraining`.

    Attributes:
        loss: The sum of both losses, a scalar, if both kinds of labels were given.
        prediction_logits: Scores of each token of the vocabulary, (B, T, V).
        sop_logits: Scores of "in order" and "swapped", (B, 2).
        hidden_states: As in `BaseModelOutputWithPooling`.
        attentions: As in `BaseModelOutputWithPooling`.
    """

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    sop_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class HeadOutput(ModelOutput):
    """The output of a head with one kind of logits.

    Attributes:
        loss: A scalar, if labels were given.
        logits: Their shape depends on the head.
        hidden_states: As in `BaseModelOutputWithPooling`.
        attentions: As in `BaseModelOutputWithPooling`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class MaskedLMOutput(HeadOutput):
    """The output of `AlbertForMaskedLM`; `logits` has shape (B, T, V)."""


@dataclass
class SequenceClassifierOutput(HeadOutput):
    """The output of `AlbertForSequenceClassification`; `logits` has shape (B, num_labels)."""


@dataclass
class TokenClassifierOutput(HeadOutput):
    """The output of `AlbertForTokenClassification`; `logits` has shape (B, T, num_labels)."""


@dataclass
class MultipleChoiceModelOutput(HeadOutput):
    """The output of `AlbertForMultipleChoice`; `logits` has shape (B, C) for C choices."""


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """The output of `AlbertForQuestionAnswering`.

    Attributes:
        loss: A scalar, if positions were given.
        start_logits: Scores of each token as the first one of the answer, (B, T).
        end_logits: Scores of each token as the last one of the answer, (B, T).
        hidden_states: As in `BaseModelOutputWithPooling`.
        attentions: As in `BaseModelOutputWithPooling`.
    """

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class AnswerableQuestionsModelOutput(ModelOutput):
    """The output of `AlbertForAnswerableQuestions`.

    Attributes:
        loss: A scalar, if all labels were given.
        start_logits: As in `QuestionAnsweringModelOutput`.
        end_logits: As in `QuestionAnsweringModelOutput`.
        impossible_logits: Log-odds that there is no answer, (B,); above 0 means "no answer".
        hidden_states: As in `BaseModelOutputWithPooling`.
        attentions: As in `BaseModelOutputWithPooling`.
    """

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    impossible_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
