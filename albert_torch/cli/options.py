"""Command-line options that several commands share."""

from __future__ import annotations

import argparse
import logging
from dataclasses import fields

from albert_torch.training.config import ConfigT, TrainingConfig
from albert_torch.training.distributed import first_process


def add_recipe_options(
    parser: argparse.ArgumentParser, kind: type[TrainingConfig], example: str
) -> None:
    """A recipe file, where the run goes, and the keys of the recipe's class."""
    parser.add_argument("recipe", metavar="RECIPE.toml", help=f"such as {example}")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="where the model and the records go"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in DIR, bit for bit"
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="multiply steps and intervals, such as 0.01 for a try",
    )
    keys = parser.add_argument_group("keys of the recipe, in place of what the file says")
    for key in fields(kind):
        name, text = "--" + key.name.replace("_", "-"), key.metadata["help"].replace("%", "%%")
        if key.default is True or key.default is False:
            keys.add_argument(
                name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            keys.add_argument(name, default=argparse.SUPPRESS, metavar="X", help=text)


def recipe_of(args: argparse.Namespace, kind: type[ConfigT]) -> ConfigT:
    """The recipe that the options ask for; the log goes to stderr from now on."""
    logging.basicConfig(
        level=logging.INFO if first_process() else logging.ERROR, format="%(asctime)s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    overrides = {key.name: vars(args)[key.name] for key in fields(kind) if key.name in vars(args)}
    recipe = kind.load(args.recipe, **overrides)
    return recipe if args.scale == 1.0 else recipe.scaled(args.scale)
