"""Data files and Hub data sets -> rows: one dict a row, named columns, nothing interpreted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from albert_torch.finetuning.config import FinetuningConfig
from albert_torch.readers import Row, read_table

SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet", ".xml", ".txt", ".conll")
HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def locate(recipe: FinetuningConfig, split: str, *names: str) -> Path | None:
    """The file or directory of a split: the recipe's own name, or the first of `names` in `data`; None: there is none.

    Raises `FileNotFoundError` for a file that the recipe names and that is not there.
    """
    folder = Path(recipe.data)
    if given := getattr(recipe, split):
        for path in (folder / given, Path(given)):
            if path.exists():
                return path
        raise FileNotFoundError(
            f"{split}: no file {given}" + (f", nor {folder / given}" if recipe.data else "")
        )
    if not recipe.data:
        return None
    candidates = [folder / name for name in names] + [
        folder / (split + suffix) for suffix in SUFFIXES
    ]
    return next((path for path in candidates if path.exists()), None)


def read_rows(
    recipe: FinetuningConfig, split: str, *names: str, header: Sequence[str] | None = None
) -> list[Row] | None:
    """All rows of a split, from its file or the Hub; None where the split is not there.

    `header` names the columns of files without a first line of names. Raises `ValueError` for an empty split.
    """
    path = locate(recipe, split, *names)
    if path is None and recipe.data and not Path(recipe.data).exists():
        return _from_hub(recipe, split)
    if path is None:
        return None
    rows = list(read_table(path, header=header, skip_malformed=True))
    if not rows:
        raise ValueError(f"{path} has no rows: {split} needs at least one")
    return rows


def _from_hub(recipe: FinetuningConfig, split: str) -> list[Row] | None:
    try:
        import datasets
    except ImportError:
        raise ImportError(
            f"data={recipe.data!r} is no directory, and Hub data sets need datasets: pip install 'albert-torch[train]'"
        ) from None
    try:
        loaded = datasets.load_dataset(recipe.data, recipe.data_config or None)
    except Exception as error:  # whatever the network and the library raise
        raise FileNotFoundError(
            f"data={recipe.data!r} is no directory, and no data set of the Hub: {error}"
        ) from error
    name = getattr(recipe, split) or next(
        (s for s in loaded if s.startswith(HUB_SPLITS[split])), None
    )
    if name is not None and name not in loaded:
        raise ValueError(f"{split}={name!r}: {recipe.data} has the splits {', '.join(loaded)}")
    return None if name is None else list(loaded[name])


def pick(rows: Sequence[Row], where: str, *alternatives: Sequence[str]) -> list[tuple[Any, ...]]:
    """The columns of the first alternative that the rows have, a tuple a row.

    Raises `ValueError` that lists the columns there are, for rows that fit none.
    """
    for names in alternatives:
        if all(name in rows[0] for name in names):
            for number, row in enumerate(rows, 1):
                if missing := [name for name in names if row.get(name) is None]:
                    raise ValueError(f"{where}, row {number} has no {', '.join(missing)}")
            return [tuple(row[name] for name in names) for row in rows]
    wanted = " or ".join(", ".join(names) for names in alternatives)
    raise ValueError(
        f"{where} has the columns {', '.join(map(str, rows[0]))}, needs {wanted}: "
        f"name them with the keys text, text_pair and label"
    )
