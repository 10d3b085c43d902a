"""Writing of one shard after the other, sentence by sentence."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from albert_torch.files import atomic_write


class ShardWriter:
    """Collects sentences of token ids, and writes a shard as soon as it has enough tokens.

    Attributes:
        entries: What the index says about each shard that has been written.
    """

    def __init__(self, folder: Path, shard_tokens: int) -> None:
        """Write shards of at least `shard_tokens` tokens (the last one may have fewer)."""
        self.folder = folder
        self.shard_tokens = shard_tokens
        self.entries: list[dict[str, Any]] = []
        self._start_shard()

    def _start_shard(self) -> None:
        self._ids = array("i")  # int32
        self._sentences = array("q", [0])  # int64
        self._documents = array("q", [0])

    @property
    def _sentence_count(self) -> int:
        return len(self._sentences) - 1

    def add_sentence(self, ids: list[int]) -> None:
        """Append a sentence to the current document. An empty one is left out."""
        if ids:
            self._ids.extend(ids)
            self._sentences.append(len(self._ids))
        if len(self._ids) >= self.shard_tokens:
            self.flush()

    def end_document(self) -> None:
        """End the current document, unless it is empty."""
        if self._sentence_count > self._documents[-1]:
            self._documents.append(self._sentence_count)

    def flush(self) -> None:
        """Write the current shard, unless it is empty, and start the next one.

        This ends the current document; what follows of it becomes a document of its own.

        Raises:
            OSError: The file cannot be written, for example because the disk is full.
        """
        self.end_document()
        if not self._ids:
            return
        tensors = {
            "ids": torch.frombuffer(self._ids, dtype=torch.int32),
            "sentences": torch.frombuffer(self._sentences, dtype=torch.int64),
            "documents": torch.frombuffer(self._documents, dtype=torch.int64),
        }
        file = self.folder / f"shard-{len(self.entries):05}.safetensors"
        with atomic_write(file) as temporary:
            save_file(tensors, temporary)
        self.entries.append(
            {
                "file": file.name,
                "bytes": file.stat().st_size,
                "tokens": len(self._ids),
                "sentences": self._sentence_count,
                "documents": len(self._documents) - 1,
            }
        )
        self._start_shard()
