"""The rows of .parquet files."""

from __future__ import annotations

import io
from collections.abc import Sequence

from albert_torch.readers.lines import (
    NumberedRows,
    TableSource,
    missing_column,
    open_binary,
    source_name,
)


def parquet_rows(source: TableSource, columns: Sequence[str] | None) -> NumberedRows:
    """Yield the rows of a Parquet file, which is read in batches.

    Args:
        source: The file; the standard input is read into memory.
        columns: The columns to read; None: all.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: The file is not Parquet, or a column is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ImportError(
            "reading Parquet needs pyarrow: pip install 'albert-torch[inference]'"
        ) from None
    name = source_name(source)
    with open_binary(source) as file:
        seekable = file if file.seekable() else io.BytesIO(file.read())
        try:
            table = parquet.ParquetFile(seekable)
            present = table.schema_arrow.names
            for column in columns or ():
                if column not in present:
                    raise ValueError(missing_column(name, column, present))
            number = 0
            for batch in table.iter_batches(columns=None if columns is None else list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except pyarrow.ArrowException as error:
            raise ValueError(f"{name} is not a readable Parquet file ({error})") from None
