"""Readers for .txt, .tsv, .csv, .jsonl, .json and .parquet files, the only ones of the package.

Files are UTF-8, with or without a byte-order mark. Every error names the file and the line (or the
row, where a format has no lines). All formats except .json are read as a stream, so a file may be
larger than memory.
"""

from albert_torch.readers.lines import STDIN, Row, TableSource
from albert_torch.readers.table import (
    FORMATS,
    TEXT_COLUMN,
    read_document,
    read_table,
    read_texts,
    table_format,
)

__all__ = [
    "FORMATS",
    "STDIN",
    "TEXT_COLUMN",
    "Row",
    "TableSource",
    "read_document",
    "read_table",
    "read_texts",
    "table_format",
]
