"""The structure of the package: who imports whom, what importing costs, what a file may hold."""

import ast
import importlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable

import pytest
from helpers.source_code import PACKAGE, SourceModule, called_name, source_modules

MODULES = {module.name: module for module in source_modules()}

# What a module or subpackage may import from this package. An entry also permits everything that
# the entries it names may import, and a subpackage may import itself. The most specific entry that
# matches a module is the one that applies.
IMPORT_TABLE = {
    "files": "",
    "recipe_files": "",
    "readers": "",
    "outputs": "",
    "losses": "",
    "activations": "",
    "attention": "",
    "hub": "files",
    "config": "hub files activations config_rules",  # from_pretrained takes a Hub name
    "config_rules": "",
    "tokenization": "hub files",
    "checkpoints": "hub config files",
    "checkpoints.convert": "checkpoints heads",
    "initialization": "config",
    "loading": "checkpoints config initialization",
    "client_interface": "config attention initialization",
    "pretrained": "loading client_interface initialization config attention outputs",
    "embeddings": "config",
    "layers": "config activations attention",
    "model": "pretrained embeddings layers attention outputs",
    "heads": "model losses",
    "parity": "heads tokenization checkpoints.convert",
    "inference": "heads tokenization readers",
    "training": "heads tokenization",
    "export": "heads tokenization",
    "integrations": "heads tokenization",
    "finetuning": "training readers",
    "finetuning.lora": "heads tokenization finetuning.lora_layers",
    "finetuning.lora_layers": "pretrained",
    "pretraining": "training readers",
}
# The public names, the command line and `python -m albert_torch` may import anything.
UNRESTRICTED = ("", "__main__", "cli")
# Exceptions: these imports stand inside functions, so that one module loads without the other.
INSIDE_FUNCTIONS = {
    ("checkpoints.convert", "finetuning.lora"): "it merges adapters",
    ("inference.load_model", "finetuning.lora"): "it loads adapters",
    ("pretrained", "heads"): "the names of all heads' modules, from the table that the heads fill",
}

# Optional packages, and the modules that may import them: always inside a function, so that
# importing the package never needs them and an error can name the extra to install.
OPTIONAL = {
    "transformers": ("parity", "integrations"),
    "peft": ("integrations",),
    "ray": ("integrations",),
    "accelerate": ("training", "finetuning"),
    "matplotlib": ("parity", "training.metric_logger"),
    "tensorboard": ("training.metric_logger",),
    "torch.utils.tensorboard": ("training.metric_logger",),
    "pyarrow": ("readers", "finetuning.splits", "inference.encode_file"),
    "zstandard": ("readers", "pretraining"),
    "datasets": ("readers", "finetuning", "pretraining"),
    "tomli": ("training.config", "cli"),
    "onnx": ("export",),
    "onnxruntime": ("export",),
    "openvino": ("export",),
    "sentence_transformers": (),
    "sentencepiece": (),
    "sklearn": (),
    "scipy": (),
    "tensorflow": (),
}

LONGEST_FILE = 320  # lines

# Names that several modules define on purpose, with the same meaning everywhere.
SHARED_NAMES = {
    "logger": "every module logs under its own name",
    "add_arguments": "each subcommand of the command line declares its options",
    "run": "each subcommand of the command line runs itself",
    "SUMMARY": "each subcommand of the command line describes itself",
    "EXAMPLES": "each subcommand of the command line shows examples",
    "TOPICS": "the commands that take recipes arrange their options",
    "evaluate": "fine-tuning and pretraining each pass their own to the training loop",
    "training_batches": "fine-tuning and pretraining each pass their own to the training loop",
    "load_datasets": "fine-tuning and pretraining each load what they train on",
}
# Values that are written twice, because the first module must not import the second one: the help
# of a command would take a second longer.
COPIES = [("cli.options", "hub", "NANO"), ("cli.embed", "inference.text_encoder", "POOLINGS")]


def is_within(name: str, prefix: str) -> bool:
    """Whether the module `name` is `prefix` or one of its submodules."""
    return name == prefix or name.startswith(f"{prefix}.")


def most_specific(name: str, prefixes: Iterable[str]) -> str | None:
    """The longest of `prefixes` that contains the module `name`."""
    return max((prefix for prefix in prefixes if is_within(name, prefix)), key=len, default=None)


def permitted(entry: str) -> set[str]:
    """The entries of the import table that `entry` permits, directly or through another entry."""
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += IMPORT_TABLE[current].split()
    return found


def may_import(importer: str, imported: str) -> bool:
    """Whether the import table lets the module `importer` import the module `imported`."""
    importer_entry = most_specific(importer, IMPORT_TABLE)
    imported_entry = most_specific(imported, IMPORT_TABLE)
    if importer_entry is None or imported_entry is None:
        return False
    if (importer, imported) in INSIDE_FUNCTIONS:
        return True
    # The general entry of a subpackage covers its modules with an entry of their own as well.
    return imported_entry in permitted(importer_entry) or is_within(imported_entry, importer_entry)


def imports_of_the_package(module: SourceModule) -> list[tuple[str, int, bool]]:
    """The package's modules that `module` imports: name, line, whether at import time."""
    found = []
    for statement in module.imports():
        parts = statement.module.split(".")
        if parts[0] == "albert_torch":
            candidates = [".".join(parts[1:end]) for end in range(len(parts), 0, -1)]
            imported = next(name for name in candidates if name in MODULES)
            found.append((imported, statement.line, statement.at_import_time))
    return found


def assert_none(offenders: list[str]) -> None:
    assert not offenders, "\n" + "\n".join(offenders)


def test_imports_follow_the_table() -> None:
    """Catches: a model that imports its callers, a trainer that needs the fast path."""
    assert_none(
        [
            f"{name}, line {line}: may not import {imported}"
            for name, module in MODULES.items()
            if most_specific(name, UNRESTRICTED) is None
            for imported, line, _ in imports_of_the_package(module)
            if not may_import(name, imported)
        ]
    )


def test_exceptional_imports_stand_inside_functions() -> None:
    """Catches: an encoder that loads the fine-tuning package, and every task, when imported."""
    assert_none(
        [
            f"{importer}, line {line}: {imported} is imported outside a function"
            for importer, target in INSIDE_FUNCTIONS
            for imported, line, at_import_time in imports_of_the_package(MODULES[importer])
            if is_within(imported, target) and at_import_time
        ]
    )


def test_nothing_imports_the_command_line() -> None:
    """Catches: library code that can only be used through a command."""
    assert_none(
        [
            f"{name}, line {line}: imports {imported}"
            for name, module in MODULES.items()
            if most_specific(name, ("__main__", "cli")) is None
            for imported, line, _ in imports_of_the_package(module)
            if is_within(imported, "cli")
        ]
    )


def test_optional_packages_are_imported_inside_functions_where_they_are_used() -> None:
    """Catches: a module that cannot be imported without an extra; transformers in the model."""
    offenders = []
    for name, module in MODULES.items():
        for statement in module.imports():
            package = most_specific(statement.module, OPTIONAL)
            if package is None:
                continue
            if statement.at_import_time:
                offenders.append(f"{name}, line {statement.line}: {package} outside a function")
            if most_specific(name, OPTIONAL[package]) is None:
                offenders.append(f"{name}, line {statement.line}: may not import {package}")
    assert_none(offenders)


def test_importing_the_package_imports_nothing_optional() -> None:
    """Catches: `import albert_torch` that loads transformers, matplotlib or pandas."""
    code = "import sys, albert_torch; print(*{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "albert_torch" in loaded
    assert loaded & {*OPTIONAL, "pandas"} == set()


def test_tokenization_works_without_torch() -> None:
    """Catches: a tokenizer that needs torch, or a second to import it, in order to count tokens."""
    code = f"""
import sys, types
package = types.ModuleType("albert_torch")  # the package's own __init__ imports the models
package.__path__ = [{str(PACKAGE)!r}]
sys.modules.update(albert_torch=package, torch=None)  # importing torch fails
from albert_torch.tokenization.tokenizer import AlbertTokenizer
print(AlbertTokenizer.from_pretrained("albert-torch/nano")("a lite bert")["input_ids"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("[2, ")


def test_files_are_short() -> None:
    """Catches: a file that collects several concepts, too long to read in one sitting."""
    lengths = {name: len(module.text.splitlines()) for name, module in MODULES.items()}
    assert_none([f"{name}: {n} lines" for name, n in lengths.items() if n > LONGEST_FILE])


def test_a_public_name_has_one_meaning() -> None:
    """Catches: two different things with the same name, of which a reader finds the wrong one."""
    definitions = defaultdict(list)
    for module in MODULES.values():
        for defined in module.top_level_names():
            is_copy = any((module.name, defined) == (copy[0], copy[2]) for copy in COPIES)
            if not defined.startswith("_") and defined not in SHARED_NAMES and not is_copy:
                definitions[defined].append(module.name)
    assert_none(
        [f"{name}: {', '.join(where)}" for name, where in definitions.items() if len(where) > 1]
    )


@pytest.mark.parametrize(("copy", "original", "name"), COPIES)
def test_copies_are_equal(copy: str, original: str, name: str) -> None:
    """Catches: a value that was changed in one of the two places."""
    modules = [importlib.import_module(f"albert_torch.{module}") for module in (copy, original)]
    assert getattr(modules[0], name) == getattr(modules[1], name)


def replaces_a_file(call: ast.Call) -> bool:
    """Whether a call renames a file over another one."""
    function = called_name(call)
    if function.endswith(".replace") and not function.startswith(("os.", "dataclasses.")):
        # Path.replace takes one argument, str.replace at least two.
        return len(call.args) == 1 and not call.keywords
    return function in ("os.replace", "os.rename", "shutil.move") or function.endswith(".rename")


def test_only_one_module_replaces_files() -> None:
    """Catches: a second atomic writer, whose files a killed process may leave half written."""
    writers = {m.name for m in MODULES.values() if any(map(replaces_a_file, m.calls()))}
    # pretraining.prepare renames a whole directory of shards when it is complete.
    assert writers == {"files", "pretraining.prepare"}


def test_assignment_expressions_are_rare_and_plain() -> None:
    """Catches: values assigned in the middle of an expression, where no reader looks for them."""
    offenders = []
    for name, module in MODULES.items():
        nodes = list(ast.walk(module.tree))
        conditions = [node.test for node in nodes if isinstance(node, ast.If | ast.While)]
        conditions += [node.left for node in conditions if isinstance(node, ast.Compare)]
        plain = {id(node) for node in conditions}
        found = [node for node in nodes if isinstance(node, ast.NamedExpr)]
        offenders += [
            f"{name}, line {node.lineno}: an assignment inside an expression"
            for node in found
            if id(node) not in plain
        ]
        if len(found) > 2:
            offenders.append(f"{name}: {len(found)} assignment expressions")
    assert_none(offenders)


def test_nothing_opts_out_of_the_formatter() -> None:
    """Catches: code that is laid out by hand."""
    pragmas = ("fmt: skip", "fmt: off")
    assert_none([m.name for m in MODULES.values() if any(pragma in m.text for pragma in pragmas)])


def is_minus_100(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
        and node.operand.value == 100
    )


def test_the_ignored_label_is_defined_once() -> None:
    """Catches: a second definition of the label that losses ignore, which can come to differ."""
    assert_none(
        [
            f"{name}, line {getattr(node, 'lineno', 0)}: use losses.IGNORE_INDEX"
            for name, module in MODULES.items()
            if name != "losses"
            for node in ast.walk(module.tree)
            if is_minus_100(node)
        ]
    )


def test_the_library_does_not_print() -> None:
    """Catches: output that a caller cannot silence. Commands write to stdout, the library logs."""
    assert_none(
        [
            f"{name}, line {call.lineno}: print"
            for name, module in MODULES.items()
            if not is_within(name, "cli")
            for call in module.calls()
            if called_name(call) == "print"
        ]
    )
