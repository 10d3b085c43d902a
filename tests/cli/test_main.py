"""The command itself: help, version, exit codes, errors in one line, pipes, start-up."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.constants import ROOT
from helpers.word_models import CommandLine, run_process

import albert_torch
from albert_torch.cli.main import COMMANDS, main

NAMES = [name for names in COMMANDS.values() for name in names]


def test_there_is_a_command_for_each_module() -> None:
    """Catches: a subcommand that is written and cannot be called."""
    modules = {path.stem for path in (ROOT / "albert_torch" / "cli").glob("*.py")}
    shared = {"__init__", "inputs", "main", "options", "parser", "plugins", "recipe_options"}
    assert modules - shared - {"results"} == {name.replace("-", "_") for name in NAMES}


def test_help_explains_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: a command that the help leaves out, an exit code that is not documented."""
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for name in NAMES:
        assert re.search(rf"^  {name} +[A-Z].*\.$", out, re.MULTILINE), name
    for code in ("0", "1", "2", "130", "141"):
        assert re.search(rf"^  {code} +\w", out, re.MULTILINE), code
    assert "--plugin MODULE" in out


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_each_command_has_examples(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: an option without help, an example that names an option that does not exist."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "\nexamples:\n" in out
    assert f"  albert-torch {name}" in out
    for option in ("--quiet", "--debug", "--plugin MODULE"):
        assert re.search(rf"^  {option} +\w", out, re.MULTILINE)
    assert not re.search(r"^  (--?[\w-]+,? ?)+( [A-Z_,.=]+)?\n(  -|\n)", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 98
    lines = out.partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    assert max(map(len, lines)) <= 88
    options = set(re.findall(r"--[a-z][a-z-]*[a-z]", out.partition("\nexamples:\n")[0]))
    examples = out.partition("\nexamples:\n")[2].partition("\n\n")[0].replace(" \\\n", " ")
    for line in examples.splitlines():
        for used in re.findall(rf"albert-torch {name} (.*)", line):
            without_comment = re.sub(r" \(.*", "", used)
            assert set(re.findall(r"--[a-z][a-z-]*", without_comment)) <= options, line


def test_help_shows_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Catches: an option whose default one can only find in the source."""
    for name, defaults in {
        "fill-mask": ("albert-torch/nano", "5"),
        "embed": ("mean",),
        "parity": ("0",),
    }.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        out = " ".join(capsys.readouterr().out.split())
        for default in defaults:
            assert f"(default: {default})" in out
        assert "(default: [" not in out
        assert "(default: None" not in out


def test_version_and_help_do_not_import_torch() -> None:
    """Catches: a start of seconds for `albert-torch --version` or `--help`."""
    code = """
import sys
from albert_torch.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "huggingface_hub", "tokenizers", "numpy", "transformers", "matplotlib"}
print(sorted(heavy & sys.modules.keys()))
"""
    for arguments in (["--help"], ["--version"], ["recipes"], ["clasify"], ["embed", "--help"]):
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT
        )
        assert result.stdout.splitlines()[-1] == "[]", (arguments, result)


def test_script_and_module_are_one_command() -> None:
    """Catches: an entry point that parses for itself, a version other than the package's."""
    version = f"albert-torch {albert_torch.__version__}\n"
    assert run_process("--version").stdout == version
    for script, command in (("parity_check", "parity"), ("finetune", "finetune")):
        path = str(ROOT / "scripts" / f"{script}.py")
        by_script = subprocess.run(
            [sys.executable, path, "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert by_script.returncode == 0
        assert by_script.stdout == run_process(command, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "albert-torch: name a command; see albert-torch --help"),
        (["--plugin=json"], "albert-torch: name a command; see albert-torch --help"),
        (["--verison"], "there is no option --verison (did you mean --version?); see albert-torch"),
        (["clasify"], "there is no command 'clasify' (did you mean classify?); the commands are"),
        (["-q"], "albert-torch: "),
        (["embed", "--output", "x"], "albert-torch embed: there is no option --output"),
        (["recipes", "--plugin"], "--plugin needs the name of a module or the path of a .py file"),
        (["--plugin", "no_such", "recipes"], "--plugin no_such cannot be imported (ModuleNotFoun"),
        (["recipes", "--plugin=x.py"], "--plugin x.py cannot be imported (FileNotFoundError: "),
    ],
)
def test_mistakes_exit_2_with_one_line(
    cli: CommandLine, arguments: list[str], message: str
) -> None:
    """Catches: a page of usage in place of the mistake, a suggestion that is not made."""
    assert message in cli.error(*arguments)


def test_debug_shows_the_traceback(cli: CommandLine) -> None:
    """Catches: `--debug` that does nothing."""
    with pytest.raises(ValueError, match="no packaged recipe"):
        cli("recipes", "copy", "nothing", "--debug")
    with pytest.raises(ValueError, match="cannot be imported"):
        cli("recipes", "--plugin", "no_such", "--debug")


def test_an_interrupt_exits_130(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a traceback at Ctrl-C."""

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("albert_torch.cli.recipes.packaged_recipes", interrupted)
    code, out, err = cli("recipes")
    assert (code, out, err) == (130, "", "\nalbert-torch recipes: interrupted\n")


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    """Catches: a traceback of BrokenPipeError after `albert-torch ... | head -1`."""
    lines = tmp_path / "lines.txt"
    lines.write_text("a [MASK]\n" * 600)
    command = f"{sys.executable} -m albert_torch"
    for arguments, count in ((f"fill-mask {lines}", 1), ("recipes", 1), ("--help", 2)):
        script = f"set -o pipefail; {command} {arguments} | head -{count}"
        result = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300
        )
        assert result.stderr == ""
        assert result.returncode in (0, 141)  # 0: all was written before the pipe was closed
        assert result.stdout.count("\n") == count
    assert "BrokenPipe" not in result.stderr


def test_a_system_error_names_the_file(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: "[Errno 13] ..." in place of a sentence."""

    def refused(*args: Any) -> None:
        raise PermissionError(13, "Permission denied", "sst2.toml")

    monkeypatch.setattr("albert_torch.cli.recipes.atomic_write_text", refused)
    message = cli.error("recipes", "copy", "sst2", tmp_path / "x.toml")
    assert message == "albert-torch recipes: sst2.toml: Permission denied"
