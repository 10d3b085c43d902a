"""What `finetune` and `pretrain` share: a recipe, and an option for each of its keys."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from albert_torch.cli.parser import UsageError
from albert_torch.recipe_files import recipe_path

if TYPE_CHECKING:
    from albert_torch.training.config import TrainingConfig

    Config = TypeVar("Config", bound=TrainingConfig)

Field = dataclasses.Field[Any]


def add_run_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the recipe, where the run is written to, and how it is started."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        help=f"the name of a packaged recipe such as {example}, see `albert-torch recipes`, or the "
        "path of a .toml file",
    )
    group = parser.add_argument_group("run")
    group.add_argument(
        "--out", required=True, metavar="DIR", help="the directory for the model and the records"
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in DIR where it stopped, bit for bit",
    )
    group.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="X",
        help="multiply the numbers of steps by this, for example 0.01 for a trial",
    )
    parser.set_defaults(trains=True)


def add_recipe_arguments(
    parser: argparse.ArgumentParser,
    fields: Iterable[Field],
    topics: Mapping[str, tuple[str, ...]],
) -> None:
    """Add an option for each key of a recipe, in one group for each topic.

    An option replaces the value of the recipe. Its help shows the default, which holds where the
    recipe does not set the key either.
    """
    by_name = {field.name: field for field in fields}
    known = {name for names in topics.values() for name in names}
    groups = {**topics, "other": tuple(name for name in by_name if name not in known)}
    for topic, names in groups.items():
        present = [by_name[name] for name in names if name in by_name]
        if present:
            group = parser.add_argument_group(f"recipe keys: {topic}")
            for field in present:
                add_field_argument(group, field)


def add_field_argument(
    group: argparse._ActionsContainer, field: Field, note: str = "", hidden: bool = False
) -> None:
    """Add the option for one key; text is converted to the key's type when the config is made.

    Args:
        group: Where to add it.
        field: The field of the config.
        note: What to add to the help of the field.
        hidden: Accept the option without showing it in `--help`.
    """
    option = "--" + field.name.replace("_", "-")
    text = f"{field.metadata.get('help', '')}{note}{_default(field)}".replace("%", "%%")
    if hidden:
        text = argparse.SUPPRESS
    if field.default is True or field.default is False:
        group.add_argument(
            option, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
    else:
        group.add_argument(option, default=argparse.SUPPRESS, metavar=_metavar(field), help=text)


def _default(field: Field) -> str:
    """The default as `--help` shows it; the text of the key says what an empty value means."""
    default = field.default
    if default in (dataclasses.MISSING, None, ""):
        return ""
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f" (default: {text})"


def _metavar(field: Field) -> str:
    annotation = str(field.type)
    names = {"int": "N", "float": "X", "list": "A,B,...", "dict": "JSON"}
    return next((name for kind, name in names.items() if kind in annotation), "VALUE")


def load_recipe(
    args: argparse.Namespace, config_class: type[Config], kind: str, names: Iterable[str]
) -> Config:
    """Return the config that the recipe and the options describe.

    Args:
        args: The parsed options.
        config_class: The class of the config.
        kind: "finetune" or "pretrain": which packaged recipes may be named.
        names: The keys that are options.
    """
    overrides = {name: vars(args)[name] for name in names if name in vars(args)}
    path = recipe_path(args.recipe, kind)
    try:
        config = config_class.load(path, **overrides)
    except ValueError as error:
        mistake = str(error).removeprefix(f"{path}: ")
        warmup = re.match(r"(warmup_steps=\d+) is more than steps=\d+", mistake)
        if warmup and "steps" in overrides and "warmup_steps" not in overrides:
            raise UsageError(
                f"--steps {overrides['steps']} is less than the recipe's {warmup[1]}: add "
                "--warmup-steps, or use --scale"
            ) from error
        if any(mistake.startswith(f"{name}=") for name in overrides):
            raise UsageError(mistake) from error  # the option is wrong, not the file
        raise
    return config if args.scale == 1.0 else config.scaled(args.scale)


@contextmanager
def resume_hint(args: argparse.Namespace) -> Iterator[None]:
    """Say, when a run is interrupted after its first checkpoint, how to continue it."""
    try:
        yield
    except KeyboardInterrupt:
        from albert_torch.training.checkpointing import CHECKPOINT_FILE

        if any(Path(args.out).rglob(CHECKPOINT_FILE)):
            hint = f"{args.out} has a checkpoint: the same command with --resume continues there"
            print(f"\n{hint}", file=sys.stderr)
        raise
