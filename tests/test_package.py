"""What is installed: wheel, source distribution, the command outside of the clone, public names."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers.constants import ROOT

import albert_torch
from albert_torch.cli.main import COMMANDS

VERBS = [name for names in COMMANDS.values() for name in names]
BUILD = """
import sys
import setuptools.build_meta as backend
print(getattr(backend, sys.argv[1])(sys.argv[2]))
"""


def build(kind: str, tree: Path, target: Path) -> Path:
    """Build a distribution of a tree ("build_wheel", "build_sdist", "build_editable")."""
    target.mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(target)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return target / result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files of the repository, without what was built or downloaded."""
    folder = tmp_path_factory.mktemp("tree")
    hidden = shutil.ignore_patterns(".*", "build", "dist", "site", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "tree", ignore=hidden)
    return folder / "tree"


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    """The wheel of the tree."""
    return build("build_wheel", tree, tree.parent / "dist")


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    """The source distribution of the tree."""
    return build("build_sdist", tree, tree.parent / "dist")


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the installed package, apart from the tree."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(folder), str(wheel)], check=True)
    return folder


def run_installed(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a directory, without network."""
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [str(site / "bin" / "albert-torch"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Catches: a subpackage, a recipe, the model, the typing marker or the licence left out."""
    names = zipfile.ZipFile(wheel).namelist()
    package, configs = ROOT / "albert_torch", ROOT / "configs"
    shipped = [*package.rglob("*.py"), *(package / "nano").iterdir(), package / "py.typed"]
    want = {path.relative_to(ROOT).as_posix() for path in shipped}
    recipes = [*configs.glob("*/*.toml"), *configs.glob("model/*.json")]
    want |= {f"albert_torch/recipes/{path.relative_to(configs).as_posix()}" for path in recipes}
    assert {name for name in names if ".dist-info/" not in name} == want
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_source_distribution_builds_the_same_wheel(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    """Catches: recipes or package data that only a clone has; tests without their helpers."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again = build("build_wheel", unpacked, tmp_path / "dist")
    assert {*zipfile.ZipFile(again).namelist()} == {*zipfile.ZipFile(wheel).namelist()}
    for name in ("tests/helpers/constants.py", "CHANGELOG.md", "Makefile", "configs/model"):
        assert (unpacked / name).exists(), name


def test_the_list_of_packages_is_complete() -> None:
    """Catches: a new subpackage that works in a clone and is missing from the wheel."""
    directories = {path.parent for path in (ROOT / "albert_torch").rglob("__init__.py")}
    want = {".".join(path.relative_to(ROOT).parts) for path in directories}
    text = (ROOT / "pyproject.toml").read_text()
    (declared,) = re.findall(r"^packages = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert {*re.findall(r'^    "(.+?)"', declared, re.MULTILINE)} == want | {"albert_torch.recipes"}


def test_the_metadata_is_complete(wheel: Path) -> None:
    """Catches: a page on the package index without licence, versions or a description."""
    (name,) = [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".dist-info/METADATA")]
    text = zipfile.ZipFile(wheel).read(name).decode()
    fields, _, description = text.partition("\n\n")
    for wanted in (
        f"Version: {albert_torch.__version__}",
        "License-Expression: Apache-2.0",
        "Requires-Python: >=3.10",
        "Classifier: Operating System :: OS Independent",
        "Classifier: Programming Language :: Python :: 3.13",
        "Project-URL: Paper, https://arxiv.org/abs/1909.11942",
        "Description-Content-Type: text/markdown",
    ):
        assert wanted in fields.splitlines()
    assert "Keywords: " in fields
    assert description.startswith("# albert_torch")


def test_extras_that_messages_name_exist() -> None:
    """Catches: "pip install 'albert-torch[x]'" for an extra that was renamed."""
    text = (ROOT / "pyproject.toml").read_text()
    (table,) = re.findall(
        r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.DOTALL | re.MULTILINE
    )
    extras = {*re.findall(r"^(\w+) = ", table, re.MULTILINE)}
    files = [*(ROOT / "albert_torch").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    for path in files:
        for names in re.findall(r"albert-torch\[([\w,]+)\]", path.read_text()):
            assert {*names.split(",")} <= extras, path


def test_the_installed_command_runs_in_an_empty_directory(site: Path, tmp_path: Path) -> None:
    """Catches: an entry point that names nothing, a package that only works in its own tree."""
    version = run_installed(site, tmp_path, "--version")
    assert version.stdout == f"albert-torch {albert_torch.__version__}\n", version.stderr
    code = "import albert_torch; print(albert_torch.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert where.stdout.startswith(str(site))
    for verb in VERBS:
        result = run_installed(site, tmp_path, verb, "--help")
        assert result.returncode == 0, result.stderr
        assert f"usage: albert-torch {verb}" in result.stdout


def test_recipes_and_the_model_come_with_the_wheel(site: Path, tmp_path: Path) -> None:
    """Catches: recipes that only exist beside a clone; a default model that needs the network."""
    recipes = run_installed(site, tmp_path, "recipes")
    assert recipes.returncode == 0, recipes.stderr
    in_the_clone = [*(ROOT / "configs").glob("finetune/*"), *(ROOT / "configs").glob("pretrain/*")]
    assert len(recipes.stdout.splitlines()) == len(in_the_clone)
    copied = run_installed(site, tmp_path, "recipes", "copy", "sst2")
    assert copied.returncode == 0, copied.stderr
    want = (ROOT / "configs" / "finetune" / "sst2.toml").read_text()
    assert (tmp_path / "sst2.toml").read_text() == want
    text = "the united [MASK] of america"
    filled = run_installed(site, tmp_path, "fill-mask", text, "--format", "text")
    assert filled.returncode == 0, filled.stderr
    assert filled.stdout.splitlines()[0].endswith("%  states")
    trained = run_installed(site, tmp_path, "finetune", "sst2-nano", "--out", "x", "--data", "here")
    assert trained.returncode == 2
    assert "here" in trained.stderr.splitlines()[-1]


def test_an_editable_install_finds_the_recipes(tree: Path, tmp_path: Path) -> None:
    """Catches: recipes that are found in a wheel and in a clone, and not in between."""
    editable = build("build_editable", tree, tmp_path / "dist")
    zipfile.ZipFile(editable).extractall(tmp_path / "site")
    code = f"""
import site
site.addsitedir({str(tmp_path / "site")!r})
import albert_torch
from albert_torch.recipe_files import find_recipe
print(albert_torch.__file__, find_recipe("sst2").path)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.stdout.split() == [
        str(tree / "albert_torch" / "__init__.py"),
        str(tree / "configs" / "finetune" / "sst2.toml"),
    ], result.stderr


def test_the_lists_of_public_names_agree() -> None:
    """Catches: a name that type checkers see and that cannot be imported, or vice versa."""
    source = ast.parse(Path(albert_torch.__file__).read_text())
    (block,) = [node for node in source.body if isinstance(node, ast.If)]
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazily = {name: f"albert_torch.{module}" for name, module in albert_torch._MODULE_OF.items()}
    assert imported == lazily
    assert {*albert_torch.__all__} == {*imported, "__version__"}
    for name in albert_torch.__all__:
        assert getattr(albert_torch, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'AlbertForNothing'"):
        _ = albert_torch.AlbertForNothing


def test_importing_the_package_does_not_import_torch() -> None:
    """Catches: an import at the top of a module that makes `albert-torch --help` wait for torch."""
    code = """
import sys
import albert_torch
import albert_torch.cli
assert "torch" not in sys.modules and "huggingface_hub" not in sys.modules
assert albert_torch.inference.optimize  # a submodule is imported when it is asked for
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_readme_is_one_page() -> None:
    """Catches: a README that grows into a manual; the manual is in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_text_names_no_machine() -> None:
    """Kills: a path of the machine it was written on."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if (
            path.suffix in (".py", ".md", ".toml", ".txt", "")
            and path.is_file()
            and path != Path(__file__)
        ):
            assert not re.search(r"/(work|root|home|Users)/\w", path.read_text(errors="ignore")), (
                name
            )
