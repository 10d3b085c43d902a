"""What `albert-torch embed` does: a file of texts in, a file of vectors out; a run that was cut off goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from itertools import islice
from pathlib import Path
from typing import IO, Any

from albert_torch.files import atomic_write, atomic_write_text
from albert_torch.inference.pipelines import WINDOW
from albert_torch.inference.text_encoder import Encoder
from albert_torch.readers import read_texts

TARGETS = (".npy", ".parquet")
PROBE = "The quick brown fox jumps over the lazy dog."


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet needs pyarrow: pip install 'albert-torch[inference]'") from None
    return pyarrow


def embed(
    encoder: Encoder,
    source: Path,
    target: Path,
    *,
    column: str = "text",
    normalize: bool = False,
    show: bool = True,
) -> int:
    """Write the vector of each text of `source` to `target`, .npy or .parquet; how many there are.

    What is done stands in `.TARGET.partial`; run again after an interruption, it goes on from there, and the result is
    the same, byte for byte. It starts anew if the texts, the model or a setting have changed.
    Raises `FileNotFoundError` without a source, `ValueError` for another kind of target.
    """
    if target.suffix not in TARGETS:
        raise ValueError(f"{target} must end in {' or '.join(TARGETS)}")
    if not source.is_file():
        raise FileNotFoundError(
            f"{source} is no file; give one with a text a line, .jsonl or .parquet"
        )
    partial, state = (
        target.with_name(f".{target.name}.partial"),
        target.with_name(f".{target.name}.state"),
    )
    width = encoder.config.hidden_size * 4  # bytes a vector
    job = _fingerprint(encoder, source, column, normalize)
    if not (state.is_file() and state.read_text() == job):
        partial.unlink(missing_ok=True)
        atomic_write_text(state, job)
    with partial.open("ab") as file:
        done = (
            file.tell() // width // WINDOW * WINDOW
        )  # whole windows: each is computed as in a run from the start
        file.truncate(done * width)
        file.seek(0, os.SEEK_END)
        texts = islice(read_texts(source, column), done, None)
        for window in encoder.windows(texts, normalize=normalize, show_progress=show):
            file.write(window.numpy().tobytes())
            file.flush()
            done += len(window)
    _finish(partial, target, done, encoder.config.hidden_size)
    partial.unlink()
    state.unlink()
    return done


def _fingerprint(encoder: Encoder, source: Path, column: str, normalize: bool) -> str:
    """What the vectors depend on: the texts; and the model, its dtype and the machine, as one vector shows them."""
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    digest.update(encoder.encode([PROBE]).tobytes())
    settings = {"column": column, "normalize": normalize, "max_length": encoder.max_length}
    return json.dumps({"texts and model": digest.hexdigest(), **settings}, indent=2) + "\n"


def _finish(partial: Path, target: Path, rows: int, width: int) -> None:
    """Turn raw float32 rows into the file that was asked for, all at once."""
    with atomic_write(target) as finished, partial.open("rb") as raw:
        if target.suffix == ".parquet":
            _write_parquet(raw, finished, width)
        else:
            _write_npy(raw, finished, (rows, width))


def _write_npy(raw: IO[bytes], path: Path, shape: tuple[int, int]) -> None:
    import numpy

    with path.open("wb") as file:
        numpy.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        shutil.copyfileobj(raw, file, 1 << 20)


def _write_parquet(raw: IO[bytes], path: Path, width: int) -> None:
    import numpy

    arrow = _parquet()
    schema = arrow.schema([("embedding", arrow.list_(arrow.float32(), width))])
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        while block := raw.read(WINDOW * width * 4):
            values = arrow.array(numpy.frombuffer(block, dtype="<f4"))
            writer.write_table(
                arrow.table([arrow.FixedSizeListArray.from_arrays(values, width)], schema=schema)
            )
