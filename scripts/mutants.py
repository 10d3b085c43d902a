"""Apply deliberate faults to the package, one at a time, and check that the tests notice each.

    python scripts/mutants.py [WORD ...] [--jobs N] [--list]

The faults are listed in tests/mutants/<package>.toml. An entry names the module, a function or
class in it (or a variable at its top level), a piece of its source and what the fault makes of it.
The piece must occur exactly once in that function, wherever the function stands in its file:

    [[fault]]
    module = "model"
    function = "AlbertModel.forward"
    replace = "hidden[:, 0]"
    with = "hidden[:, -1]"
    description = "The pooler reads the last token instead of the first."
    tests = ["tests/test_model.py"]

Every fault is applied to a copy of the repository. The tests first run without a fault, because a
test that fails anyway would seem to notice every one. The exit code is 0 when all faults are
noticed, 1 when one is not, and 2 when the lists or the tests are broken: a fault that does not
apply, or tests that fail without a fault or cannot run with one.
"""

import argparse
import ast
import concurrent.futures
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
KILLED, SURVIVED, BROKEN = "killed", "SURVIVED", "BROKEN"


class FaultError(ValueError):
    """An entry of the lists is wrong: the message says which and why."""


@dataclass(frozen=True)
class Fault:
    """One deliberate fault: what it replaces where, and the tests that must notice it."""

    source: str  # the list that holds it
    module: str
    function: str
    replace: str
    replacement: str
    description: str
    tests: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.module}: {self.function}"

    @property
    def path(self) -> str:
        """The file that the fault changes, relative to the root of the repository."""
        return f"albert_torch/{self.module.replace('.', '/')}.py"

    def apply(self, text: str) -> str:
        """Return the source of the module with the fault in it.

        Raises:
            FaultError: The function does not exist, the text to replace does not occur exactly once
                in it, or the result is not valid Python.
        """
        lines = text.splitlines(keepends=True)
        node = _find(ast.parse(text), self.function)
        if node is None:
            raise FaultError(f"{self.source}: {self.path} has no {self.function}")
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
        before, body, after = (
            lines[:first],
            lines[first : node.end_lineno],
            lines[node.end_lineno :],
        )
        count = "".join(body).count(self.replace)
        if count != 1:
            raise FaultError(
                f"{self.source}: {self.label} contains {self.replace!r} {count} times, not once"
            )
        changed = "".join([*before, "".join(body).replace(self.replace, self.replacement), *after])
        try:
            ast.parse(changed)
        except SyntaxError as error:
            raise FaultError(f"{self.source}: {self.label}: {error}") from error
        return changed


def _find(tree: ast.AST, name: str) -> ast.stmt | None:
    """Find a function or class by its qualified name, or a variable of the module by its name."""
    first, _, remainder = name.partition(".")
    found: ast.stmt | None = None
    for node in _statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        if first in names:
            found = node  # the last one: earlier ones are overloads
    return _find(found, remainder) if found is not None and remainder else found


def _statements(tree: ast.AST) -> Iterable[ast.stmt]:
    """The statements of a block and of the blocks in it, but not those of functions and classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield node
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _statements(node)


def load_faults(directory: Path = ROOT / "tests" / "mutants") -> list[Fault]:
    """Read every list of faults in `directory`.

    Raises:
        FaultError: An entry lacks a field, has an unknown one, or leaves the code as it is.
    """
    fields = ["description", "function", "module", "replace", "tests", "with"]
    faults = []
    for path in sorted(directory.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["fault"]:
            if sorted(entry) != fields:
                raise FaultError(f"{path.name}: an entry has {sorted(entry)}, not {fields}")
            if entry["replace"] == entry["with"]:
                raise FaultError(f"{path.name}: {entry['description']!r} changes nothing")
            entry["replacement"] = entry.pop("with")
            entry["tests"] = tuple(entry["tests"])
            faults.append(Fault(source=path.name, **entry))
    return faults


def copy_repository(target: Path) -> Path:
    """Copy the working tree to `target` without hidden files and build products."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "site", "*.egg-info")
    shutil.copytree(ROOT, target, ignore=ignored)
    return target


def run_tests(tree: Path, tests: Iterable[str], timeout: float) -> int | None:
    """Run test files in a copy of the repository: pytest's exit code, or None after `timeout`."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    environment = {
        **os.environ,
        # The copy stands elsewhere, so the assets are no longer next to it.
        "ALBERT_TORCH_ASSETS": os.environ.get("ALBERT_TORCH_ASSETS", str(ROOT.parent / "shared")),
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        result = subprocess.run(
            [*command, *tests], cwd=tree, env=environment, capture_output=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return None
    return result.returncode


def try_fault(fault: Fault, tree: Path, timeout: float) -> str:
    """Put a fault into a copy of the repository, run its tests, and take the fault out again."""
    path = tree / fault.path
    text = path.read_text()
    path.write_text(fault.apply(text))
    try:
        code = run_tests(tree, fault.tests, timeout)
    finally:
        path.write_text(text)
    # A fault that makes the tests run forever is noticed too.
    return {0: SURVIVED, 1: KILLED, None: KILLED}.get(code, BROKEN)


def try_faults(faults: list[Fault], jobs: int, timeout: float) -> Counter[str]:
    """Try every fault, `jobs` at a time; write a line for each, and count the verdicts."""
    verdicts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        trees: queue.Queue[Path] = queue.Queue()
        for number in range(jobs):
            trees.put(copy_repository(Path(folder) / f"copy{number}"))

        def run(fault: Fault) -> tuple[Fault, str, float]:
            tree, started = trees.get(), time.monotonic()
            verdict = try_fault(fault, tree, timeout)
            trees.put(tree)
            return fault, verdict, time.monotonic() - started

        with concurrent.futures.ThreadPoolExecutor(jobs) as executor:
            pending = [executor.submit(run, fault) for fault in faults]
            for future in concurrent.futures.as_completed(pending):
                fault, verdict, seconds = future.result()
                verdicts[verdict] += 1
                number = f"{sum(verdicts.values())}/{len(faults)}"
                line = f"{verdict:8} {number:>7} {seconds:6.1f} s  {fault.label}"
                print(f"{line}: {fault.description}", flush=True)
    return verdicts


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="only faults whose entry contains one of these"
    )
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tested at a time")
    parser.add_argument("--list", action="store_true", help="list the faults and run nothing")
    parser.add_argument(
        "--timeout", type=float, default=900.0, help="seconds for the tests of a fault (900)"
    )
    parser.add_argument(
        "--no-baseline", action="store_true", help="do not first run the tests without a fault"
    )
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv)
    try:
        faults = load_faults()
        for fault in faults:
            fault.apply((ROOT / fault.path).read_text())
    except (FaultError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.words:
        faults = [f for f in faults if any(word in repr(f) for word in arguments.words)]
    if arguments.list:
        for fault in faults:
            print(f"{fault.label}: {fault.description}")
            print(f"    {fault.replace!r} -> {fault.replacement!r}")
        print(f"{len(faults)} faults")
        return 0
    if not arguments.no_baseline:
        tests = sorted({test for fault in faults for test in fault.tests})
        with tempfile.TemporaryDirectory() as folder:
            code = run_tests(copy_repository(Path(folder) / "copy"), tests, 10 * arguments.timeout)
        if code != 0:
            print(f"the tests fail without a fault (pytest exit code {code})", file=sys.stderr)
            return 2
    verdicts = try_faults(faults, max(1, arguments.jobs), arguments.timeout)
    print(f"{verdicts[KILLED]} of {len(faults)} faults killed")
    if verdicts[BROKEN]:
        return 2
    return 1 if verdicts[SURVIVED] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
