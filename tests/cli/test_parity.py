"""`albert-torch parity`: exit codes, reports, and mistakes."""

import json
import sys
from pathlib import Path

import pytest
from helpers.constants import SHARED
from helpers.word_models import CommandLine

from albert_torch.layers import AlbertLayer
from albert_torch.parity.reference import generate_checkpoint

FAST = ["--dtype", "float64", "--backend", "unpad"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("checkpoint")
    generate_checkpoint("MaskedLM", {**SHARED, "max_position_embeddings": 16}, directory, seed=0)
    return str(directory)


def test_equal_exits_0_and_writes_what_was_asked_for(
    cli: CommandLine, checkpoint: str, tmp_path: Path
) -> None:
    """Catches: progress among the results, a missing report, an option that is ignored."""
    files = [tmp_path / "x.json", tmp_path / "x.html"]
    arguments = ["parity", checkpoint, "--json", files[0], "--html", files[1], *FAST]
    options = ["--head", "AlbertForMaskedLM", "--seed", "3", "--threads", "1"]
    code, out, err = cli(*arguments, *options)
    assert code == 0
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
    cli: CommandLine, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a difference that is printed and not signalled."""
    feed_forward = AlbertLayer.feed_forward
    monkeypatch.setattr(
        AlbertLayer, "feed_forward", lambda self, x: feed_forward(self, x) * 1.00001
    )
    code, out, _ = cli("parity", checkpoint, "--head", "Model", *FAST)
    assert code == 1
    assert out.splitlines()[-1].startswith("DIFFERENT: ")
    assert "  first hidden 1/6: " in out
    assert "DIFFERS" in out
    tolerance = ["--tolerance", "float64=1"]
    assert cli("parity", checkpoint, "--head", "Model", *FAST, *tolerance).code == 0


def test_quiet_shows_only_the_result(cli: CommandLine, checkpoint: str) -> None:
    """Catches: progress in the log of a scheduled job."""
    assert cli("parity", checkpoint, "--head", "Model", *FAST, "--quiet").err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./nowhere"], "'./nowhere' is not a directory"),
        (["{}", "--dtype", "int8"], "'int8'"),
        (["{}", "--backend", "fast"], "'fast'"),
        (["{}", "--head", "QuestionAnswering"], "QuestionAnswering"),
        (["{}", "--text", "nowhere.txt"], "no tokenizer"),
        (["--text", "nowhere.txt"], "no tokenizer"),
        (["{}", "--tolerance", "float32"], "--tolerance float32: write a dtype and a number"),
        (["{}", "--threads", "0"], "--threads 0: give a number above 0"),
        (["{}", "--json", "nowhere/x.json"], "--json nowhere/x.json: the directory nowhere does"),
        (["{}", "--html", "nowhere/x.html"], "--html nowhere/x.html: the directory nowhere does"),
    ],
)
def test_a_check_that_cannot_run_exits_2(
    cli: CommandLine, checkpoint: str, arguments: list[str], message: str
) -> None:
    """Catches: a traceback; exit code 1, which says different, for a check that never ran."""
    filled = [argument.format(checkpoint) for argument in arguments]
    assert message in cli.error("parity", *filled)
    with pytest.raises((ValueError, FileNotFoundError)):
        cli("parity", *filled, "--debug")


@pytest.mark.parametrize(
    ("library", "options"), [("transformers", []), ("matplotlib", ["--html", "{}/x.html"])]
)
def test_without_an_extra_the_command_says_what_to_install(
    cli: CommandLine,
    checkpoint: str,
    tmp_path: Path,
    library: str,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Catches: an error that names no extra; a check of minutes that cannot write its page."""
    monkeypatch.setitem(sys.modules, library, None)
    filled = [option.format(tmp_path) for option in options]
    message = cli.error("parity", checkpoint, *FAST, *filled)
    assert library in message
    assert message.endswith("pip install 'albert-torch[parity]'")
