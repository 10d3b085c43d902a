"""Tiny models with a vocabulary of a few words, and the commands' results in this process."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import albert_torch
from albert_torch.cli.main import main
from helpers.constants import ROOT, SHARED

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "a", "ship", "captain", "stood", "on", "deck", "of", "sea", "."]


def save_word_model(class_name: str, directory: Path, **config: Any) -> Path:
    """Write a randomly initialised model of a class, and its vocabulary, to a directory."""
    torch.manual_seed(0)
    vocabulary = [*SPECIAL_TOKENS, *WORDS]
    shape = {**SHARED, "vocab_size": len(vocabulary), "max_position_embeddings": 40}
    model = getattr(albert_torch, class_name)(albert_torch.AlbertConfig(**{**shape, **config}))
    model.save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(vocabulary))
    return directory


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs the command in this process, with the given standard input."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys = capsys
        self.monkeypatch = monkeypatch

    def __call__(self, *arguments: str | Path, stdin: str | bytes = "") -> Outcome:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        self.monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = self.capsys.readouterr()
        return Outcome(code, out, err)

    def output(self, *arguments: str | Path, stdin: str | bytes = "") -> str:
        """Standard output of a command that succeeds."""
        code, out, err = self(*arguments, stdin=stdin)
        assert code == 0, err
        return out

    def error(self, *arguments: str | Path, stdin: str | bytes = "") -> str:
        """The one line that a command that cannot run writes to standard error."""
        code, out, err = self(*arguments, stdin=stdin)
        assert code == 2, (out, err)
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("albert-torch")
        return err.rstrip("\n")


def run_process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m albert_torch` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "albert_torch", *arguments],
        **{"capture_output": True, "text": True, "env": environment, "cwd": ROOT, **options},
    )
