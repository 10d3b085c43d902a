"""Atomic writing of files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Fill a hidden file, sync it, and rename it to `path`: a killed process leaves the old file or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        fill(partial)
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        number = getattr(error, "errno", None) or errno.EIO
        raise OSError(
            number,
            f"could not save ({error}); the old file is as it was; free space and resume",
            str(path),
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write` for a text."""
    write(path, lambda partial: partial.write_text(text, encoding="utf-8"))
