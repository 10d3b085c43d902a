"""`AlbertPreTrainedModel`, the base class of all models: loading, saving and initial weights."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

import torch
from torch import Tensor

from albert_torch.checkpoints.matching import ExpectedWeights, match_checkpoint
from albert_torch.checkpoints.reader import dtype_named, read_state_dict
from albert_torch.checkpoints.writer import config_text, save_state_dict
from albert_torch.client_interface import ClientInterface
from albert_torch.config import AlbertConfig
from albert_torch.hub import Source
from albert_torch.initialization import init_parameter
from albert_torch.loading import build_on_meta, load_match, split_overrides
from albert_torch.outputs import ModelOutput

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

Model = TypeVar("Model", bound="AlbertPreTrainedModel")

HEADS: dict[str, type[AlbertPreTrainedModel]] = {}
"""Every model class by its short name ("Model", "MaskedLM", ...), in the order of definition.

Import it from `albert_torch.heads`, which defines the classes that fill it.
"""


class AlbertPreTrainedModel(ClientInterface):
    """The base class of all models.

    A subclass creates its modules under the names that they have in checkpoints and calls
    `post_init()` at the end of its constructor. Heads derive from `heads.AlbertHeadModel` instead.
    """

    config_class = AlbertConfig
    main_input_name = "input_ids"

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
        """Enter a class that sets `head_modules` in its own body into `HEADS`."""
        super().__init_subclass__(**options)
        if "head_modules" in vars(cls):
            _register_head(cls)

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        if not isinstance(config, AlbertConfig):
            name = type(self).__name__
            raise TypeError(
                f"{name} takes an AlbertConfig, not a {type(config).__name__}. To load a "
                f"checkpoint, call {name}.from_pretrained(...)"
            )
        self.config = config
        self.name_or_path = ""

    # ---- initial weights ----

    def post_init(self) -> None:
        """Initialise the weights of this model that no model inside it has, and tie them.

        Weights on the meta device have no values and are left alone.
        """
        inner_models = [m for m in self.children() if isinstance(m, AlbertPreTrainedModel)]
        initialised = {id(p) for model in inner_models for p in model.parameters()}
        self._init_parameters(
            name
            for name, parameter in self.named_parameters()
            if id(parameter) not in initialised and not parameter.is_meta
        )
        self.tie_weights()

    def init_weights(self) -> None:
        """Set all weights to new initial values; see `initialization.init_parameter`."""
        self._init_parameters(name for name, _ in self.named_parameters())
        self.tie_weights()

    def _init_parameters(self, names: Iterable[str]) -> None:
        for full_name in names:
            module, _, name = full_name.rpartition(".")
            init_parameter(self.get_submodule(module), name, self.config.initializer_range)

    # ---- loading ----

    @overload
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
        output_loading_info: Literal[False] = False,
        **overrides: Any,
    ) -> Model: ...

    @overload
    @classmethod
    def from_pretrained(
        cls: type[Model],
        name_or_dir: str | os.PathLike[str],
        *,
        output_loading_info: Literal[True],
        **options: Any,
    ) -> tuple[Model, dict[str, Any]]: ...

    @classmethod
    def from_pretrained(  # noqa: PLR0913 - the signature is that of transformers
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
    ) -> Model | tuple[Model, dict[str, Any]]:
        """Load a model from a checkpoint, in evaluation mode.

        Args:
            name_or_dir: A directory, or the name of a model on the Hub.
            revision: Branch, tag or commit on the Hub.
            subfolder: Directory inside the checkpoint.
            cache_dir: Where downloaded files are kept.
            token: Access token of the Hub; True for the saved one.
            local_files_only: Whether to use files that were downloaded before only.
            force_download: Whether to download files again.
            config: The config to use instead of that of the checkpoint.
            dtype: Dtype of the weights. None or "auto" keeps that of the checkpoint, the widest if
                there are several.
            device: Device of the weights; the CPU by default.
            attn_implementation: The attention backend; see `AlbertModel`.
            unpad: Whether the encoder runs on real tokens only; see `AlbertModel`.
            strict: Whether tensors that belong to no ALBERT are an error rather than a warning.
            ignore_mismatched_sizes: Whether weights whose shape differs from the model's get
                initial values, with a warning, instead of causing an error.
            output_loading_info: Whether to return what was missing and unexpected too.
            **overrides: Fields of the config to change, or arguments of the constructor.

        Returns:
            The model. If `output_loading_info` is set, the model and a dictionary with the keys
            "missing_keys", "unexpected_keys", "mismatched_keys" and "error_msgs".

        Raises:
            FileNotFoundError: If there is no such checkpoint, or a file of it is missing.
            CheckpointError: If the weights cannot be read or do not fit the model.
            ValueError: If the config is wrong.
            TypeError: If an override is neither a field of the config nor an argument of the
                constructor.
        """
        source = Source(
            name_or_dir, revision, subfolder, cache_dir, token, local_files_only, force_download
        )
        old_dtype = overrides.pop("torch_dtype", None)  # the older name of the argument
        target_dtype = dtype_named(old_dtype if dtype is None else dtype)
        arguments, fields_to_change = split_overrides(cls, overrides)
        if config is None:
            config = cls.config_class.from_pretrained(**asdict(source), **fields_to_change)
        else:
            config = cls.config_class.from_dict(config.to_dict(), **fields_to_change)
        tensors, path = read_state_dict(source)
        model = build_on_meta(cls, config, arguments, num_tensors=len(tensors), path=path)
        model.set_attn_implementation(attn_implementation)
        model.base_model.unpad = unpad
        tied = model._tied_weights_keys if config.tie_word_embeddings else {}
        match = match_checkpoint(
            tensors,
            str(path),
            ExpectedWeights(cls.__name__, model.state_dict(), tied, _known_head_modules()),
            strict=strict,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        load_match(model, match, device, target_dtype)
        model.name_or_path = os.fspath(name_or_dir)
        model.eval()
        return (model, match.loading_info()) if output_loading_info else model

    # ---- saving ----

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        *,
        max_shard_size: int | str = "5GB",
        state_dict: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write `config.json` and the weights as safetensors, for this library and transformers.

        The files are complete before the first one replaces an old one.

        Args:
            directory: The directory to write to. It is created if necessary.
            max_shard_size: Largest size of a file of weights, in bytes or as a text like "200MB".
            state_dict: The weights to write instead of the model's own; training on several
                devices gathers them.

        Raises:
            OSError: If the files cannot be written, for example because the disk is full.
        """
        state = self.state_dict() if state_dict is None else state_dict
        config = config_text(self.config, state, type(self).__name__)
        save_state_dict(state, directory, max_shard_size, config)

    def push_to_hub(  # noqa: PLR0913 - the signature is that of transformers
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str = "5GB",
    ) -> CommitInfo:
        """Upload what `save_pretrained` writes to the Hub, in one commit.

        Args:
            repo_id: The repository, "owner/name". It is created if necessary.
            commit_message: Message of the commit.
            private: Whether a new repository is private; None for the default of its owner.
            token: Access token of the Hub; True for the saved one.
            revision: Branch to commit to.
            create_pr: Whether to open a pull request instead.
            max_shard_size: As for `save_pretrained`.

        Returns:
            The commit, with its URL.
        """
        from huggingface_hub import HfApi  # importing it takes 50 ms, and few users push

        api = HfApi(token=token)
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            return api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                revision=revision,
                create_pr=create_pr,
            )


def _register_head(cls: type[AlbertPreTrainedModel]) -> None:
    """Enter a class into `HEADS`. It replaces an older class of that name, but not one of ours."""
    name = cls.__name__.removeprefix("AlbertFor").removeprefix("Albert")
    package = __name__.split(".")[0]
    current = HEADS.get(name, cls)
    if current.__module__.split(".")[0] == package != cls.__module__.split(".")[0]:
        raise ValueError(
            f"class {cls.__qualname__} would replace the head {name!r} of {package}: choose "
            "another class name"
        )
    HEADS[name] = cls


def _known_head_modules() -> set[str]:
    """The names of the modules that all heads add to the encoder."""
    import albert_torch.heads  # noqa: F401 - defines the classes that fill HEADS

    return {module for head in HEADS.values() for module in head.head_modules}
