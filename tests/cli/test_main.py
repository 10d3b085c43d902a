"""The command: exit codes, what goes to stdout and what to stderr, files written, conversion of every source."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.constants import ROOT, SHARED, TINY
from safetensors.torch import load_file

import albert_torch
from albert_torch.cli.main import main
from albert_torch.parity.inputs import generate

FAST = ["--dtype", "float64", "--backend", "unpad"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    generate("MaskedLM", {**SHARED, "max_position_embeddings": 16}, directory, seed=0)
    return directory


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )


def test_equal_exits_0_and_writes_what_was_asked_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: progress among the results, a file that is not written, an option that is dropped on the way."""
    files = [tmp_path / "x.json", tmp_path / "x.html"]
    arguments = ["parity", str(checkpoint), "--json", str(files[0]), "--html", str(files[1]), *FAST]
    assert main([*arguments, "--head", "AlbertForMaskedLM", "--seed", "3", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith("EQUAL: ")
    assert err == f"[1/1] {checkpoint}: MaskedLM\n"
    content = json.loads(files[0].read_text())
    assert content["command"].startswith(f"albert-torch parity {checkpoint} --json")
    assert {row["head"] for row in content["measurements"]} == {"MaskedLM"}
    assert {row["dtype"] for row in content["measurements"]} == {"", "float64"}
    assert {row["backend"] for row in content["measurements"]} == {"", "unpad"}
    assert content["environment"]["threads"] == 1
    assert files[1].read_text().startswith("<!doctype html>")


def test_different_exits_1_and_names_the_layer(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a difference that is printed and not signalled."""
    feed_forward = albert_torch.model.AlbertLayer.feed_forward
    monkeypatch.setattr(
        albert_torch.model.AlbertLayer,
        "feed_forward",
        lambda self, x: feed_forward(self, x) * 1.00001,
    )
    assert main(["parity", str(checkpoint), "--head", "Model", *FAST]) == 1
    out, _ = capsys.readouterr()
    assert out.splitlines()[-1].startswith("DIFFERENT: ")
    assert "  first hidden 1/6: " in out
    assert "DIFFERS" in out
    assert (
        main(["parity", str(checkpoint), "--head", "Model", *FAST, "--tolerance", "float64=1"]) == 0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parity", "./nowhere"], r"'./nowhere' is not a directory"),
        (["parity", "{}", "--dtype", "int8"], "no dtype 'int8'; there are float64"),
        (
            ["parity", "{}", "--head", "QuestionAnswering"],
            "does not fill QuestionAnswering; it fills Model, MaskedLM",
        ),
        (["parity", "{}", "--text", "nowhere.txt"], "has no tokenizer to read nowhere.txt with"),
        (["parity", "--text", "nowhere.txt"], "generated checkpoints have no tokenizer"),
        (
            ["parity", "{}", "--tolerance", "float32"],
            "--tolerance float32: write a dtype and a number",
        ),
        (["parity", "{}", "--threads", "0"], "--threads 0: give a number above 0"),
        (
            ["parity", "{}", "--json", "nowhere/x.json"],
            "--json nowhere/x.json: the directory nowhere does not exist",
        ),
        (["convert", "./nowhere", "there"], r"'./nowhere' is not a directory"),
    ],
)
def test_what_cannot_run_exits_2_with_one_sentence(
    checkpoint: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: a traceback, exit 1 (which says different) for a check that never ran."""
    arguments = [argument.format(checkpoint) for argument in arguments]
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"albert-torch {arguments[0]}: .*{message}.*\n", err)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        main([*arguments, "--debug"])


@pytest.mark.parametrize(
    ("library", "options"), [("transformers", []), ("matplotlib", ["--html", "{}/x.html"])]
)
def test_without_an_extra_the_command_says_what_to_install(
    checkpoint: Path,
    tmp_path: Path,
    library: str,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kills: an ImportError that names no extra, a check of minutes that then cannot write its page."""
    monkeypatch.setitem(sys.modules, library, None)
    assert (
        main(["parity", str(checkpoint), *FAST, *(option.format(tmp_path) for option in options)])
        == 2
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        rf"albert-torch parity: .*{library}.* pip install 'albert-torch\[parity\]'\n", err
    )


def test_an_interrupt_exits_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: a traceback at Ctrl-C."""

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("albert_torch.parity.check", interrupted)
    assert main(["parity"]) == 130
    assert capsys.readouterr().err.strip() == "albert-torch parity: interrupted"


def test_script_module_and_command_are_one(checkpoint: Path) -> None:
    """Kills: an entry point that parses for itself, `--version` that differs from the package."""
    assert (
        process("-m", "albert_torch", "--version").stdout
        == f"albert-torch {albert_torch.__version__}\n"
    )
    options = [str(checkpoint), "--head", "Model", *FAST]
    by_script = process("scripts/parity_check.py", *options)
    by_module = process("-m", "albert_torch", "parity", *options)
    assert by_script.returncode == by_module.returncode == 0
    seconds = re.compile(r"\(\d+ s\)")
    assert seconds.sub("", by_script.stdout) == seconds.sub("", by_module.stdout)


def test_the_command_itself_imports_nothing_heavy() -> None:
    """Kills: `albert-torch --help` that waits for transformers and matplotlib."""
    code = "import sys, albert_torch.cli.main; print(sorted({'transformers', 'matplotlib'} & sys.modules.keys()))"
    assert process("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("kind", ["bin", "sharded", "module", "gamma"])
def test_convert_reads_every_source(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: a conversion that changes a number or a name, or that transformers cannot read."""
    source, target = tmp_path / "source", tmp_path / "target"
    generate("MaskedLM", TINY, source, seed=0)
    want = load_file(source / "model.safetensors")
    if kind == "sharded":
        model = transformers.AlbertForMaskedLM.from_pretrained(source)
        model.save_pretrained(source, max_shard_size="10KB")
        (source / "model.safetensors").unlink(missing_ok=True)
    else:
        rename = {
            "bin": lambda key: key,
            "module": lambda key: f"module.{key}",
            "gamma": lambda key: re.sub(r"(LayerNorm|layer_norm)\.bias", r"\1.beta",
                                        re.sub(r"(LayerNorm|layer_norm)\.weight", r"\1.gamma", key)),
        }[kind]  # fmt: skip
        torch.save(
            {rename(key): value for key, value in want.items()}, source / "pytorch_model.bin"
        )
        (source / "model.safetensors").unlink()
    assert main(["convert", str(source), str(target)]) == 0
    assert capsys.readouterr().out == f"{source} -> {target}: config.json, model.safetensors\n"
    got = load_file(target / "model.safetensors")
    assert got.keys() == want.keys()
    assert all(torch.equal(got[key], want[key]) for key in want)
    assert main(["parity", str(target), "--head", "MaskedLM", *FAST]) == 0


WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "ship",
    "captain",
    "stood",
    "on",
    "deck",
    "of",
    ".",
]


def with_words(kind: str, folder: Path) -> Path:
    """A checkpoint of a class with a vocabulary of words."""
    config = albert_torch.AlbertConfig(
        **{**SHARED, "vocab_size": len(WORDS), "max_position_embeddings": 40}
    )
    getattr(albert_torch, kind)(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return folder


def test_embed_writes_a_vector_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kills: an option of the command that does not reach the encoder."""
    numpy = pytest.importorskip("numpy")
    folder, texts, target = (
        with_words("AlbertModel", tmp_path / "model"),
        tmp_path / "texts.txt",
        tmp_path / "x.npy",
    )
    texts.write_text("the captain\nthe ship stood on\n")
    files, options = [str(texts), str(target)], ["--quiet", "--normalize", "--pooling", "cls"]
    assert main(["embed", "--model", str(folder), *files, *options]) == 0
    assert capsys.readouterr().out == f"2 vectors of {SHARED['hidden_size']} numbers in {target}\n"
    vectors = numpy.load(target)
    want = albert_torch.Encoder.from_pretrained(folder, pooling="cls").encode(
        ["the captain"], normalize=True
    )
    assert numpy.abs(vectors[0] - want[0]).max() < 1e-6


def test_classify_fill_mask_and_answer_print_what_the_heads_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: a command that prints another text's labels, words or answer."""
    text = tmp_path / "text.txt"
    text.write_text("the captain stood on the deck of the ship .")
    classifier = with_words("AlbertForSequenceClassification", tmp_path / "classifier")
    assert main(["classify", "--model", str(classifier), str(text)]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    assert set(scores) == {"LABEL_0", "LABEL_1"}
    mlm = with_words("AlbertForMaskedLM", tmp_path / "mlm")
    assert (
        main(
            [
                "fill-mask",
                "--model",
                str(mlm),
                "the captain stood on the [MASK] .",
                "--top-k",
                "3",
                "--format",
                "text",
            ]
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("mask 1 ") and line.split()[-1] in WORDS for line in lines)
    reader = with_words("AlbertForQuestionAnswering", tmp_path / "reader")
    assert (
        main(
            [
                "answer",
                "--model",
                str(reader),
                "the captain stood on",
                str(text),
                "--format",
                "text",
            ]
        )
        == 0
    )
    answer, about = capsys.readouterr().out.splitlines()
    start, end = map(int, re.findall(r"\d+", about.split(", characters ")[1]))
    assert text.read_text()[start:end] == answer
    assert main(["answer", "--model", str(mlm), "the captain", str(text)]) == 2
    assert "AlbertForQuestionAnswering" in capsys.readouterr().err
