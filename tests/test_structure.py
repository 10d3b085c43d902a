"""The structure of the package: who imports whom, what importing costs, what a file may hold."""

import subprocess
import sys
from collections.abc import Iterable

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
    "config_rules": "",
    "config": "hub files config_rules",  # AlbertConfig.from_pretrained takes the name of a checkpoint
    "tokenization": "hub files",
    "checkpoints": "hub config files",
    "checkpoints.convert": "checkpoints heads finetuning.lora",
    "initialization": "",
    "loading": "checkpoints config initialization",
    "client_interface": "attention config initialization",
    "pretrained": "client_interface loading outputs heads",
    "embeddings": "config",
    "layers": "activations attention config",
    "model": "pretrained embeddings layers",
    "heads": "model losses activations",
    "parity": "heads tokenization",
    "inference": "heads tokenization readers",
    "inference.text_encoder": "inference finetuning.lora",
    "training": "heads tokenization",
    "export": "heads tokenization",
    "integrations": "heads tokenization",
    "finetuning": "training readers",
    "finetuning.lora": "heads tokenization",
    "pretraining": "training readers",
}
# The public names, the command line and `python -m albert_torch` may import anything.
UNRESTRICTED = ("", "__main__", "cli")
# These imports stand inside functions, because the importer must work without loading the other.
INSIDE_FUNCTIONS = {
    ("inference.text_encoder", "finetuning.lora"),
    ("checkpoints.convert", "finetuning.lora"),
    ("pretrained", "heads"),
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
}


def is_within(name: str, prefix: str) -> bool:
    """Whether the module `name` is `prefix` or one of its submodules."""
    return name == prefix or name.startswith(f"{prefix}.")


def most_specific(name: str, prefixes: Iterable[str]) -> str | None:
    """The longest of `prefixes` that contains the module `name`."""
    return max((prefix for prefix in prefixes if is_within(name, prefix)), key=len, default=None)


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
