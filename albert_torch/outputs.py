"""What the models return: named fields that are also reached by string key and by position, None skipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


class ModelOutput(dict[str, Any]):
    """The fields that are not None, in order: `out.logits`, `out["logits"]`, `out[0]`, `out[:2]`, `out.to_tuple()`.

    A `dict` and a registered pytree, so that Trainer, accelerate, DDP and `torch.export` take it. A field that is None
    is an attribute only. Subclasses are dataclasses whose fields all default to None.
    """

    def __init_subclass__(cls) -> None:
        pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output)),
            lambda values, names: cls(**dict(zip(names, values, strict=True))),
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
            flatten_with_keys_fn=lambda output: (
                [(pytree.MappingKey(name), value) for name, value in output.items()],
                list(output),
            ),
        )

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]  # every subclass is a dataclass
        first = getattr(self, names[0])
        if isinstance(
            first, (dict, Iterator)
        ):  # how accelerate and nn.DataParallel put an output together again
            setattr(self, names[0], None)
            for name, value in dict(first).items():
                self[name] = value
        for name in names:
            setattr(self, name, getattr(self, name))  # in the order of the class

    def __getitem__(self, key: Any) -> Any:
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
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not None, in the order of the class."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return tuple(dict.__getitem__(self, name) for name in names if name in self)


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """`last_hidden_state` (B, T, H); `pooler_output` (B, H); `hidden_states` L + 1 of (B, T, H);
    `attentions` one (B, N, T, T) for each run of a layer.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class AlbertForPreTrainingOutput(ModelOutput):
    """`loss` (), MLM + SOP; `prediction_logits` (B, T, V); `sop_logits` (B, 2)."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    sop_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class HeadOutput(ModelOutput):
    """`loss` () and `logits`, whose shape the head gives."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class MaskedLMOutput(HeadOutput):
    """`logits` (B, T, V)."""


@dataclass
class SequenceClassifierOutput(HeadOutput):
    """`logits` (B, num_labels)."""


@dataclass
class TokenClassifierOutput(HeadOutput):
    """`logits` (B, T, num_labels)."""


@dataclass
class MultipleChoiceModelOutput(HeadOutput):
    """`logits` (B, choices)."""


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """`loss` (); `start_logits` and `end_logits` (B, T)."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class AnswerableQuestionsModelOutput(ModelOutput):
    """`loss` (); `start_logits` and `end_logits` (B, T); `impossible_logits` (B,): above 0 means "no answer"."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    impossible_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
