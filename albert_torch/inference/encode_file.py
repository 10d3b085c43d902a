"""Encode a file of texts into a file of vectors, in a way that can be interrupted and resumed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from itertools import islice
from pathlib import Path
from typing import IO, Any

from albert_torch.files import atomic_write, atomic_write_text
from albert_torch.inference import text_model
from albert_torch.inference.text_encoder import Encoder
from albert_torch.readers import read_texts

OUTPUT_SUFFIXES = (".npy", ".parquet")
FINGERPRINT_TEXT = "The quick brown fox jumps over the lazy dog."
FLOAT32_BYTES = 4
COPY_BYTES = 1 << 20


def encode_file(
    encoder: Encoder,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    column: str = "text",
    normalize_embeddings: bool = False,
    show_progress_bar: bool = True,
) -> int:
    """Write the vector of each text in `source` to `target`.

    Finished vectors are kept in `.TARGET.partial`. If a run is interrupted, the same call resumes
    from there, and the result is the same, byte for byte. It starts again from the beginning if
    the texts, the model or a setting have changed.

    Args:
        encoder: The encoder.
        source: A file with one text per line, or a .tsv, .csv, .jsonl, .json or .parquet table;
            see `readers.read_texts`. It is read twice.
        target: The file to write: a .npy file with one float32 array (N, H), or a .parquet file
            with the column "embedding".
        column: The column of a table that holds the texts.
        normalize_embeddings: Whether to scale the vectors to length 1.
        show_progress_bar: Whether to show a progress bar on stderr.

    Returns:
        The number of texts.

    Raises:
        FileNotFoundError: If there is no `source`.
        ValueError: If `target` has another suffix, or `source` cannot be read.
        ImportError: If Parquet is asked for and pyarrow is not installed.
    """
    source, target = Path(source), Path(target)
    if target.suffix not in OUTPUT_SUFFIXES:
        raise ValueError(f"{target} must end in {' or '.join(OUTPUT_SUFFIXES)}")
    if target.suffix == ".parquet":
        _import_pyarrow()
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} is not a file: pass one with a text on each line, or a .tsv, .csv, .jsonl, "
            ".json or .parquet table"
        )
    partial = target.with_name(f".{target.name}.partial")
    state = target.with_name(f".{target.name}.state")
    job = _fingerprint(encoder, source, column, normalize_embeddings)
    if not (state.is_file() and state.read_text(encoding="utf-8") == job):
        partial.unlink(missing_ok=True)
        atomic_write_text(state, job)
    vector_bytes = encoder.config.hidden_size * FLOAT32_BYTES
    with partial.open("ab") as file:
        # Only whole windows are kept: the rest is computed in the same batches as without the
        # interruption, and is therefore equal bit by bit.
        num_vectors = file.tell() // vector_bytes
        num_done = num_vectors - num_vectors % text_model.WINDOW_TEXTS
        file.truncate(num_done * vector_bytes)
        file.seek(0, os.SEEK_END)
        remaining = islice(read_texts(source, column), num_done, None)
        for window in encoder.encode_windows(
            remaining,
            normalize_embeddings=normalize_embeddings,
            show_progress_bar=show_progress_bar,
        ):
            file.write(window.numpy().tobytes())
            file.flush()
            num_done += len(window)
    with atomic_write(target) as finished, partial.open("rb") as vectors:
        if target.suffix == ".parquet":
            _write_parquet(vectors, finished, encoder.config.hidden_size)
        else:
            _write_npy(vectors, finished, (num_done, encoder.config.hidden_size))
    partial.unlink()
    state.unlink()
    return num_done


def _fingerprint(encoder: Encoder, source: Path, column: str, normalize_embeddings: bool) -> str:
    """Describe everything that the vectors depend on.

    The model, its dtype and the machine are represented by the vector of a fixed text.
    """
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(COPY_BYTES):
            digest.update(block)
    digest.update(encoder.encode([FINGERPRINT_TEXT]).tobytes())
    job = {
        "texts_and_model": digest.hexdigest(),
        "column": column,
        "normalize_embeddings": normalize_embeddings,
        "max_length": encoder.max_length,
    }
    return json.dumps(job, indent=2) + "\n"


def _write_npy(vectors: IO[bytes], path: Path, shape: tuple[int, int]) -> None:
    """Write raw float32 vectors as a .npy file."""
    import numpy

    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        numpy.lib.format.write_array_header_1_0(file, header)
        shutil.copyfileobj(vectors, file, COPY_BYTES)


def _write_parquet(vectors: IO[bytes], path: Path, hidden_size: int) -> None:
    """Write raw float32 vectors as a Parquet file with one column, "embedding"."""
    import numpy

    pyarrow = _import_pyarrow()
    schema = pyarrow.schema([("embedding", pyarrow.list_(pyarrow.float32(), hidden_size))])
    block_bytes = text_model.WINDOW_TEXTS * hidden_size * FLOAT32_BYTES
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while block := vectors.read(block_bytes):
            values = pyarrow.array(numpy.frombuffer(block, dtype="<f4"))
            rows = pyarrow.FixedSizeListArray.from_arrays(values, hidden_size)
            writer.write_table(pyarrow.table([rows], schema=schema))


def _import_pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError(
            "writing Parquet needs pyarrow: pip install 'albert-torch[inference]'"
        ) from None
    return pyarrow
