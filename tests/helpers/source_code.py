"""The source code of the package as syntax trees, for tests of its structure."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from helpers.constants import ROOT

PACKAGE = ROOT / "albert_torch"


@dataclass(frozen=True)
class Import:
    """One imported module or name: its full dotted name and where the statement stands."""

    module: str
    at_import_time: bool
    line: int


@dataclass(frozen=True)
class SourceModule:
    """One file of the package."""

    path: Path

    @property
    def name(self) -> str:
        """The dotted name inside the package: `inference.optimize`; `inference` for `__init__`."""
        parts = self.path.relative_to(PACKAGE).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> list[Import]:
        """Every import of the file, except those that only a type checker sees."""
        return list(_imports(self.tree, at_import_time=True))

    def top_level_names(self) -> set[str]:
        """The functions, classes and variables defined at the top level, except type variables."""
        names: set[str] = set()
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign) and not _is_type_variable(node.value):
                targets = [leaf for target in node.targets for leaf in ast.walk(target)]
                names |= {leaf.id for leaf in targets if isinstance(leaf, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
        return names

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))


def source_modules() -> list[SourceModule]:
    """Every Python file of the package, sorted by path."""
    return [SourceModule(path) for path in sorted(PACKAGE.rglob("*.py"))]


def called_name(call: ast.Call) -> str:
    """The dotted name of what is called, such as `os.replace`; `.strip` for `f().strip()`."""
    function, attributes = call.func, []
    while isinstance(function, ast.Attribute):
        attributes.append(function.attr)
        function = function.value
    base = function.id if isinstance(function, ast.Name) else ""
    return ".".join([base, *reversed(attributes)])


def _is_type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and called_name(value).endswith("TypeVar")


def _imports(node: ast.AST, at_import_time: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, at_import_time, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports in the package are absolute"
            for alias in child.names:
                yield Import(f"{child.module}.{alias.name}", at_import_time, child.lineno)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for statement in child.orelse:
                yield from _imports(statement, at_import_time)
        else:
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(child, at_import_time and not in_function)
