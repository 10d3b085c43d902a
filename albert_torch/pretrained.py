"""`AlbertPreTrainedModel`: what every model here can do besides its forward pass: load, save, initialise, resize."""

from __future__ import annotations

import difflib
import inspect
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from albert_torch.attention import BACKENDS
from albert_torch.checkpoints.matching import ExpectedWeights, match_checkpoint
from albert_torch.checkpoints.reader import CheckpointError, dtype_named, read_state_dict
from albert_torch.checkpoints.writer import config_text, save_state_dict
from albert_torch.config import AlbertConfig
from albert_torch.hub import Source
from albert_torch.outputs import ModelOutput

Model = TypeVar("Model", bound="AlbertPreTrainedModel")

HEADS: dict[str, type[AlbertPreTrainedModel]] = {}
"""Every model class by its short name ("Model", "MaskedLM", ...), in the order of definition.

Import it from `albert_torch.heads`, which defines the classes that fill it.
"""


class AlbertPreTrainedModel(nn.Module):
    """The base of all models. A subclass builds its modules under the checkpoint's names, then calls `post_init()`."""

    config_class = AlbertConfig
    base_model_prefix = "albert"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _tied_weights_keys: ClassVar[
        dict[str, str]
    ] = {}  # copy -> original; in force when config.tie_word_embeddings

    # The head contract; `heads.AlbertHeadModel` describes each attribute.
    output_class: ClassVar[type[ModelOutput]]
    head_modules: ClassVar[tuple[str, ...]] = ()
    uses_pooler: ClassVar[bool] = False
    reads_pooler_only: ClassVar[bool] = False
    pooled_logits: ClassVar[tuple[str, ...]] = ()
    has_choices: ClassVar[bool] = False
    auto_class: ClassVar[str | None] = None
    label_names: ClassVar[tuple[str, ...]] = ("labels",)

    def __init_subclass__(cls, **options: Any) -> None:
        """Enter a class that states `head_modules` in its own body into `HEADS`."""
        super().__init_subclass__(**options)
        if "head_modules" in vars(cls):
            _register_head(cls)

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        if not isinstance(config, AlbertConfig):
            name, given = type(self).__name__, type(config).__name__
            raise TypeError(
                f"{name} takes an AlbertConfig, not a {given}; or load one: {name}.from_pretrained(...)"
            )
        self.config = config
        self.name_or_path = ""

    def post_init(self) -> None:
        """Draw the weights that no inner model has drawn yet (none on the meta device), and tie them."""
        inner = [child for child in self.children() if isinstance(child, AlbertPreTrainedModel)]
        drawn = {id(parameter) for child in inner for parameter in child.parameters()}
        self._init_parameters(
            name for name, p in self.named_parameters() if id(p) not in drawn and not p.is_meta
        )
        self.tie_weights()

    def init_weights(self) -> None:
        """Draw all weights anew: normal, cut at two deviations, as Google's code does; biases 0, LayerNorm 1 and 0."""
        self._init_parameters(name for name, _ in self.named_parameters())
        self.tie_weights()

    def _init_parameters(self, names: Iterable[str]) -> None:
        for name in names:
            module, _, leaf = name.rpartition(".")
            init_parameter(self.get_submodule(module), leaf, self.config.initializer_range)

    def tie_weights(self) -> None:
        """Make the tied copies and their originals one parameter, if the config says so."""
        if self.config.tie_word_embeddings:
            for name, original in self._tied_weights_keys.items():
                module, _, leaf = name.rpartition(".")
                setattr(self.get_submodule(module), leaf, self.get_parameter(original))

    @classmethod
    def from_pretrained(
        cls: type[Model],
        name_or_dir: str | os.PathLike[str],
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        config: AlbertConfig | None = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | int | None = None,
        attn_implementation: str = "sdpa",
        unpad: bool = False,
        strict: bool = True,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        **overrides: Any,
    ) -> Model:
        """The model in evaluation mode, its weights mapped straight from the files of a directory or Hub repository.

        `dtype` None or "auto" keeps the files' own (the widest, if they mix). `overrides` replace keys of the config or
        are arguments of the class (`add_pooling_layer`). `strict=False` leaves out unknown weights with a warning;
        `ignore_mismatched_sizes` draws those of another shape anew; `output_loading_info` gives (model, `Fit.info()`).

        Raises `FileNotFoundError` for what is not there, `CheckpointError` for weights that cannot be read or do not
        fit, `ValueError` for a bad config, `TypeError` for an unknown argument.
        """
        source = Source(
            name_or_dir, revision, subfolder, cache_dir, token, local_files_only, force_download
        )
        target = dtype_named(overrides.pop("torch_dtype", None) if dtype is None else dtype)
        own = inspect.signature(cls).parameters.keys() - {"config"}
        arguments = {name: overrides.pop(name) for name in own & overrides.keys()}
        known = {field.name for field in fields(AlbertConfig)} | {"num_labels"} | own
        for name in overrides.keys() - known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "no argument of from_pretrained, no key of AlbertConfig"
            )
            raise TypeError(f"{cls.__name__}.from_pretrained() got {name!r}: {hint}")
        if config is None:
            config = cls.config_class.from_pretrained(**asdict(source), **overrides)
        else:
            config = cls.config_class.from_dict(config.to_dict(), **overrides)
        raw, path = read_state_dict(source)
        model = cls._on_meta(config, len(raw), path, **arguments)
        model.set_attn_implementation(attn_implementation)
        model.base_model.unpad = unpad
        tied = model._tied_weights_keys if config.tie_word_embeddings else {}
        expected = ExpectedWeights(cls.__name__, model.state_dict(), tied, _head_modules())
        match = match_checkpoint(
            raw,
            str(path),
            expected,
            strict=strict,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        target = target or reduce(
            torch.promote_types, {t.dtype for t in match.tensors.values()} or {torch.float32}
        )
        tensors = {
            name: t.to(device=device, dtype=target).contiguous()
            for name, t in match.tensors.items()
        }
        tensors |= {
            name: torch.empty(model.get_parameter(name).shape, device=device, dtype=target)
            for name in match.uninitialised
        }
        model.load_state_dict(tensors, strict=False, assign=True)
        model._init_parameters(match.uninitialised)
        model.tie_weights()
        model.name_or_path = os.fspath(name_or_dir)
        assert not any(tensor.is_meta for tensor in model.state_dict().values())
        model.eval()
        return (model, match.loading_info()) if output_loading_info else model  # type: ignore[return-value]

    @classmethod
    def _on_meta(
        cls: type[Model], config: AlbertConfig, tensors: int, path: Path, **arguments: Any
    ) -> Model:
        if (
            config.num_hidden_groups * config.inner_group_num > tensors
        ):  # before building a billion modules
            raise CheckpointError(
                f"the config asks for {config.num_hidden_groups} groups of {config.inner_group_num} layers, but {path} "
                f"holds {tensors} tensors in all; correct num_hidden_groups or inner_group_num"
            )
        try:
            with torch.device("meta"), _Undrawn():
                return cls(config, **arguments)
        except (OverflowError, RuntimeError, TypeError) as error:  # sizes beyond 64 bits
            raise ValueError(f"{cls.__name__} cannot be built from this config: {error}") from error

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        *,
        max_shard_size: int | str = "5GB",
        state_dict: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write `config.json` and the weights as safetensors, atomically, for this library and for transformers.

        `state_dict` stands in for the model's own, as sharded training needs. Raises `OSError` when the disk is full.
        """
        state = self.state_dict() if state_dict is None else state_dict
        save_state_dict(
            state, directory, max_shard_size, config_text(self.config, state, type(self).__name__)
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str = "5GB",
    ) -> Any:
        """Upload what `save_pretrained` writes, as one commit to a repository made if need be; the commit's info."""
        from huggingface_hub import HfApi  # 50 ms of every import for the few who push

        api = HfApi(token=token)
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            message = commit_message or f"Upload {type(self).__name__}"
            return api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=message,
                revision=revision,
                create_pr=create_pr,
            )

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings, (V, E)."""
        return self.base_model.embeddings.word_embeddings  # type: ignore[no-any-return]

    def set_input_embeddings(self, embeddings: nn.Embedding) -> None:
        """Put other word embeddings in place, and tie them again."""
        self.base_model.embeddings.word_embeddings = embeddings
        self.tie_weights()

    def get_output_embeddings(self) -> nn.Linear | None:
        """The MLM decoder, E -> V; None for a class without one."""
        return getattr(getattr(self, "predictions", None), "decoder", None)

    def set_output_embeddings(self, decoder: nn.Linear) -> None:
        """Put another MLM decoder in place. With tied embeddings the next `tie_weights()` replaces its weights."""
        if not hasattr(self, "predictions"):
            raise ValueError(
                f"{type(self).__name__} has no output embeddings; the MLM and pretraining models have"
            )
        self.get_submodule("predictions").decoder = decoder

    @torch.no_grad()
    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None
    ) -> nn.Embedding:
        """Give the vocabulary another size, in the MLM head and the config too: rows are cut, or drawn as at first.

        None keeps the size (and pads it up to `pad_to_multiple_of`). Raises `ValueError` for a size below 1.
        """
        old = self.get_input_embeddings()
        size = old.num_embeddings if new_num_tokens is None else new_num_tokens
        for name, value in (
            ("new_num_tokens", size),
            ("pad_to_multiple_of", pad_to_multiple_of or 1),
        ):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number above 0")
        size += -size % (pad_to_multiple_of or 1)
        if size == old.num_embeddings:
            return old
        if old.padding_idx is not None and old.padding_idx >= size:
            raise ValueError(
                f"new_num_tokens={size} cuts off the padding token {old.padding_idx}; keep it or move it"
            )
        places: list[tuple[nn.Module, str]] = [(old, "weight")]
        if (decoder := self.get_output_embeddings()) is not None:
            places += [
                (decoder, "weight"),
                (decoder, "bias"),
                (self.get_submodule("predictions"), "bias"),
            ]
            decoder.out_features = size
        for module, name in places:
            parameter = module.get_parameter(name)
            data = nn.Parameter(
                parameter.new_empty(size, *parameter.shape[1:]), parameter.requires_grad
            )
            setattr(module, name, data)
            init_parameter(module, name, self.config.initializer_range)
            data[: len(parameter)] = parameter[:size]
        old.num_embeddings = self.config.vocab_size = self.base_model.config.vocab_size = size
        self.tie_weights()
        return old

    @property
    def base_model(self) -> Any:
        """The `AlbertModel` inside, or this model itself."""
        return getattr(self, self.base_model_prefix, self)

    @property
    def device(self) -> torch.device:
        """Where the first parameter is."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating parameter."""
        return next(
            parameter.dtype for parameter in self.parameters() if parameter.is_floating_point()
        )

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the model holds; tied ones count once, `exclude_embeddings` leaves out all three tables."""
        left_out = {
            id(m.weight)
            for m in self.modules()
            if exclude_embeddings and isinstance(m, nn.Embedding)
        }
        counted = (p for p in self.parameters() if p.requires_grad or not only_trainable)
        return sum(p.numel() for p in counted if id(p) not in left_out)

    @property
    def attn_implementation(self) -> str:
        """The name of the attention backend."""
        return str(self.base_model._attn_implementation)

    def set_attn_implementation(self, name: str) -> None:
        """Choose the attention backend.  Raises `ValueError` for a name that is none."""
        if name not in BACKENDS:
            raise ValueError(
                f"attn_implementation={name!r} is not known; use one of {', '.join(BACKENDS)}"
            )
        self.base_model._attn_implementation = name

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Any = None, **options: Any
    ) -> None:
        """Compute activations again in the backward pass.  Raises `ValueError` for options that we lack."""
        only = {"use_reentrant": False, "every_n_layers": 1, "offload": False}
        for name, value in {**(gradient_checkpointing_kwargs or {}), **options}.items():
            if name not in only or value != only[name]:
                raise ValueError(
                    f"{name}={value!r}: each layer is checkpointed, non-reentrant here; leave {name} out"
                )
        self.base_model.encoder.gradient_checkpointing = True

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: Any = None, **options: Any
    ) -> None:
        """`gradient_checkpointing_enable`, by the name that transformers has since given it."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **options)

    def gradient_checkpointing_disable(self) -> None:
        """Keep activations again."""
        self.base_model.encoder.gradient_checkpointing = False

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass."""
        return bool(self.base_model.encoder.gradient_checkpointing)

    def enable_input_require_grads(self) -> None:
        """Make the embeddings' output require gradients, for adapters on a frozen model."""
        self.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output: output.requires_grad_(True)
        )


def _register_head(cls: type[AlbertPreTrainedModel]) -> None:
    """Enter a class into `HEADS`; it replaces an earlier class of that name, but not one of ours."""
    name = cls.__name__.removeprefix("AlbertFor").removeprefix("Albert")
    package = __name__.split(".")[0]
    current = HEADS.get(name, cls)
    if current.__module__.split(".")[0] == package != cls.__module__.split(".")[0]:
        raise ValueError(
            f"class {cls.__qualname__} would replace the head {name!r} of {package}: "
            "choose another class name"
        )
    HEADS[name] = cls


def _head_modules() -> set[str]:
    """The names of the modules that all heads add to the encoder."""
    import albert_torch.heads  # noqa: F401 - defines the classes that fill HEADS

    return {module for head in HEADS.values() for module in head.head_modules}


@torch.no_grad()
def init_parameter(module: nn.Module, name: str, std: float) -> None:
    """Initial values for the parameter `name` of a module: what `init_weights` says of all."""
    parameter = module.get_parameter(name)
    if name == "bias":
        nn.init.zeros_(parameter)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(parameter)
    else:
        nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            parameter[module.padding_idx].zero_()


class _Undrawn(TorchFunctionMode):
    """Leaves out the draw of initial weights: on the meta device torch would load its compiler for it, 0.8 s."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))
