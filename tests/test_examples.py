"""Every program in examples/ and the notebook run as they are."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.constants import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def missing_modules(path: Path) -> list[str]:
    """The packages that a program imports and that are not installed."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    names -= {script.stem for script in SCRIPTS}
    return sorted(name for name in names if importlib.util.find_spec(name) is None)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    """Catches: an example that no longer fits the package, or needs the network."""
    if missing := missing_modules(path):
        pytest.skip(f"needs {', '.join(missing)}")
    result = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip()
    assert not list(tmp_path.iterdir()), "an example leaves files behind"


def test_every_example_is_described() -> None:
    """Catches: a program that is missing in the list of examples, or listed and gone."""
    listed = (EXAMPLES / "README.md").read_text()
    for path in (*SCRIPTS, *EXAMPLES.glob("*.ipynb")):
        assert f"({path.name})" in listed


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a cell that fails, or committed output that hides what the cell does now."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    text = str([cell.get("outputs") for cell in notebook.cells])
    assert "largest difference" in text
