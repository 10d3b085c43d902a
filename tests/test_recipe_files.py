"""The packaged recipes: found by name, described by their first line."""

from pathlib import Path

import pytest
from helpers.constants import ROOT

from albert_torch import recipe_files
from albert_torch.recipe_files import find_recipe, packaged_recipes, recipe_path


def test_every_recipe_of_the_repository_is_listed() -> None:
    """Catches: a recipe that is in the tree and cannot be found by its name."""
    names = {recipe.name for recipe in packaged_recipes()}
    files = [*(ROOT / "configs").glob("finetune/*.toml"), *(ROOT / "configs").glob("pretrain/*")]
    assert names == {path.stem for path in files}
    assert len(names) == len(files)  # one name does not stand for two recipes
    kinds = {kind: len(packaged_recipes(kind)) for kind in ("finetune", "pretrain")}
    assert sum(kinds.values()) == len(files)
    assert min(kinds.values()) > 0


def test_every_recipe_says_in_one_line_what_it_is_for() -> None:
    """Catches: a recipe without a first comment, or one whose sentence goes on in the next line."""
    for recipe in packaged_recipes():
        first_line = recipe.path.read_text().split("\n")[0]
        assert first_line == f"# {recipe.description}"
        assert first_line[-1] == "."
        assert len(first_line) <= 100
    assert find_recipe("squad2").task == "squad2"
    assert find_recipe("sst2-nano").task == "sst2"
    assert find_recipe("base-v2").task == "pretraining"


def test_a_file_takes_precedence_over_a_packaged_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: an edited copy of a recipe in the current directory that is ignored."""
    monkeypatch.chdir(tmp_path)
    assert recipe_path("sst2") == ROOT / "configs" / "finetune" / "sst2.toml"
    (tmp_path / "sst2").write_text("")
    assert recipe_path("sst2") == Path("sst2")


@pytest.mark.parametrize("name", ["sst2.toml", "configs/sst2", "./sst2", "/nowhere/sst2"])
def test_a_missing_file_is_not_taken_for_a_name(name: str) -> None:
    """Catches: a mistyped path that silently trains by the packaged recipe."""
    with pytest.raises(FileNotFoundError, match=r"there is no recipe file .*`albert-torch rec"):
        recipe_path(name)


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    """Catches: an error that leaves the user to guess; a recipe for the other command."""
    with pytest.raises(ValueError, match=r"called 'sst-2' \(did you mean sst2\?\); the"):
        find_recipe("sst-2")
    with pytest.raises(ValueError, match="no packaged recipe is called 'base-v2'; the recipes"):
        find_recipe("base-v2", kind="finetune")


def test_an_installation_without_recipes_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: a traceback about a missing directory."""
    monkeypatch.setattr(recipe_files, "__file__", str(tmp_path / "albert_torch" / "x.py"))
    with pytest.raises(FileNotFoundError, match="this installation has no recipes"):
        packaged_recipes()
