"""The `albert-torch` command."""

from albert_torch.cli.main import main

__all__ = ["main"]
