"""Our models inside transformers: what its Auto classes and pipelines make of an ALBERT, after one call.

The classes made here have our modules and our forward pass, and transformers' way to load, save, tie and initialise.
They are for clients that accept nothing but a `transformers.PreTrainedModel`; all others take the plain models.
"""

from __future__ import annotations

from functools import cache, wraps
from importlib import import_module
from inspect import getattr_static
from typing import Any

from albert_torch import heads
from albert_torch.config import AlbertConfig
from albert_torch.pretrained import AlbertPreTrainedModel, draw

AUTO_CLASSES = {
    "AutoModel": "AlbertModel",
    "AutoModelForPreTraining": "AlbertForPreTraining",
    "AutoModelForMaskedLM": "AlbertForMaskedLM",
    "AutoModelForSequenceClassification": "AlbertForSequenceClassification",
    "AutoModelForTokenClassification": "AlbertForTokenClassification",
    "AutoModelForQuestionAnswering": "AlbertForQuestionAnswering",
    "AutoModelForMultipleChoice": "AlbertForMultipleChoice",
}
# What transformers does its own way; the rest of AlbertPreTrainedModel stays ours.
THEIRS = (
    "from_pretrained",
    "save_pretrained",
    "push_to_hub",
    "post_init",
    "init_weights",
    "resize_token_embeddings",
)


def register_with_transformers() -> None:
    """Make `AutoModel`, `AutoModelFor*` and `pipeline` build albert_torch's models for every ALBERT from now on.

    Raises `ImportError` when transformers is not installed.
    """
    transformers = _optional("transformers")
    for auto_class, name in AUTO_CLASSES.items():
        getattr(transformers, auto_class).register(
            transformers.AlbertConfig, inside_transformers(name), exist_ok=True
        )


@cache
def inside_transformers(name: str) -> Any:
    """Our class of that name as a `transformers.PreTrainedModel`, which takes a `transformers.AlbertConfig`."""
    transformers = _optional("transformers")
    ours: type[AlbertPreTrainedModel] = getattr(heads, name)

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        transformers.PreTrainedModel.__init__(self, config)
        kwargs.setdefault("attn_implementation", config._attn_implementation)
        untied = AlbertConfig.from_dict(
            config.to_dict(), tie_word_embeddings=False
        )  # transformers ties, in post_init
        plain = ours(untied, *args, **kwargs)
        for module in plain.modules():
            if hasattr(module, "config"):
                module.config = config  # one config for all: clients write to it
        self._modules.update(plain._modules)
        vars(self).update(
            {key: value for key, value in vars(plain).items() if key not in vars(self)}
        )
        self.post_init()

    def tie_weights(
        self: Any, *args: Any, **kwargs: Any
    ) -> None:  # found anew at each call: loading replaces it
        transformers.PreTrainedModel.tie_weights(self, *args, **kwargs)

    def _init_weights(self: Any, module: Any) -> None:
        for leaf, _ in module.named_parameters(recurse=False):
            draw(module, leaf, self.config.initializer_range)

    @wraps(ours.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = ours.forward(self, *args, **kwargs)
        kind = getattr(transformers.models.albert.modeling_albert, type(output).__name__, None)
        return output if kind is None else kind(**output)

    body = {
        **{method: getattr_static(transformers.PreTrainedModel, method) for method in THEIRS},
        "__init__": __init__,
        "forward": forward,
        "tie_weights": tie_weights,
        "_init_weights": _init_weights,
        "__module__": __name__,
        "__doc__": ours.__doc__,
        "config_class": transformers.AlbertConfig,
        "_supports_sdpa": True,
    }
    return type(name, (ours, transformers.PreTrainedModel), body)


def __getattr__(name: str) -> Any:
    """The classes by name, where pickle looks for them."""
    if name in AUTO_CLASSES.values():
        return inside_transformers(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _optional(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"{package} is not installed: pip install {package}") from error
