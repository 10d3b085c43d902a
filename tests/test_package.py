"""What a stranger gets: the built wheel, the installed command, the README's code."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.constants import ROOT

import albert_torch
from albert_torch.cli.main import main
from albert_torch.hub import NANO

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of this tree and unpacked where nothing else is."""
    folder = tmp_path_factory.mktemp("wheel")
    hidden = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "tree", ignore=hidden)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
    ]
    subprocess.run([*build, str(folder / "tree")], check=True)
    (wheel,) = folder.glob("albert_torch-*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder / "site"),
    ]
    subprocess.run([*install, str(wheel)], check=True)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(installed: Path) -> None:
    """Kills: a subpackage, the typing marker or the licence left out; tests or scripts put in."""
    (wheel,) = installed.glob("albert_torch-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package, configs = ROOT / "albert_torch", ROOT / "configs"
    shipped = [*package.rglob("*.py"), *(package / "nano").iterdir(), package / "py.typed"]
    want = {path.relative_to(ROOT).as_posix() for path in shipped}
    recipes = [*configs.glob("*/*.toml"), *configs.glob("model/*.json")]
    want |= {f"albert_torch/recipes/{path.relative_to(configs).as_posix()}" for path in recipes}
    assert {name for name in names if ".dist-info/" not in name} == want
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_list_of_packages_is_complete() -> None:
    """Catches: a new subpackage that works in a clone and is missing from the wheel."""
    directories = {path.parent for path in (ROOT / "albert_torch").rglob("__init__.py")}
    want = {".".join(path.relative_to(ROOT).parts) for path in directories}
    text = (ROOT / "pyproject.toml").read_text()
    (declared,) = re.findall(r"^packages = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert {*re.findall(r'"(.+?)"', declared)} == want | {"albert_torch.recipes"}


def test_the_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    """Kills: an entry point that names nothing, a package that works in its own tree alone."""
    environment = {**os.environ, "PYTHONPATH": str(installed / "site")}
    for command in (
        [sys.executable, "-m", "albert_torch"],
        [str(installed / "site" / "bin" / "albert-torch")],
    ):
        result = subprocess.run(
            [*command, "--version"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert albert_torch.__version__ in result.stdout
    code = "import albert_torch; print(albert_torch.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(installed) in where.stdout


def test_the_lists_of_public_names_agree() -> None:
    """Catches: a name that type checkers see and that cannot be imported, or the other way round."""
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


def test_the_readmes_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an example that no longer works.  The packaged model stands in for the published one."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block.replace("albert/albert-base-v2", NANO), "README.md", "exec"), {})


def test_the_readmes_pretraining_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a command on the way from text to a checked model that fails, or needs what none before it makes."""
    block = re.search(r"```sh\n(albert-torch train-tokenizer.*?)```", README, re.DOTALL)
    assert block is not None
    (tmp_path / "texts").mkdir()
    shutil.copy(ROOT / "README.md", tmp_path / "texts" / "readme.txt")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    for command in block[1].strip().splitlines():
        smaller = command.replace("6000", "500").replace(
            "--steps 200 --warmup-steps 20", "--steps 3 --warmup-steps 1"
        )
        arguments = shlex.split(smaller)[1:]
        if arguments[0] == "parity":
            arguments += ["--head", "PreTraining", "--dtype", "float64", "--backend", "unpad"]
        assert main(arguments) == 0, command


def test_the_readme_names_files_that_exist() -> None:
    """Kills: a command or a link of the README that leads nowhere."""
    for name in re.findall(
        r"\]\((?!http)([^)#]+)\)|`((?:scripts|configs|tests)/[\w./-]+)`", README
    ):
        assert (ROOT / (name[0] or name[1])).exists(), name


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
