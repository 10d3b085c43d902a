"""Finding the files of a model: in a local directory, or on the Hugging Face Hub.

`Source` stands for one model and returns the local path of each of its files. Files on the Hub are
downloaded one by one, when they are asked for, into the cache of `huggingface_hub`.
"""

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

NANO = "albert-torch/nano"  # the small trained ALBERT that is installed with the package
_LOG_IN = "log in with `hf auth login` or pass token="


@dataclass(frozen=True)
class Source:
    """A model in a local directory or on the Hub.

    A name is looked up in this order: a directory of that name, the model that is installed with
    the package (`NANO`), a repository on the Hub. What looks like a path (it starts with ".", "/"
    or "~", or has several slashes) is never looked up on the Hub. Local directories and `NANO`
    ignore all fields but `name_or_dir` and `subfolder`.

    Attributes:
        name_or_dir: A directory, or the name of a Hub repository such as "albert/albert-base-v2".
        revision: A branch, tag or full commit hash on the Hub. None: the branch "main".
        subfolder: The folder of the directory or repository that holds the files. "": the top.
        cache_dir: Where downloads are kept. None: the cache of `huggingface_hub`.
        token: An access token for private and gated models. None: the one of `hf auth login`;
            False: none.
        local_files_only: Use files that were downloaded before and make no request. The environment
            variable HF_HUB_OFFLINE of `huggingface_hub` has the same effect.
        force_download: Download files again that are in the cache already.
    """

    name_or_dir: str | os.PathLike[str]
    revision: str | None = None
    subfolder: str = ""
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None
    local_files_only: bool = False
    force_download: bool = False

    def __str__(self) -> str:
        """Return the name for messages: "name", "name@revision" or "name@revision/subfolder"."""
        name = os.fspath(self.name_or_dir)
        revision = f"@{self.revision}" if self.revision and not Path(name).is_dir() else ""
        subfolder = f"/{self.subfolder}" if self.subfolder else ""
        return f"{name}{revision}{subfolder}"

    @property
    def directory(self) -> Path | None:
        """The local directory, without the subfolder; None for a model on the Hub.

        Raises:
            FileNotFoundError: `name_or_dir` is a path, and there is no directory.
        """
        name = os.fspath(self.name_or_dir)
        path = Path(name).expanduser() if name.startswith("~") else Path(name)
        if name and path.is_dir():
            return path
        if name == NANO:
            return Path(__file__).parent / "nano"
        looks_like_a_path = not name or name[0] in "./~" or name.count("/") > 1 or "\\" in name
        if looks_like_a_path or not isinstance(self.name_or_dir, str) or path.is_file():
            problem = "is a file, not a directory" if path.is_file() else "is not a directory"
            raise FileNotFoundError(
                f"{name!r} {problem}; pass a directory that contains config.json and the weights, "
                "or the name of a model on the Hub such as 'albert/albert-base-v2'"
            )
        return None

    def find(self, filename: str) -> Path | None:
        """Return the local path of a file, after downloading it if necessary.

        Args:
            filename: The name of the file, relative to the subfolder.

        Returns:
            The path, or None if the model exists but does not contain the file.

        Raises:
            FileNotFoundError: There is no such model, or it cannot be reached.
            ValueError: `filename` or `subfolder` leads outside the model's directory.
        """
        self._check_is_inside(filename)
        self._check_is_inside(self.subfolder)
        directory = self.directory
        if directory is None:
            prefix = f"{self.subfolder.rstrip('/')}/" if self.subfolder else ""
            return self._download(prefix + filename)
        path = directory / self.subfolder / filename
        return path if path.is_file() else None

    def get(self, filename: str) -> Path:
        """Return the local path of a file as `find` does, but raise an error if there is none.

        Raises:
            FileNotFoundError: As for `find`, or the model does not contain the file.
            ValueError: As for `find`.
        """
        path = self.find(filename)
        if path is None:
            raise self.missing_error(filename)
        return path

    def missing_error(self, *filenames: str) -> FileNotFoundError:
        """Return the error to raise when the model contains none of `filenames`."""
        names = " or ".join(filenames)
        if self.directory is not None:
            return FileNotFoundError(
                f"{self} does not contain {names}; check the directory, or pass subfolder="
            )
        if self._is_offline:
            return FileNotFoundError(
                f"the cache of {self} does not contain {names}, and downloads are disabled by "
                "local_files_only or HF_HUB_OFFLINE; run once with access to the Hub"
            )
        return FileNotFoundError(
            f"{self} does not contain {names}; check the name, revision= and subfolder="
        )

    def _check_is_inside(self, name: str) -> None:
        is_absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive
        if is_absolute or "\\" in name or ".." in PurePosixPath(name).parts:
            raise ValueError(
                f"{name!r} leads outside {self}; file names must be relative, use '/' and "
                "contain no '..'"
            )

    @property
    def _is_offline(self) -> bool:
        return self.local_files_only or constants.HF_HUB_OFFLINE

    def _download(self, filename: str) -> Path | None:
        cache_dir = Path(self.cache_dir or constants.HF_HUB_CACHE)
        try:
            path = hf_hub_download(
                os.fspath(self.name_or_dir),
                filename,
                revision=self.revision,
                cache_dir=cache_dir,
                token=self.token,
                force_download=self.force_download,
                local_files_only=self._is_offline,
            )
            return Path(path)
        except LocalEntryNotFoundError as error:
            # A subclass of EntryNotFoundError, but it means that the Hub was not asked or did not
            # answer.
            if self._is_known_to_be_absent(filename, cache_dir):
                return None
            raise self._unreachable_error(filename, cache_dir, error) from error
        except EntryNotFoundError:
            return None
        except Exception as error:
            # Errors of the HTTP library that is in use, a full disk, a missing token and others.
            raise FileNotFoundError(self._explanation(error, filename)) from error

    def _is_known_to_be_absent(self, filename: str, cache_dir: Path) -> bool:
        """Whether an earlier answer of the Hub, or offline mode, rules out that the file exists."""
        repo = os.fspath(self.name_or_dir)
        cached = try_to_load_from_cache(repo, filename, cache_dir=cache_dir, revision=self.revision)
        was_absent = cached is not None and not isinstance(cached, str)  # a sentinel object
        return was_absent or (self._is_offline and self._is_cached(cache_dir))

    def _unreachable_error(
        self, filename: str, cache_dir: Path, error: Exception
    ) -> FileNotFoundError:
        if self._is_offline:
            return FileNotFoundError(
                f"{self} is not in the cache {cache_dir}, and downloads are disabled by "
                "local_files_only or HF_HUB_OFFLINE; run once with access to the Hub, or pass a "
                "local directory"
            )
        return FileNotFoundError(
            f"{filename} of {self} is not in the cache, and the Hub cannot be reached "
            f"({_root_cause(error)}); check the network, or pass a local directory"
        )

    def _explanation(self, error: Exception, filename: str) -> str:
        """Say in one sentence what an error of `huggingface_hub` means and what to do about it."""
        repo = os.fspath(self.name_or_dir)
        if isinstance(error, GatedRepoError):  # a subclass of RepositoryNotFoundError
            conditions = f"{constants.ENDPOINT}/{repo}"
            return f"{self} is gated: accept its conditions at {conditions}, then {_LOG_IN}"
        if isinstance(error, RepositoryNotFoundError):
            return (
                f"{self} is neither a local directory nor a model on the Hub; check the spelling, "
                f"or, if the model is private, {_LOG_IN}"
            )
        if isinstance(error, RevisionNotFoundError):
            return (
                f"{repo} has no revision {self.revision!r}; pass a branch, a tag or a full commit "
                "hash"
            )
        if isinstance(error, HFValidationError):
            return (
                f"{repo!r} is neither a local directory nor a valid name on the Hub "
                f"(owner/name): {error}"
            )
        return f"could not download {filename} of {self}: {_root_cause(error)}"

    def _is_cached(self, cache_dir: Path) -> bool:
        """Whether the cache contains any file of this revision."""
        root = cache_dir / repo_folder_name(repo_id=os.fspath(self.name_or_dir), repo_type="model")
        revision = self.revision or constants.DEFAULT_REVISION
        reference = root / "refs" / revision  # the file of a branch or tag contains the commit
        commit = reference.read_text().strip() if reference.is_file() else revision
        return (root / "snapshots" / commit).is_dir()


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
