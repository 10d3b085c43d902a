"""`albert-torch recipes`: the table, and copies to edit."""

from pathlib import Path

import pytest
from helpers.constants import ROOT
from helpers.word_models import CommandLine

from albert_torch.recipe_files import packaged_recipes


def test_the_table_names_every_recipe_task_and_purpose(cli: CommandLine) -> None:
    """Catches: a recipe that is packaged and not listed."""
    lines = cli.output("recipes").splitlines()
    assert len(lines) == len(packaged_recipes())
    for line, recipe in zip(lines, packaged_recipes(), strict=True):
        name, task, description = line.split(maxsplit=2)
        assert (name, task, description) == (recipe.name, recipe.task, recipe.description)
    assert cli.output("recipes", "list").splitlines() == lines


def test_copy_writes_the_file_to_edit(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a copy under another name than it says, or with other contents."""
    monkeypatch.chdir(tmp_path)
    want = (ROOT / "configs" / "finetune" / "sst2.toml").read_text()
    assert cli.output("recipes", "copy", "sst2") == "written to sst2.toml\n"
    assert (tmp_path / "sst2.toml").read_text() == want
    assert cli.output("recipes", "copy", "sst2", "my.toml") == "written to my.toml\n"
    (tmp_path / "folder").mkdir()
    cli.output("recipes", "copy", "base-v2", "folder")
    assert (tmp_path / "folder" / "base-v2.toml").is_file()


def test_copy_replaces_an_edited_file_only_when_told(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: an evening's edits that are overwritten."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sst2.toml").write_text("edited")
    message = cli.error("recipes", "copy", "sst2")
    assert "sst2.toml exists: give another DEST, or --force to replace it" in message
    assert (tmp_path / "sst2.toml").read_text() == "edited"
    cli.output("recipes", "copy", "sst2", "--force")
    assert (tmp_path / "sst2.toml").read_text() != "edited"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["copy"], "name the recipe to copy: albert-torch recipes copy NAME"),
        (["copy", "sst-2"], "no packaged recipe is called 'sst-2' (did you mean sst2?)"),
        (["copy", "sst2", "nowhere/x.toml"], "the directory nowhere does not exist"),
        (["show"], "invalid choice: 'show'"),
        (["list", "sst2"], "to copy a recipe: albert-torch recipes copy sst2"),
    ],
)
def test_mistakes_exit_2_with_one_line(
    cli: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Catches: a traceback, or an argument that is silently ignored."""
    monkeypatch.chdir(tmp_path)
    assert message in cli.error("recipes", *arguments)
