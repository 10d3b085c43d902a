"""Our models behind the Auto classes and pipelines of transformers.

Most clients of transformers accept the plain models of this package. A few insist on a
`transformers.PreTrainedModel`. For them, `register_with_transformers` derives a class from each of
ours that has our modules and our forward pass, but loads, saves, ties and initialises weights in
the way of transformers.
"""

from __future__ import annotations

from functools import wraps
from inspect import getattr_static
from typing import Any

from albert_torch.config import AlbertConfig
from albert_torch.heads import HEADS
from albert_torch.initialization import init_parameter
from albert_torch.integrations import import_or_explain
from albert_torch.pretrained import AlbertPreTrainedModel

# Methods that are taken from transformers. Everything else is ours.
_METHODS_OF_TRANSFORMERS = (
    "from_pretrained",
    "save_pretrained",
    "push_to_hub",
    "post_init",
    "init_weights",
    "resize_token_embeddings",
)


def register_with_transformers() -> None:
    """Make `AutoModel`, `AutoModelFor...` and `pipeline` build our models for every ALBERT.

    A head that is defined outside the package is registered too if it names an `auto_class`.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If a head names an Auto class that transformers does not have.
    """
    transformers: Any = import_or_explain("transformers")
    for auto_class_name, model_class in auto_classes().items():
        auto_class = getattr(transformers, auto_class_name, None)
        if auto_class is None:
            raise ValueError(
                f"{model_class.__name__}.auto_class is {auto_class_name!r}, but this version of "
                "transformers has no such class: correct it, or set it to None"
            )
        auto_class.register(
            transformers.AlbertConfig, as_transformers_class(model_class), exist_ok=True
        )


def auto_classes() -> dict[str, type[AlbertPreTrainedModel]]:
    """Return the name of each Auto class and the model class that it builds.

    If several classes name the same Auto class, it builds the one that was defined last.
    """
    return {head.auto_class: head for head in HEADS.values() if head.auto_class is not None}


_derived_classes: dict[type[AlbertPreTrainedModel], Any] = {}


def as_transformers_class(model_class: type[AlbertPreTrainedModel]) -> Any:
    """Return a class derived from one of ours that is a `transformers.PreTrainedModel`.

    Its constructor takes a `transformers.AlbertConfig`, and then the arguments of our class. The
    result is always the same class for the same argument.
    """
    if model_class not in _derived_classes:
        _derived_classes[model_class] = _derive(model_class)
    return _derived_classes[model_class]


def _derive(model_class: type[AlbertPreTrainedModel]) -> Any:
    transformers: Any = import_or_explain("transformers")

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        transformers.PreTrainedModel.__init__(self, config)
        kwargs.setdefault("attn_implementation", config._attn_implementation)
        # transformers ties the weights itself, in its own post_init.
        untied = AlbertConfig.from_dict(config.to_dict(), tie_word_embeddings=False)
        plain = model_class(untied, *args, **kwargs)
        for module in plain.modules():
            if hasattr(module, "config"):
                module.config = config  # one object for all modules, because clients change it
        self._modules.update(plain._modules)
        for name, value in vars(plain).items():
            vars(self).setdefault(name, value)
        self.post_init()

    def tie_weights(self: Any, *args: Any, **kwargs: Any) -> None:
        # Looked up at each call, because transformers replaces it while it loads.
        transformers.PreTrainedModel.tie_weights(self, *args, **kwargs)

    def _init_weights(self: Any, module: Any) -> None:
        for name, _ in module.named_parameters(recurse=False):
            init_parameter(module, name, self.config.initializer_range)

    @wraps(model_class.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = model_class.forward(self, *args, **kwargs)
        modeling = transformers.models.albert.modeling_albert
        output_class = getattr(modeling, type(output).__name__, None)
        return output if output_class is None else output_class(**output)

    methods = {
        name: getattr_static(transformers.PreTrainedModel, name)
        for name in _METHODS_OF_TRANSFORMERS
    }
    body = {
        **methods,
        "__init__": __init__,
        "forward": forward,
        "tie_weights": tie_weights,
        "_init_weights": _init_weights,
        "__module__": __name__,
        "__doc__": model_class.__doc__,
        "config_class": transformers.AlbertConfig,
        "_supports_sdpa": True,
    }
    return type(model_class.__name__, (model_class, transformers.PreTrainedModel), body)


def __getattr__(name: str) -> Any:
    """Return the derived class of that name; pickle looks for it here."""
    for model_class in HEADS.values():
        if model_class.__name__ == name:
            return as_transformers_class(model_class)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
