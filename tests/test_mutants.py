"""The lists of deliberate faults fit the code, so that `make mutants` can run."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from helpers.constants import ROOT


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


mutants = load_script()
FAULTS = mutants.load_faults()


def test_every_fault_applies() -> None:
    """Catches: a fault whose function was renamed or rewritten, or whose tests were moved."""
    problems = []
    for fault in FAULTS:
        try:
            fault.apply((ROOT / fault.path).read_text())
        except (mutants.FaultError, OSError) as error:
            problems.append(str(error))
        missing = [test for test in fault.tests if not (ROOT / test.split("::")[0]).exists()]
        problems += [f"{fault.label}: there is no {test}" for test in missing]
    assert not problems, "\n" + "\n".join(problems)


SOURCE = """
LIMIT = 3

def first(x):
    return x + 1

class Adder:
    amount: int = 1

    @property
    def add(self):
        def inner(x):
            return x + 1
        return inner
"""
INNER_CHANGED = SOURCE.replace("            return x + 1", "            pass")


def make_fault(function: str, replace: str, replacement: str) -> object:
    return mutants.Fault("list", "module", function, replace, replacement, "a fault", ())


@pytest.mark.parametrize(
    ("function", "replace", "replacement", "expected"),
    [
        ("LIMIT", "3", "4", SOURCE.replace("3", "4")),
        ("first", "x + 1", "x - 1", SOURCE.replace("x + 1", "x - 1", 1)),
        ("Adder", "amount: int = 1", "amount: int = 2", SOURCE.replace("int = 1", "int = 2")),
        ("Adder.add", "@property", "", SOURCE.replace("@property", "")),
        ("Adder.add.inner", "return x + 1", "pass", INNER_CHANGED),
    ],
)
def test_a_fault_is_applied_within_its_function(
    function: str, replace: str, replacement: str, expected: str
) -> None:
    """Catches: a fault that changes another function with the same text."""
    assert make_fault(function, replace, replacement).apply(SOURCE) == expected


@pytest.mark.parametrize(
    ("function", "replace", "replacement", "message"),
    [
        ("second", "x", "y", "has no second"),
        ("first", "x", "y", "2 times, not once"),
        ("first", "z", "y", "0 times, not once"),
        ("first", "return", "retrun", "invalid syntax"),
    ],
)
def test_a_fault_that_does_not_apply_is_an_error(
    function: str, replace: str, replacement: str, message: str
) -> None:
    """Catches: a list that seems to be complete although its faults no longer do anything."""
    with pytest.raises(mutants.FaultError, match=message):
        make_fault(function, replace, replacement).apply(SOURCE)


def test_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches: a survivor that counts as killed, and a fault that stays in the copy."""
    (tmp_path / "albert_torch").mkdir()
    path = tmp_path / "albert_torch" / "module.py"
    path.write_text(SOURCE)
    (tmp_path / "test_module.py").write_text(
        "from albert_torch import module\ndef test(): assert module.first(1) == 2\n"
    )
    for function, replace, replacement, expected in (
        ("first", "x + 1", "x - 1", mutants.KILLED),
        ("Adder.add.inner", "x + 1", "x - 1", mutants.SURVIVED),
        ("LIMIT", "3", "1 / 0", mutants.BROKEN),
    ):
        tests = ("test_module.py",)
        fault = mutants.Fault("list", "module", function, replace, replacement, "a fault", tests)
        assert mutants.try_fault(fault, tmp_path, timeout=60) == expected
        assert path.read_text() == SOURCE
