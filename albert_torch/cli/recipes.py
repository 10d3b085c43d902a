"""`albert-torch recipes`: list the packaged recipes, or copy one to edit it."""

from __future__ import annotations

import argparse
from pathlib import Path

from albert_torch.files import atomic_write_text
from albert_torch.recipe_files import find_recipe, packaged_recipes

SUMMARY = "List the packaged training recipes, or copy one to edit it."
EXAMPLES = """\
examples:
  albert-torch recipes                      (a table: name, task, description)
  albert-torch recipes copy sst2            (writes sst2.toml)
  albert-torch recipes copy sst2 my.toml

`albert-torch finetune` and `albert-torch pretrain` take the name of a recipe or the path of a file.
"""
ACTIONS = ("list", "copy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `albert-torch recipes`."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=ACTIONS,
        metavar="ACTION",
        help="what to do: list or copy",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="copy: the recipe")
    parser.add_argument(
        "destination",
        nargs="?",
        metavar="DEST",
        help="copy: the file or the directory to write to (default: NAME.toml here)",
    )
    parser.add_argument("--force", action="store_true", help="copy: replace an existing file")


def run(args: argparse.Namespace) -> int:
    """List the recipes or copy one."""
    if args.action == "copy":
        print(f"written to {_copy(args.name, args.destination, args.force)}")
        return 0
    if args.name is not None:
        raise ValueError(f"to copy a recipe: albert-torch recipes copy {args.name}")
    recipes = packaged_recipes()
    name_width = max(len(recipe.name) for recipe in recipes)
    task_width = max(len(recipe.task) for recipe in recipes)
    for recipe in recipes:
        print(f"{recipe.name:{name_width}}  {recipe.task:{task_width}}  {recipe.description}")
    return 0


def _copy(name: str | None, destination: str | None, force: bool) -> Path:
    if name is None:
        raise ValueError("name the recipe to copy: albert-torch recipes copy NAME")
    recipe = find_recipe(name)
    path = Path(destination or f"{name}.toml")
    if path.is_dir():
        path /= f"{name}.toml"
    if path.exists() and not force:
        raise ValueError(f"{path} exists: give another DEST, or --force to replace it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the directory {path.parent} does not exist: create it first")
    atomic_write_text(path, recipe.path.read_text(encoding="utf-8"))
    return path
