"""Atomic writing and reading of JSON objects."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from albert_torch import files
from albert_torch.files import (
    atomic_write,
    atomic_write_json,
    atomic_write_many,
    atomic_write_text,
    read_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """Let no file of this process grow beyond 500 bytes, as a full disk would."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


def test_the_target_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    """Catches: a target that changes while the block still writes; a leftover temporary file."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_write(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_an_error_in_the_block_changes_nothing(tmp_path: Path, error: BaseException) -> None:
    """Catches: half a file, a leftover, and an unrelated error reported as a full disk."""
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_while_writing() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(type(error)) as caught:
        fail_while_writing()
    assert caught.value is error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_about_another_file_is_passed_on(tmp_path: Path) -> None:
    """Catches: a missing input that is reported as a failure to write the output."""
    with (
        pytest.raises(FileNotFoundError, match=r"No such file or directory.*absent") as caught,
        atomic_write(tmp_path / "a.txt"),
    ):
        (tmp_path / "absent").read_text()
    assert caught.value.filename == str(tmp_path / "absent")


def write_with_torch(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)


def write_with_safetensors(path: Path) -> None:
    save_file({"a": torch.zeros(1000)}, path)


def write_text(path: Path) -> None:
    path.write_text("x" * 1000)


@pytest.mark.parametrize("write", [write_with_torch, write_with_safetensors, write_text])
@pytest.mark.usefixtures("file_size_limit")
def test_a_full_disk(tmp_path: Path, write: object) -> None:
    """Catches: a writer whose own type of error gets through; an error without file or advice."""
    assert callable(write)
    target = tmp_path / "a.bin"
    target.write_text("old")
    with (
        pytest.raises(OSError, match=r"could not save \(.+\).*Free disk space") as caught,
        atomic_write(target) as temporary,
    ):
        write(temporary)
    assert caught.value.errno in (errno.EFBIG, errno.EIO)
    assert caught.value.filename == str(target)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.bin"]


def test_a_disk_that_fills_while_syncing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a file that is renamed before it is on the disk."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*Free disk space") as caught:
        atomic_write_text(tmp_path / "a.txt", "new")
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_several_files_are_renamed_in_order_after_all_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: an index that is replaced before the files it names, or before they are complete."""
    replaced: list[str] = []
    replace = os.replace

    def observed(source: Path, target: Path) -> None:
        replaced.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", observed)
    with atomic_write_many(tmp_path, ["b", "a", "index"]) as temporary_paths:
        for name, path in temporary_paths.items():
            path.write_text(name)
            assert replaced == []
    assert replaced == ["b", "a", "index"]
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == {
        "a": "a",
        "b": "b",
        "index": "index",
    }


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_open(tmp_path: Path, mask: int) -> None:
    """Catches: files that only their owner can read, as safetensors makes them; a lost mode."""
    old = os.umask(mask)
    try:
        with atomic_write(tmp_path / "new") as temporary:
            write_with_safetensors(temporary)
        (tmp_path / "plain").open("w").close()
        (tmp_path / "private").touch(0o600)
        (tmp_path / "private").chmod(0o640)
        atomic_write_text(tmp_path / "private", "new")
    finally:
        os.umask(old)

    def mode(name: str) -> int:
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    assert mode("new") == mode("plain")
    assert mode("private") == 0o640


def test_a_missing_directory(tmp_path: Path) -> None:
    """Catches: an error that names a hidden file which the user has never heard of."""
    with pytest.raises(FileNotFoundError, match="could not save") as caught:
        atomic_write_text(tmp_path / "absent" / "a.txt", "x")
    assert caught.value.filename == str(tmp_path / "absent" / "a.txt")


def test_json_round_trip(tmp_path: Path) -> None:
    """Catches: another encoding, and a file without its final newline."""
    path = tmp_path / "a.json"
    content = {"ü": [1, None, {"x": 0.5}], "line": "a\nb"}
    atomic_write_json(path, content)
    assert read_json(path) == content
    assert path.read_bytes().endswith(b"}\n")
    atomic_write_json(path, content, indent=None)
    assert path.read_text().count("\n") == 1
    assert read_json(str(path)) == content


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"a\.json is not valid JSON \(.*\); download or save it again"),
        (b'{"a": 1', "is not valid JSON"),
        (b"\xe9", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"a":' * 100_000, "is not valid JSON"),
        (b"[1]", "holds a JSON list instead of an object"),
        (b"null", "holds a JSON NoneType instead of an object"),
    ],
)
def test_what_is_not_a_json_object(tmp_path: Path, data: bytes, message: str) -> None:
    """Catches: a crash on damaged or hostile files, and an error that does not name the file."""
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json")


def test_duplicate_keys(tmp_path: Path) -> None:
    """Catches: an index that places a tensor in two files and is read without complaint."""
    path = tmp_path / "a.json"
    path.write_text('{"map": {"x": 1, "y": 2, "x": 3}}')
    assert read_json(path) == {"map": {"x": 3, "y": 2}}
    with pytest.raises(ValueError, match="duplicate keys: x"):
        read_json(path, allow_duplicate_keys=False)


def test_nothing_else_in_the_package_replaces_files() -> None:
    """Catches: a second atomic writer."""
    package = Path(files.__file__).parent
    users = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "os.replace(" in path.read_text(encoding="utf-8")
    ]
    assert users == ["files.py"]
