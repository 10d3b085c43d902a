"""Runs the code blocks of a Markdown page in order, as a reader would who types them in.

A block is a fence of three backticks. What happens to it depends on its language and on the
directives above it, which are HTML comments and so invisible on the page:

- ```` ```python ```` runs; the blocks of one page share their variables.
- ```` ```sh ```` and ```` ```console ```` run only when they are marked `<!-- run -->`. In a
  console block the lines that start with `$ ` are the commands.
- `<!-- no-run: reason -->` does not run a Python block and says why.
- `<!-- run: old => new; other => another -->` runs the block with these texts replaced, so that a
  page can print `--steps 10000` while the test takes two steps.
- `<!-- needs: peft, sentence_transformers -->` runs the block only where these modules are
  installed.
- `<!-- file: reviews.csv -->` writes the block, in whatever language, to that file.
- `<!-- output -->` compares the block with what the block before it printed; `...` stands for any
  text.

Every page runs in a directory of its own. The published checkpoint `albert/albert-base-v2` is
replaced by the packaged `albert-torch/nano`, so that nothing is downloaded.
"""

import contextlib
import doctest
import importlib.util
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.constants import ROOT

PUBLISHED, PACKAGED = "albert/albert-base-v2", "albert-torch/nano"
SHELL = ("sh", "bash", "console")
DIRECTIVES = ("run", "no-run", "needs", "file", "output")

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<rest>.*)$")
_COMMENT = re.compile(r"^\s*<!--\s*(?P<name>[\w-]+)\s*(?::\s*(?P<value>.*?))?\s*-->\s*$", re.DOTALL)


@dataclass
class Block:
    """One code block of a page, with the directives above it."""

    page: str
    line: int  # of the first line of the code
    language: str
    code: str
    directives: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.page}, line {self.line}"

    @property
    def is_run(self) -> bool:
        if self.language in SHELL:
            return "run" in self.directives
        return self.language == "python" and "no-run" not in self.directives

    @property
    def missing_modules(self) -> list[str]:
        needed = [name.strip() for name in self.directives.get("needs", "").split(",")]
        return [name for name in needed if name and importlib.util.find_spec(name) is None]

    def source(self) -> str:
        """The code that runs: the code of the page after its replacements."""
        code = self.code
        for replacement in filter(None, self.directives.get("run", "").split(";")):
            old, arrow, new = (text.strip() for text in replacement.partition("=>"))
            if not arrow or old not in code:
                raise AssertionError(f"{self.place}: {replacement!r} does not apply")
            code = code.replace(old, new)
        return code.replace(PUBLISHED, PACKAGED)

    def commands(self) -> str:
        """The shell script of a shell block."""
        code = self.source()
        if self.language != "console":
            return code
        return "\n".join(line[2:] for line in code.splitlines() if line.startswith("$ "))

    def albert_torch_commands(self) -> list[list[str]]:
        """The arguments of every `albert-torch` command in a shell block."""
        script = self.commands() if "run" in self.directives else self.code
        logical_lines = re.sub(r"\\\n\s*", " ", script).splitlines()
        found = []
        for line in logical_lines:
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|<>&;()")
            lexer.whitespace_split = True
            words = list(lexer)
            pipeline = [
                list(group)
                for is_operator, group in itertools.groupby(words, key=_is_operator)
                if not is_operator
            ]
            found += [command[1:] for command in pipeline if command[0] == "albert-torch"]
        return found


def _is_operator(word: str) -> bool:
    """Whether a word of a shell command separates commands or redirects their output."""
    return set(word) <= set("|<>&;()")


class PageError(AssertionError):
    """A block of a page failed."""


def parse_page(text: str, page: str) -> list[Block]:
    """Return the code blocks of the Markdown `text`, in order."""
    blocks: list[Block] = []
    directives: dict[str, str] = {}
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence:
            end = number + 1
            closing = fence["indent"] + fence["ticks"]
            while end < len(lines) and lines[end].rstrip() != closing:
                end += 1
            code = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
            blocks.append(Block(page, number + 2, fence["language"], code, directives))
            directives = {}
            number = end + 1
            continue
        if lines[number].lstrip().startswith("<!--"):
            end = number
            while "-->" not in lines[end]:
                end += 1
            comment = _COMMENT.match("\n".join(lines[number : end + 1]))
            if comment and comment["name"] in DIRECTIVES:
                directives[comment["name"]] = comment["value"] or ""
            number = end + 1
            continue
        if lines[number].strip() and directives:
            raise PageError(f"{page}, line {number + 1}: a directive without a code block")
        number += 1
    return blocks


def run_page(path: Path, directory: Path) -> None:
    """Run the blocks of a page in `directory`.

    Raises:
        PageError: A block failed or printed something else than the page says. The message names
            the page and the line.
    """
    page = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in parse_page(path.read_text(), page):
        if block.missing_modules:
            continue
        if "file" in block.directives:
            target = directory / block.directives["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.source())
        elif "output" in block.directives:
            _compare(block, printed)
        elif block.is_run and block.language == "python":
            printed = _run_python(block, path, namespace, directory)
        elif block.is_run:
            printed = _run_shell(block, directory)


def _run_python(block: Block, path: Path, namespace: dict[str, Any], directory: Path) -> str:
    code = "\n" * (block.line - 1) + block.source()
    output = io.StringIO()
    with _working_directory(directory), contextlib.redirect_stdout(output):
        try:
            exec(compile(code, str(path), "exec"), namespace)
        except Exception as error:
            stack = traceback.extract_tb(error.__traceback__)
            frames = [frame for frame in stack if frame.filename == str(path)]
            line = frames[-1].lineno if frames else block.line
            place = f"{block.page}, line {line}"
            raise PageError(f"{place}: {type(error).__name__}: {error}") from error
    return output.getvalue()


def _run_shell(block: Block, directory: Path) -> str:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.commands()],
        cwd=directory,
        env=_shell_environment(directory),
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise PageError(f"{block.place}: exit code {result.returncode}\n{result.stderr}")
    return result.stdout


def _shell_environment(directory: Path) -> Mapping[str, str]:
    """An environment in which `albert-torch` and `python` are those of the running tests."""
    commands = directory / ".commands"
    if not commands.exists():
        commands.mkdir()
        for name, arguments in (("albert-torch", "-m albert_torch"), ("python", "")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
            script.chmod(0o755)
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HUB_OFFLINE": "1",
    }


def _compare(block: Block, printed: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if not doctest.OutputChecker().check_output(block.code, printed, flags):
        raise PageError(f"{block.place}: the page says\n{block.code}but it printed\n{printed}")


@contextlib.contextmanager
def _working_directory(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
