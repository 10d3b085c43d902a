"""The recipes that come with the package: where they are, what they are called, what each is for.

In a wheel they are in `albert_torch/recipes`; in a clone, and in an editable install, in the
repository's `configs` directory. Importable without torch.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

KINDS = ("finetune", "pretrain")  # the subdirectories, named after the commands that run them


@dataclass(frozen=True)
class Recipe:
    """A packaged recipe: a TOML file for `albert-torch finetune` or `albert-torch pretrain`."""

    name: str
    kind: str
    path: Path

    @property
    def description(self) -> str:
        """The first line of the file, which is a comment that says what the recipe is for."""
        first_line = self.path.read_text(encoding="utf-8").split("\n", 1)[0]
        return first_line.lstrip("# ").strip()

    @property
    def task(self) -> str:
        """The task that the recipe trains; for pretraining, "pretraining"."""
        text = self.path.read_text(encoding="utf-8")
        match = re.search(r"""^\s*task\s*=\s*["'](.+?)["']""", text, re.MULTILINE)
        return match[1] if match else "pretraining"


def recipes_directory() -> Path:
    """Return the directory that holds `finetune/` and `pretrain/`.

    Raises:
        FileNotFoundError: The package was installed without its recipes.
    """
    package = Path(__file__).parent
    candidates = (package / "recipes", package.parent / "configs")
    for directory in candidates:
        if all((directory / kind).is_dir() for kind in KINDS):
            return directory
    raise FileNotFoundError(
        f"this installation has no recipes: neither {candidates[0]} nor {candidates[1]} exists; "
        "reinstall albert-torch, or give the path of a recipe file"
    )


def packaged_recipes(kind: str | None = None) -> list[Recipe]:
    """List the packaged recipes in alphabetical order, fine-tuning before pretraining.

    Args:
        kind: "finetune" or "pretrain"; None lists both.
    """
    root = recipes_directory()
    return [
        Recipe(path.stem, folder, path)
        for folder in (KINDS if kind is None else (kind,))
        for path in sorted((root / folder).glob("*.toml"))
    ]


def find_recipe(name: str, kind: str | None = None) -> Recipe:
    """Return the packaged recipe called `name`, such as "sst2".

    Args:
        name: The name that `albert-torch recipes` shows.
        kind: "finetune" or "pretrain"; None searches both.

    Raises:
        ValueError: No packaged recipe has that name.
    """
    recipes = {recipe.name: recipe for recipe in packaged_recipes(kind)}
    if name not in recipes:
        close = difflib.get_close_matches(name, recipes, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(
            f"no packaged recipe is called {name!r}{hint}; the recipes are {', '.join(recipes)}"
        )
    return recipes[name]


def recipe_path(name_or_path: str | os.PathLike[str], kind: str | None = None) -> Path:
    """Return the file that `name_or_path` stands for: an existing file, or a packaged recipe.

    Args:
        name_or_path: A path, or the name of a packaged recipe. An existing file takes precedence.
        kind: "finetune" or "pretrain": which packaged recipes may be named; None allows both.

    Raises:
        FileNotFoundError: The argument is written as a path, and no such file exists.
        ValueError: The argument is written as a name, and no packaged recipe has it.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.name != os.fspath(name_or_path) or path.suffix:
        raise FileNotFoundError(
            f"there is no recipe file {path}; `albert-torch recipes` lists the packaged recipes, "
            "which are given by name"
        )
    return find_recipe(path.name, kind).path
