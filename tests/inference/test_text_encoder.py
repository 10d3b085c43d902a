"""`Encoder` and what is built on it, against the plain model in the plainest loop."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import albert_torch
from albert_torch.inference import Encoder
from albert_torch.inference import encode_file as commands
from albert_torch.inference import pipelines as tasks
from albert_torch.inference import text_encoder as encoder

CONFIG = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 72,
}
WORDS = [
    "the",
    "a",
    "film",
    "is",
    "was",
    "not",
    "very",
    "good",
    ",",
    ".",
    "film's",
    "2010,",
    "(yes)",
    "don't",
    "café",
]
TEXTS = [
    "",
    "a film",
    "the " * 90,
    "a film",
    "one, two",
    *(" ".join(WORDS[:n]) for n in range(1, len(WORDS))),
]

pytestmark = pytest.mark.assets


@pytest.fixture(scope="module")
def checkpoint(assets, tmp_path_factory):
    """Make a checkpoint of a class, all parameters drawn, with the published tokenizer."""

    def make(kind, **config):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(kind)
        model = getattr(albert_torch, kind)(
            albert_torch.AlbertConfig(
                vocab_size=30000, max_position_embeddings=64, **CONFIG, **config
            )
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.2)
        model.save_pretrained(folder)
        (folder / "spiece.model").write_bytes((assets / "assets/spiece.model").read_bytes())
        return folder, model.eval()

    return make


@pytest.fixture(scope="module")
def base(checkpoint):
    return checkpoint("AlbertModel")


def expected(model, tokenizer, texts, pooling, max_length=64):
    """One text at a time, no mask, no batch."""
    vectors = []
    for text in texts:
        with torch.no_grad():
            output = model(
                **tokenizer([text], truncation=True, max_length=max_length, return_tensors="pt")
            )
        x = output.last_hidden_state[0]
        vectors.append(
            {"mean": x.mean(0), "cls": x[0], "max": x.amax(0), "pooler": output.pooler_output[0]}[
                pooling
            ]
        )
    return torch.stack(vectors).numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "pooler"])
def test_encode_equals_the_plain_model(base, pooling):
    """Kills: vectors in sorted order, padding in a mean, a text not cut, an empty or repeated text lost."""
    folder, model = base
    ready = Encoder.from_pretrained(folder, pooling=pooling)
    want = expected(model, ready.tokenizer, TEXTS, pooling)
    got = ready.encode(TEXTS)
    assert got.dtype == np.float32
    assert np.abs(got - want).max() < 2e-5
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    assert (
        np.abs(ready.encode([TEXTS[i] for i in order], batch_tokens=30) - want[order]).max() < 2e-5
    )
    assert (
        np.abs(
            ready.encode(TEXTS, normalize=True) - F.normalize(torch.tensor(want), dim=-1).numpy()
        ).max()
        < 2e-5
    )
    assert ready.encode("a film").shape == (48,)
    assert ready.encode([]).shape == (0, 48)


def test_pairs_and_max_length(base):
    """Kills: a lost second segment, `max_length` that is not passed on."""
    folder, model = base
    pairs = [("a film", "not very good"), ("the " * 40, "bad"), ("", "a")]
    ready = Encoder.from_pretrained(folder, max_length=16)
    assert (
        np.abs(ready.encode(pairs) - expected(model, ready.tokenizer, pairs, "mean", 16)).max()
        < 2e-5
    )
    with pytest.raises(ValueError, match="max_length=65 must be from 3 to 64"):
        Encoder.from_pretrained(folder, max_length=65)
    with pytest.raises(ValueError, match="pooling='average' is not known"):
        Encoder.from_pretrained(folder, pooling="average")
    with pytest.raises(ValueError, match="batch_tokens=0"):
        ready.encode(["a"], batch_tokens=0)


def test_encode_iter_reads_little_ahead(base, monkeypatch):
    """Kills: a generator that first reads all of the corpus."""
    monkeypatch.setattr(tasks, "WINDOW", 4)
    ready, read = Encoder.from_pretrained(base[0]), []
    endless = (read.append(i) or TEXTS[i % len(TEXTS)] for i in itertools.count())
    some = list(itertools.islice(ready.encode_stream(endless), 10))
    assert np.abs(np.stack(some) - ready.encode(TEXTS[:10])).max() < 2e-5
    assert len(read) <= 20


def test_a_pooler_that_is_not_there(checkpoint):
    """Kills: vectors from a pooler that was drawn a moment ago."""
    folder, _ = checkpoint("AlbertForMaskedLM")
    with pytest.raises(ValueError, match=r"holds no pooler\.bias, pooler\.weight"):
        Encoder.from_pretrained(folder, pooling="pooler")


def test_predict(checkpoint):
    """Kills: labels of another text, sigmoid for softmax, names that are not the config's."""
    for problem, squash in (
        (None, lambda x: x.softmax(-1)),
        ("multi_label_classification", torch.sigmoid),
        ("regression", lambda x: x),
    ):
        folder, model = checkpoint(
            "AlbertForSequenceClassification",
            id2label={0: "no", 1: "so so", 2: "yes"},
            problem_type=problem,
        )
        ready = Encoder.from_pretrained(folder)
        for text, labels in zip(TEXTS, ready.classify(TEXTS), strict=True):
            with torch.no_grad():
                logits = model(
                    **ready.tokenizer([text], max_length=64, truncation=True, return_tensors="pt")
                ).logits[0]
            want = dict(zip(("no", "so so", "yes"), squash(logits).tolist(), strict=True))
            assert labels == pytest.approx(want, abs=2e-5)
            assert list(labels.values()) == sorted(labels.values(), reverse=True)
    with pytest.raises(
        ValueError, match="needs an AlbertForMaskedLM, not an AlbertForSequenceClassification"
    ):
        ready.fill_mask("a [MASK]")


def test_fill_mask(checkpoint):
    """Kills: the word of another mask, pieces out of order, probabilities over the top few only."""
    folder, model = checkpoint("AlbertForPreTraining")
    ready = Encoder.from_pretrained(folder)
    text = "the [MASK] was not [MASK]."
    batch = ready.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        probabilities = model(**batch).prediction_logits[0].softmax(-1)
    places = (batch["input_ids"][0] == 4).nonzero().squeeze(1)
    filled = ready.fill_mask(text, top_k=3)
    assert len(filled) == len(places) == 2
    for place, tokens in zip(places, filled, strict=True):
        best = probabilities[place].topk(3)
        assert [name for name, _ in tokens] == ready.tokenizer.convert_ids_to_tokens(
            best.indices.tolist()
        )
        assert [p for _, p in tokens] == pytest.approx(best.values.tolist(), abs=1e-6)
    with pytest.raises(ValueError, match=r"hold no \[MASK\]"):
        ready.fill_mask("no mask")


def test_answer_reads_every_window(checkpoint):
    """Kills: an answer in the question, an end before the start, one too long, a window that is skipped or shifted."""
    folder, model = checkpoint("AlbertForQuestionAnswering")
    ready = Encoder.from_pretrained(folder)
    context = " ".join(f"word{i} {WORDS[i % 10]}" for i in range(60))
    got = ready.answer("who is it?", context, stride=8, max_answer_length=4)
    windows = ready.tokenizer(
        [("who is it?", context)],
        truncation="only_second",
        max_length=64,
        stride=8,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    spans = {}
    for ids, types, offsets in zip(
        windows["input_ids"], windows["token_type_ids"], windows["offset_mapping"], strict=True
    ):
        with torch.no_grad():
            output = model(torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        inside = [i for i, kind in enumerate(types) if kind == 1 and ids[i] != 3]
        for i, j in itertools.product(inside, inside):
            if i <= j < i + 4:
                score = float(output.start_logits[0, i] + output.end_logits[0, j])
                spans.setdefault((offsets[i][0], offsets[j][1]), []).append(score)
    assert len(windows["input_ids"]) > 3
    assert (got.start, got.end) == max(spans, key=lambda span: max(spans[span]))
    assert got.text == context[got.start : got.end]
    everything = torch.tensor([score for scores in spans.values() for score in scores])
    assert got.score == pytest.approx(float(everything.softmax(0).max()), rel=1e-4)
    with pytest.raises(ValueError, match="no token that could be an answer"):
        ready.answer("who?", "   ")


# ---- embed ----


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    return path


def test_embed_reads_and_writes_every_kind(base, tmp_path, texts_file):
    """Kills: a blank line that shifts the rest, a wrong header, a column that is ignored, litter left behind."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    ready = Encoder.from_pretrained(base[0])
    want = ready.encode([text.rstrip("\n") for text in TEXTS])
    (tmp_path / "texts.jsonl").write_text(
        "".join(f'{{"say": "{text}"}}\n' for text in TEXTS), encoding="utf-8"
    )
    parquet.write_table(pyarrow.table({"say": TEXTS}), tmp_path / "texts.parquet")
    for source, target in itertools.product(
        ("texts.txt", "texts.jsonl", "texts.parquet"), ("out.npy", "out.parquet")
    ):
        assert commands.embed(
            ready, tmp_path / source, tmp_path / target, column="say", show=False
        ) == len(TEXTS)
        if target == "out.npy":
            got = np.load(tmp_path / target)
        else:
            got = np.array(
                parquet.read_table(tmp_path / target)["embedding"].to_pylist(), dtype=np.float32
            )
        assert np.abs(got - want).max() < 1e-6
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_embed_says_what_is_wrong(base, tmp_path, texts_file):
    """Kills: a traceback from a library for a wrong file."""
    ready = Encoder.from_pretrained(base[0])
    with pytest.raises(ValueError, match=r"must end in \.npy or \.parquet"):
        commands.embed(ready, texts_file, tmp_path / "out.txt")
    with pytest.raises(FileNotFoundError, match="is no file"):
        commands.embed(ready, tmp_path / "none.txt", tmp_path / "out.npy")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"other": 1}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 2 has no column 'text'"):
        commands.embed(ready, tmp_path / "bad.jsonl", tmp_path / "out.npy", show=False)
    (tmp_path / "bad.jsonl").write_text("nonsense\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 1 is not valid JSON"):
        commands.embed(ready, tmp_path / "bad.jsonl", tmp_path / "out.npy", show=False)


def test_embed_goes_on_where_it_was_and_starts_anew_when_the_job_changed(
    base, tmp_path, texts_file, monkeypatch
):
    """Kills: work done twice, half a vector kept, vectors of two settings in one file."""
    monkeypatch.setattr(tasks, "WINDOW", 4)
    monkeypatch.setattr(commands, "WINDOW", 4)
    ready, target = Encoder.from_pretrained(base[0]), tmp_path / "out.npy"
    commands.embed(ready, texts_file, target, show=False)
    want, counted = target.read_bytes(), []
    target.unlink()
    original = encoder.Encoder.windows

    def stop_after_two(self, texts, **how):
        texts = list(texts)
        yield from itertools.islice(original(self, texts, **how), 2)
        if texts != [commands.PROBE]:
            counted.append(len(texts))
            raise KeyboardInterrupt

    monkeypatch.setattr(encoder.Encoder, "windows", stop_after_two)
    for normalize in (True, False):
        with pytest.raises(KeyboardInterrupt):
            commands.embed(ready, texts_file, target, normalize=normalize, show=False)
    with (tmp_path / ".out.npy.partial").open("ab") as file:
        file.write(b"half a vector")
    with pytest.raises(KeyboardInterrupt):
        commands.embed(ready, texts_file, target, show=False)
    assert not target.exists()
    monkeypatch.setattr(encoder.Encoder, "windows", original)
    assert commands.embed(ready, texts_file, target, show=False) == len(TEXTS)
    assert target.read_bytes() == want
    assert counted == [len(TEXTS), len(TEXTS), len(TEXTS) - 8]


def test_embed_survives_being_killed(base, tmp_path, texts_file):
    """Kills: a file that a kill leaves half written, or that differs after going on."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nimport torch\n"
        "from albert_torch.inference import Encoder, commands, tasks\n"
        "torch.set_num_threads(1)\ntasks.WINDOW = commands.WINDOW = 2\n"
        "encode = Encoder._pool\n"
        "Encoder._pool = lambda *args: time.sleep(float(sys.argv[4])) or encode(*args)\n"
        "commands.embed(Encoder.from_pretrained(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), show=False)\n"
    )
    target, partial = tmp_path / "killed.npy", tmp_path / ".killed.npy.partial"

    def run(out, seconds):
        return subprocess.Popen([sys.executable, script, base[0], texts_file, out, str(seconds)])

    process = run(target, 0.2)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (partial.exists() and partial.stat().st_size):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial.stat().st_size
    assert not target.exists()
    assert run(target, 0).wait() == 0
    assert run(tmp_path / "whole.npy", 0).wait() == 0
    assert target.read_bytes() == (tmp_path / "whole.npy").read_bytes()
