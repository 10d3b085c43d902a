"""The house itself: who may import whom, how long a file may be, what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.constants import ROOT

PACKAGE = ROOT / "albert_torch"
FILES = sorted(PACKAGE.rglob("*.py"))

# Imports run one way: a module may import what stands to its right, and nothing else of ours.
ALLOWED = {
    "hub": "",
    "outputs": "",
    "packing": "",
    "attention": "packing",
    "losses": "",
    "config": "hub",
    "checkpoint": "hub",
    "saving": "checkpoint hub config",
    "pretrained": "attention checkpoint config hub saving",
    "model": "pretrained attention config packing outputs",
    "heads": "model losses config outputs pretrained checkpoint",
    "register": "config heads pretrained",
    "encoding": "",
    "vocabulary": "encoding",
    "spiece": "",
    "tokenizer": "hub encoding vocabulary spiece",
}
HEAVY = ("transformers", "matplotlib", "sentencepiece", "peft")


def imports(path: Path, top_level: bool = False) -> set[str]:
    """The modules that a file imports, anywhere in it or at its top level only."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_run_one_way(name: str) -> None:
    """Kills: a model that imports its loader's callers, a tokenizer that needs torch."""
    ours = {
        module.split(".")[1]
        for module in imports(PACKAGE / f"{name}.py")
        if module.startswith("albert_torch.")
    }
    assert ours <= set(ALLOWED[name].split())
    assert ours == {other for other in ALLOWED[name].split() if other in ours}


@pytest.mark.parametrize("package", ["parity", "inference", "training"])
def test_packages_stand_on_the_core_and_not_on_each_other(package: str) -> None:
    """Kills: a trainer that needs the fast path, a core module that needs any of them."""
    for path in (PACKAGE / package).glob("*.py"):
        ours = {
            module.split(".")[1] for module in imports(path) if module.startswith("albert_torch.")
        }
        assert ours <= {*ALLOWED, package}, path
    for name in ALLOWED:
        assert f"albert_torch.{package}" not in imports(PACKAGE / f"{name}.py")


def test_nothing_imports_the_command_line_and_optional_packages_stay_optional() -> None:
    """Kills: an optional package that the package cannot do without."""
    for path in FILES:
        if path.name not in ("__main__.py", "cli.py"):
            assert "albert_torch.cli" not in imports(path), path
        heavy = {name.split(".")[0] for name in imports(path)} & set(HEAVY)
        assert not heavy or path.stem in ("register", "records") or path.parent.name == "parity", (
            path
        )
        assert not {name.split(".")[0] for name in imports(path, top_level=True)} & set(HEAVY), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea(path: Path) -> None:
    """Kills: files that grow past what is read in a sitting."""
    assert len(path.read_text().splitlines()) <= 330


def test_importing_does_not_import_what_is_optional() -> None:
    """Kills: `import albert_torch` that pulls transformers, matplotlib or numpy's friends in."""
    code = "import sys, albert_torch; print(*sorted(set(sys.modules) & {'transformers', 'matplotlib', 'pandas', 'scipy'}))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_tokenizing_needs_no_torch() -> None:
    """Kills: a tokenizer that takes a second to import in a process that only counts tokens."""
    for name in ("encoding", "vocabulary", "spiece", "tokenizer", "hub"):
        assert "torch" not in {
            module.split(".")[0] for module in imports(PACKAGE / f"{name}.py", top_level=True)
        }
