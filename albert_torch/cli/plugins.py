"""`--plugin MODULE`: modules whose heads and tasks every command can use."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from albert_torch.cli.parser import UsageError

OPTION = "--plugin"


def plugin_names(argv: Sequence[str]) -> list[str]:
    """Return what the `--plugin` options of a command line name, before it is parsed.

    Plugins are imported first, because the options of a command depend on them: each task has
    options of its own.
    """
    names = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            break
        if argument == OPTION:
            names.append(next(arguments, ""))
        elif argument.startswith(f"{OPTION}="):
            names.append(argument.partition("=")[2])
    return names


def without_leading_plugins(argv: Sequence[str]) -> list[str]:
    """Return the command line from the name of the command on."""
    start = 0
    while start < len(argv) and argv[start].partition("=")[0] == OPTION:
        start += 1 if "=" in argv[start] else 2
    return list(argv[start:])


def allow_modules_of_current_directory() -> None:
    """Let modules of the current directory be imported by name, after all other modules."""
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.append(directory)


def load_plugin(name: str) -> None:
    """Import a plugin.

    Args:
        name: The name of a module, or the path of a .py file, which becomes the module with the
            file's name.

    Raises:
        UsageError: The module does not exist, or importing it fails.
    """
    if not name:
        raise UsageError(f"{OPTION} needs the name of a module or the path of a .py file")
    try:
        if name.endswith(".py"):
            _load_file(Path(name))
        else:
            allow_modules_of_current_directory()
            importlib.import_module(name)
    except Exception as error:  # a plugin may raise anything
        raise UsageError(
            f"{OPTION} {name} cannot be imported ({type(error).__name__}: {error})"
        ) from error


def _load_file(path: Path) -> None:
    if path.stem in sys.modules:  # loaded before, or a name that is taken
        loaded = getattr(sys.modules[path.stem], "__file__", None)
        if loaded is not None and Path(loaded).resolve() == path.resolve():
            return
        raise ImportError(f"a module called {path.stem!r} is already loaded; rename the file")
    spec = spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError("this is not a Python file")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
