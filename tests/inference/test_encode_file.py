"""`encode_file`: formats, errors, and resuming after an interruption."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from albert_torch.inference import Encoder, text_model
from albert_torch.inference import encode_file as module
from albert_torch.inference.encode_file import encode_file

TEXTS = ["", "a film", "the " * 90, "a film", "one, two", *("very " * n for n in range(1, 15))]

pytestmark = pytest.mark.assets


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    return path


def test_every_format_is_read_and_written(base, tmp_path, texts_file):
    """Catches: a blank line that shifts the following texts; a wrong header; a column that is
    ignored; temporary files that are left behind."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    encoder = Encoder.from_pretrained(base[0])
    want = encoder.encode(TEXTS)
    (tmp_path / "texts.jsonl").write_text(
        "".join(f'{{"say": "{text}"}}\n' for text in TEXTS), encoding="utf-8"
    )
    parquet.write_table(pyarrow.table({"say": TEXTS}), tmp_path / "texts.parquet")
    for source, target in itertools.product(
        ("texts.txt", "texts.jsonl", "texts.parquet"), ("out.npy", "out.parquet")
    ):
        count = encode_file(
            encoder, tmp_path / source, tmp_path / target, column="say", show_progress_bar=False
        )
        assert count == len(TEXTS)
        if target == "out.npy":
            got = np.load(tmp_path / target)
        else:
            rows = parquet.read_table(tmp_path / target)["embedding"].to_pylist()
            got = np.array(rows, dtype=np.float32)
        assert np.abs(got - want).max() < 1e-6
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_errors_name_the_problem(base, tmp_path, texts_file):
    """Catches: a traceback from a library for a wrong file."""
    encoder = Encoder.from_pretrained(base[0])
    with pytest.raises(ValueError, match=r"must end in \.npy or \.parquet"):
        encode_file(encoder, texts_file, tmp_path / "out.txt")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        encode_file(encoder, tmp_path / "none.txt", tmp_path / "out.npy")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"other": 1}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 2 has no column 'text'"):
        encode_file(encoder, tmp_path / "bad.jsonl", tmp_path / "out.npy", show_progress_bar=False)
    (tmp_path / "bad.jsonl").write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 1 is not valid JSON"):
        encode_file(encoder, tmp_path / "bad.jsonl", tmp_path / "out.npy", show_progress_bar=False)


def test_a_run_resumes_and_starts_again_when_the_job_changed(
    base, tmp_path, texts_file, monkeypatch
):
    """Catches: work that is done twice; half a vector that is kept; vectors of two settings in one
    file."""
    monkeypatch.setattr(text_model, "WINDOW_TEXTS", 4)
    encoder, target = Encoder.from_pretrained(base[0]), tmp_path / "out.npy"
    encode_file(encoder, texts_file, target, show_progress_bar=False)
    want, counts = target.read_bytes(), []
    target.unlink()
    original = Encoder.encode_windows

    def stop_after_two(self, texts, **options):
        texts = list(texts)
        yield from itertools.islice(original(self, texts, **options), 2)
        if texts != [module.FINGERPRINT_TEXT]:
            counts.append(len(texts))
            raise KeyboardInterrupt

    monkeypatch.setattr(Encoder, "encode_windows", stop_after_two)
    for normalize_embeddings in (True, False):
        with pytest.raises(KeyboardInterrupt):
            encode_file(
                encoder,
                texts_file,
                target,
                normalize_embeddings=normalize_embeddings,
                show_progress_bar=False,
            )
    with (tmp_path / ".out.npy.partial").open("ab") as file:
        file.write(bytes(48 * 4) + b"half a vector")  # not a whole window
    with pytest.raises(KeyboardInterrupt):
        encode_file(encoder, texts_file, target, show_progress_bar=False)
    assert not target.exists()
    monkeypatch.setattr(Encoder, "encode_windows", original)
    count = encode_file(encoder, texts_file, target, show_progress_bar=False)
    assert count == len(TEXTS)
    assert target.read_bytes() == want
    assert counts == [len(TEXTS), len(TEXTS), len(TEXTS) - 8]


SCRIPT = """
import sys, time
import torch
from albert_torch.inference import Encoder, text_model
from albert_torch.inference.encode_file import encode_file
model, source, target, seconds = sys.argv[1:]
torch.set_num_threads(1)
text_model.WINDOW_TEXTS = 2
pool = Encoder._pool
Encoder._pool = lambda *args: time.sleep(float(seconds)) or pool(*args)
encode_file(Encoder.from_pretrained(model), source, target, show_progress_bar=False)
"""


def test_a_run_survives_being_killed(base, tmp_path, texts_file):
    """Catches: a file that a kill leaves half written, or that differs after resuming."""
    target, partial = tmp_path / "killed.npy", tmp_path / ".killed.npy.partial"

    def start(out, seconds):
        command = [sys.executable, "-c", SCRIPT, base[0], texts_file, out, str(seconds)]
        return subprocess.Popen(command)

    process = start(target, 0.2)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial.stat().st_size
    assert not target.exists()
    assert start(target, 0).wait() == 0
    assert start(tmp_path / "whole.npy", 0).wait() == 0
    assert target.read_bytes() == (tmp_path / "whole.npy").read_bytes()
