"""A name or a path -> local files, through huggingface_hub and its cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

NANO = "albert-torch/nano"  # a small trained ALBERT; its files come with the package
LOGIN = "log in with `hf auth login` or pass token="


@dataclass(frozen=True)
class Source:
    """A local directory, or a model on the Hub; a directory wins over a Hub name. Files are fetched one by one.

    "albert-torch/nano" is the directory of the small model that comes with the package.

    Raises `FileNotFoundError` for what is not there or cannot be reached, `ValueError` for names that lead outside.
    """

    name_or_dir: str | os.PathLike[str]
    revision: str | None = None
    subfolder: str = ""
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    force_download: bool = False

    def __str__(self) -> str:
        name = os.fspath(self.name_or_dir)
        at = f"@{self.revision}" if self.revision and not Path(name).is_dir() else ""
        return f"{name}{at}{'/' if self.subfolder else ''}{self.subfolder}"

    @property
    def directory(self) -> Path | None:
        """The local directory (without the subfolder); None for a Hub name."""
        name = os.fspath(self.name_or_dir)
        path = Path(name).expanduser() if name.startswith("~") else Path(name)
        if name and path.is_dir():
            return path
        if name == NANO:
            return Path(__file__).parent / "nano"
        looks_like_a_path = not name or name[0] in "./~" or name.count("/") > 1 or "\\" in name
        if looks_like_a_path or not isinstance(self.name_or_dir, str) or path.is_file():
            problem = "is a file, not a directory" if path.is_file() else "is no directory here"
            raise FileNotFoundError(
                f"{name!r} {problem}; give a directory that holds config.json and weights, "
                "or a Hub name such as 'albert/albert-base-v2'"
            )
        return None

    def find(self, filename: str) -> Path | None:
        """The local path of one file, downloaded if need be; None when the source exists but lacks the file."""
        for name in (filename, self.subfolder):
            outside = (
                PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "\\" in name
            )
            if outside or ".." in PurePosixPath(name).parts:
                raise ValueError(
                    f"{name!r} leads outside {self}; file names are relative, use '/' and hold no '..'"
                )
        directory = self.directory
        if directory is None:
            return self._from_hub(
                f"{self.subfolder.rstrip('/')}/{filename}" if self.subfolder else filename
            )
        path = directory / self.subfolder / filename
        return path if path.is_file() else None

    def get(self, filename: str) -> Path:
        """Like `find`, for a file that must be there."""
        path = self.find(filename)
        if path is None:
            raise self.lacks(filename)
        return path

    def lacks(self, *filenames: str) -> FileNotFoundError:
        """The error for a source that holds none of `filenames`."""
        names = " or ".join(filenames)
        if self.directory is not None:
            return FileNotFoundError(
                f"{self} holds no {names}; check the directory, or pass subfolder="
            )
        if self._offline:
            return FileNotFoundError(
                f"the cache of {self} holds no {names}, and this run is offline; run once online"
            )
        return FileNotFoundError(
            f"{self} holds no {names}; check the name, revision= and subfolder="
        )

    @property
    def _offline(self) -> bool:
        return self.local_files_only or constants.HF_HUB_OFFLINE

    def _from_hub(self, filename: str) -> Path | None:
        repo, cache_dir = (
            os.fspath(self.name_or_dir),
            Path(self.cache_dir or constants.HF_HUB_CACHE),
        )
        try:
            return Path(
                hf_hub_download(
                    repo,
                    filename,
                    revision=self.revision,
                    cache_dir=cache_dir,
                    token=self.token,
                    force_download=self.force_download,
                    local_files_only=self._offline,
                )
            )
        except (
            LocalEntryNotFoundError
        ) as error:  # before EntryNotFoundError, its parent: the Hub was not heard
            answer = try_to_load_from_cache(
                repo, filename, cache_dir=cache_dir, revision=self.revision
            )
            absent = answer is not None and not isinstance(answer, str)  # so the Hub said before
            if absent or (self._offline and self._in_cache(cache_dir)):
                return None  # offline, the cached files are all there is
            if self._offline:
                raise FileNotFoundError(
                    f"{self} is not in the cache {cache_dir}, and this run is offline (local_files_only or "
                    "HF_HUB_OFFLINE); run once online, or give a local directory"
                ) from None
            raise FileNotFoundError(
                f"{filename} of {self} is not in the cache, and the Hub cannot be reached "
                f"({_innermost(error)}); check the network, or give a local directory"
            ) from error
        except EntryNotFoundError:
            return None
        except (
            Exception
        ) as error:  # whatever the HTTP library of the day raises, a full disk, a missing token
            raise FileNotFoundError(self._meaning(error, filename)) from error

    def _meaning(self, error: Exception, filename: str) -> str:
        repo = os.fspath(self.name_or_dir)
        if isinstance(error, GatedRepoError):  # before RepositoryNotFoundError, its parent
            return f"{self} is gated: accept its conditions at {constants.ENDPOINT}/{repo}, then {LOGIN}"
        if isinstance(error, RepositoryNotFoundError):
            hint = f"check the spelling, or, if it is private, {LOGIN}"
            return f"{self} is neither a directory here nor a model on the Hub; {hint}"
        if isinstance(error, RevisionNotFoundError):
            return f"{repo} has no revision {self.revision!r}; give a branch, a tag or a full commit hash"
        if isinstance(error, HFValidationError):
            return f"{repo!r} is neither a directory here nor a possible Hub name (owner/name): {error}"
        return f"could not fetch {filename} of {self}: {_innermost(error)}"

    def _in_cache(self, cache_dir: Path) -> bool:
        root = cache_dir / repo_folder_name(repo_id=os.fspath(self.name_or_dir), repo_type="model")
        revision = self.revision or constants.DEFAULT_REVISION
        ref = root / "refs" / revision
        return (
            root / "snapshots" / (ref.read_text().strip() if ref.is_file() else revision)
        ).is_dir()


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
