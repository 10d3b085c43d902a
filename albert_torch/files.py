"""Atomic writing of files, and reading of JSON files that hold one object.

Every file that the package replaces goes through this module, so a process that is killed while it
saves leaves either the previous file or the new one, never half of one.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` when the block ends without an error.

    The temporary file is hidden and lies in the directory of `path`. It exists already when the
    block starts, so the block may open it in any mode. It is synced to disk before it takes the
    place of `path`, and it gets the permissions that writing to `path` with `open()` would leave.
    When the block raises, the temporary file is removed and `path` is untouched.

    Args:
        path: The file to create or replace. Its directory must exist.

    Yields:
        The path to write to.

    Raises:
        OSError: The file cannot be written, for example because the disk is full. This includes the
            errors of another type that `torch.save` and `safetensors` raise in that case.
    """
    target = Path(path)
    with atomic_write_many(target.parent, [target.name]) as temporary_paths:
        yield temporary_paths[target.name]


@contextmanager
def atomic_write_many(
    directory: str | os.PathLike[str], names: Iterable[str]
) -> Iterator[dict[str, Path]]:
    """Do what `atomic_write` does for several files of one directory.

    The files are replaced one after the other, but none before all are complete and synced. They
    take their places in the order of `names`, so a file that refers to the others belongs at the
    end.

    Args:
        directory: The directory of the files. It must exist.
        names: The names of the files to create or replace.

    Yields:
        The temporary path to write to, for each name.

    Raises:
        OSError: As for `atomic_write`. All existing files are unchanged if a file could not be
            written or synced.
    """
    folder = Path(directory)
    temporary_paths = {name: folder / f".{name}.{os.getpid()}.partial" for name in names}
    try:
        modes: dict[Path, int] = {}
        for name, path in temporary_paths.items():
            path.touch()
            existing = folder / name
            modes[path] = (existing if existing.exists() else path).stat().st_mode
        yield temporary_paths
        for path, mode in modes.items():
            _sync(path, os.O_RDWR)
            path.chmod(mode)  # some writers, such as safetensors, create files for their owner only
        for name, path in temporary_paths.items():
            os.replace(path, folder / name)
    except (OSError, RuntimeError, SafetensorError) as error:
        problem = _write_error(error, folder, temporary_paths)
        if problem is None:
            raise
        raise problem from error
    finally:
        for path in temporary_paths.values():
            path.unlink(missing_ok=True)
    sync_directory(folder)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, as `atomic_write` does, without changing line ends."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def atomic_write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 2) -> None:
    """Write `content` to `path` as JSON with a final newline, as `atomic_write` does.

    Raises:
        OSError: As for `atomic_write`.
        TypeError: A value has no JSON form.
    """
    atomic_write_text(path, json.dumps(content, indent=indent) + "\n")


def read_json(path: str | os.PathLike[str], *, allow_duplicate_keys: bool = True) -> dict[str, Any]:
    """Return the JSON object that a UTF-8 file holds, with or without a byte-order mark.

    Args:
        path: The file to read.
        allow_duplicate_keys: Whether an object may name a key twice. The last value counts.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not valid JSON, is nested too deeply, or holds something else than
            an object.
    """

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs) and not allow_duplicate_keys:
            counts = Counter(key for key, _ in pairs)
            duplicates = [key for key, count in counts.items() if count > 1]
            raise ValueError(f"duplicate keys: {', '.join(duplicates)}")
        return content

    data = Path(path).read_bytes()
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=object_of)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{os.fspath(path)} is not valid JSON ({error}); download or save it again"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{os.fspath(path)} holds a JSON {type(content).__name__} instead of an object; "
            "download or save it again"
        )
    return content


def sync_directory(directory: str | os.PathLike[str]) -> None:
    """Sync the names of a directory's files to disk, on systems that can do this (POSIX)."""
    if os.name == "posix":
        _sync(Path(directory), os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_error(
    error: OSError | RuntimeError | SafetensorError, folder: Path, temporary_paths: dict[str, Path]
) -> OSError | None:
    """Return an error that says what to do; None if `error` is not about writing these files."""
    own_paths = {None, str(folder), *map(str, temporary_paths.values())}
    if isinstance(error, OSError):
        if error.filename not in own_paths:
            return None
        number = error.errno
        reason = error.strerror or str(error)
    else:
        from_torch_save = "inline_container" in str(error) or "PytorchStreamWriter" in str(error)
        if not from_torch_save and not isinstance(error, SafetensorError):
            return None
        system_error = re.search(r"os error (\d+)", str(error))  # safetensors states the number
        number = int(system_error[1]) if system_error else errno.EIO
        reason = str(error)
    names = list(temporary_paths)
    target = folder / names[0] if len(names) == 1 else folder
    return OSError(
        number or errno.EIO,
        f"could not save ({reason}); existing files are unchanged. Free disk space, check the "
        "permissions of the directory, or save to another place",
        str(target),
    )
