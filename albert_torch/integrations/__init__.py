"""Registration with other libraries: the Auto classes of transformers, and PEFT."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def import_or_explain(package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ImportError: If it is not installed. The message says how to install it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"{package} is not installed: pip install {package}") from error
