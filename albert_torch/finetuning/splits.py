"""Finding the splits of a data set, in files or on the Hub, and reading them as rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albert_torch.readers import Row, read_table

if TYPE_CHECKING:
    from albert_torch.finetuning.config import FinetuningConfig

SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet", ".xml", ".txt", ".conll")
HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def find_split_file(config: FinetuningConfig, split: str, *names: str) -> Path | None:
    """Return the file or directory of a split.

    Args:
        config: The recipe. Its key with the name of the split names a file, in the directory `data`
            or anywhere, or a split of the data set on the Hub.
        split: "train", "dev" or "test".
        names: Names to try first in the directory `data`, before the split's name with any suffix.

    Returns:
        The path, or None if the recipe names no file and `data` holds none or is on the Hub.

    Raises:
        FileNotFoundError: The recipe names a file that does not exist.
    """
    directory = Path(config.data)
    named = getattr(config, split)
    if named:
        for path in (directory / named, Path(named)):
            if path.exists():
                return path
        if config.data and not directory.exists():
            return None  # it may be the name of a split of a data set on the Hub
        elsewhere = f", nor {directory / named}" if config.data else ""
        raise FileNotFoundError(f"{split}: there is no file {named}{elsewhere}")
    if not config.data:
        return None
    candidates = [*names, *(split + suffix for suffix in SUFFIXES)]
    paths = (directory / name for name in candidates)
    return next((path for path in paths if path.exists()), None)


def read_split(
    config: FinetuningConfig, split: str, *names: str, header: Sequence[str] | None = None
) -> list[Row] | None:
    """Return all rows of a split, from its file or from the Hub.

    Args:
        config: The recipe.
        split: "train", "dev" or "test".
        names: File names to try first, see `find_split_file`.
        header: The column names of a .tsv or .csv file that has no header line.

    Returns:
        One dict per row, or None if there is no such split.

    Raises:
        FileNotFoundError: The recipe names a file or data set that does not exist.
        ValueError: The file cannot be read as a table, or the split has no rows.
    """
    path = find_split_file(config, split, *names)
    if path is None and config.data and not Path(config.data).exists():
        return _read_from_hub(config, split)
    if path is None:
        return None
    rows = list(read_table(path, header=header, skip_malformed=True))
    if not rows:
        raise ValueError(f"{path} has no rows: {split} needs at least one")
    return rows


def select_columns(
    rows: Sequence[Row], where: str, *alternatives: Sequence[str], options: str = ""
) -> list[tuple[Any, ...]]:
    """Return the values of some columns, one tuple per row.

    Args:
        rows: The rows of a split, at least one.
        where: What the rows are, for error messages.
        alternatives: Lists of column names. The first list whose columns all exist is used.
        options: The options that name columns, for the error message.

    Raises:
        ValueError: The rows have the columns of none of the alternatives, or a value is missing.
    """
    for names in alternatives:
        if all(name in rows[0] for name in names):
            return [_values(row, names, f"{where}, row {i}") for i, row in enumerate(rows, 1)]
    needed = " or ".join(", ".join(names) for names in alternatives)
    hint = f"; name them with the options {options}" if options else ""
    raise ValueError(
        f"{where} has the columns {', '.join(map(str, rows[0]))}, but needs {needed}{hint}"
    )


def _values(row: Row, names: Sequence[str], where: str) -> tuple[Any, ...]:
    missing = [name for name in names if row.get(name) is None]
    if missing:
        raise ValueError(f"{where} has no {', '.join(missing)}")
    return tuple(row[name] for name in names)


def _read_from_hub(config: FinetuningConfig, split: str) -> list[Row] | None:
    try:
        import datasets
    except ImportError:
        raise ImportError(
            f"data={config.data!r} is not a directory, and data sets of the Hub need the package "
            "datasets: pip install 'albert-torch[train]'"
        ) from None
    try:
        splits = datasets.load_dataset(config.data, config.data_config or None)
    except Exception as error:  # whatever the network and the library raise
        raise FileNotFoundError(
            f"data={config.data!r} is neither a directory nor a data set on the Hub: {error}"
        ) from error
    named = getattr(config, split)
    if named and named not in splits:
        raise ValueError(f"{split}={named!r}: {config.data} has the splits {', '.join(splits)}")
    matching = (name for name in splits if name.startswith(HUB_SPLITS[split]))
    name = named or next(matching, None)
    return None if name is None else list(splits[name])
