"""`--plugin`: a head and a task from outside the package work with every command."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.constants import ROOT
from helpers.small_runs import SHAPE, vocabulary
from helpers.word_models import CommandLine, run_process

from albert_torch.finetuning import TASKS
from albert_torch.heads import HEADS

pytest.importorskip("accelerate")

LINES = ["good w1 w2", "bad w1", "w3 good", "good w4 w5 w6", "w7 w8", "good w9"] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin, data, a recipe, and the run that the plugin's task and head make of them."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copy(ROOT / "tests" / "helpers" / "toy_plugin.py", folder / "toy.py")
    (folder / "data").mkdir()
    for name in ("train", "dev"):
        (folder / "data" / f"{name}.txt").write_text("\n".join(LINES) + "\n")
    (folder / "texts.txt").write_text("\n".join(LINES[:3]) + "\n")
    vocabulary(folder / "vocabulary")
    values = {"tokenizer": "vocabulary", "steps": 60, "batch_size": 8, "learning_rate": 5e-3}
    recipe = [f"{key} = {json.dumps(value)}" for key, value in {**values, "max_length": 16}.items()]
    shape = [f"{key} = {value}" for key, value in SHAPE.items()]
    (folder / "toy.toml").write_text("\n".join([*recipe, "[model_config]", *shape]) + "\n")
    command = ["finetune", "toy.toml", "--task", "toy:ToyTask", "--data", "data", "--out", "run"]
    result = run_process(*command, cwd=folder)  # the module is in the current directory
    assert result.returncode == 0, result.stderr
    assert "best accuracy" in result.stdout
    return folder


@pytest.fixture
def plugin_cli(
    cli: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    """Runs commands in the folder, and forgets the plugin afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    heads, tasks = dict(HEADS), dict(TASKS)
    yield cli
    for table, before in ((HEADS, heads), (TASKS, tasks)):
        for name in table.keys() - before.keys():
            del table[name]
    sys.modules.pop("toy", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--plugin", "toy.py", "finetune", "toy.toml", "--task", "toy"],
        ["finetune", "toy.toml", "--task", "toy", "--plugin=toy"],
        ["finetune", "toy.toml", "--plugin", "toy.py", "--task=toy:ToyTask"],
    ],
)
def test_a_task_is_named_by_module_or_registered_by_a_plugin(
    plugin_cli: CommandLine, folder: Path, tmp_path: Path, arguments: list[str]
) -> None:
    """Catches: a plugin that is imported too late for its task, or its option, to be known."""
    options = ["--data", "data", "--steps", "2", "--out", tmp_path / "run", "--first-word", "w3"]
    plugin_cli.output(*arguments, *options)
    assert 'first_word = "w3"' in (tmp_path / "run" / "recipe.toml").read_text()


def test_the_help_shows_the_options_of_the_task(
    plugin_cli: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches: options of a task that one can only find in its source."""
    with pytest.raises(SystemExit):
        plugin_cli("finetune", "toy.toml", "--task", "toy:ToyTask", "--out", "x", "--help")
    out = capsys.readouterr().out
    assert "options of the task toy:ToyTask" in out
    assert "--first-word" in out
    assert "--doc-stride" not in out


def test_convert_and_parity_know_the_head(plugin_cli: CommandLine, folder: Path) -> None:
    """Catches: a head that these commands only know from a list of their own."""
    plugin = ["--plugin", "toy.py"]
    plugin_cli.output("convert", "run", "converted", *plugin)
    config = json.loads((folder / "converted" / "config.json").read_text())
    assert config["architectures"] == ["AlbertForToyClassification"]
    options = ["--dtype", "float64", "--head", "ToyClassification", "--quiet"]
    out = plugin_cli.output("parity", "converted", *options, *plugin)
    assert "ToyClassification" in out
    assert "EQUAL" in out


def test_classify_and_embed_use_the_trained_head(plugin_cli: CommandLine, folder: Path) -> None:
    """Catches: a model of a plugin that can be trained and not be used."""
    plugin = ["--model", "run", "--plugin", "toy.py"]
    out = plugin_cli.output("classify", "texts.txt", *plugin)
    assert [json.loads(line)["label"] for line in out.splitlines()] == ["good", "other", "other"]
    out = plugin_cli.output("embed", "texts.txt", "vectors.npy", *plugin, "--quiet")
    assert out == f"3 vectors of {SHAPE['hidden_size']} numbers in vectors.npy\n"


def test_without_the_plugin(plugin_cli: CommandLine, tmp_path: Path) -> None:
    """Catches: a model that loses its head silently."""
    options = ["--data", "data", "--out", tmp_path / "run"]
    message = plugin_cli.error("finetune", "toy.toml", "--task", "toy", *options)
    assert "task='toy' is not known" in message
    code, out, err = plugin_cli("classify", "texts.txt", "--model", "run")
    assert (code, out) == (2, "")
    assert err.startswith("albert-torch classify: ")


def test_a_plugin_that_fails_says_where(plugin_cli: CommandLine, tmp_path: Path) -> None:
    """Catches: a traceback for a mistake in a plugin; a half-imported module that stays."""
    (tmp_path / "broken.py").write_text("import sys\nraise RuntimeError('not today')\n")
    path = str(tmp_path / "broken.py")
    for _ in range(2):
        message = plugin_cli.error("recipes", "--plugin", path)
        assert message.endswith(f"--plugin {path} cannot be imported (RuntimeError: not today)")
    (tmp_path / "json.py").write_text("")
    message = plugin_cli.error("recipes", "--plugin", str(tmp_path / "json.py"))
    assert "a module called 'json' is already loaded; rename the file" in message
