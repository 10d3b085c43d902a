"""An argument parser with one-line errors, suggestions, and defaults in `--help`."""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import NoReturn

MAX_WIDTH = 100


class UsageError(ValueError):
    """A mistake in the command line, as one sentence."""


class CommandParser(argparse.ArgumentParser):
    """A parser whose mistakes are raised as `UsageError`, and whose help ends with examples."""

    def __init__(
        self, prog: str, description: str, examples: str, arguments: Sequence[str] = ()
    ) -> None:
        self.arguments = arguments  # what will be parsed, for options that depend on others
        super().__init__(
            prog,
            description=description,
            epilog=examples,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    def peek(self, option: str) -> tuple[str | None, str | None]:
        """Return the first positional argument and the value of an option, before parsing.

        Only the options that were added so far are known. Mistakes are left for parsing to report.
        """
        first, value = None, None
        rest = iter(self.arguments)
        for argument in rest:
            name, equals, given = argument.partition("=")
            action = self._option_string_actions.get(name)
            if action is not None and action.nargs != 0:
                given = given if equals else next(rest, "")
                value = given if name == option else value
            elif action is None and first is None and not argument.startswith("-"):
                first = argument
        return first, value

    def parse_arguments(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments.

        Raises:
            UsageError: The arguments are not valid. A misspelt option is reported before the
                required option that is missing because of it.
        """
        for argument in arguments:
            if argument == "--":
                break
            name = argument.partition("=")[0]
            if (
                name.startswith("--")
                and " " not in name
                and name not in self._option_string_actions
            ):
                close = difflib.get_close_matches(name, self._option_string_actions, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                self.error(f"there is no option {name}{hint}")
        return self.parse_args(arguments)

    def format_help(self) -> str:
        """Return the help, whose first line names only what must be given."""
        if self.usage is None:
            self.usage = " ".join([self.prog, *self._required_arguments(), "[options]"])
        return super().format_help()

    def _required_arguments(self) -> list[str]:
        positional, options = [], []
        for action in self._actions:
            metavar = str(action.metavar or action.dest)
            if action.option_strings and action.required:
                options.append(f"{action.option_strings[0]} {metavar}")
            elif not action.option_strings:
                shown = f"{metavar} ..." if action.nargs == "+" else metavar
                positional.append(f"[{shown}]" if action.nargs == "?" else shown)
        return positional + options

    def error(self, message: str) -> NoReturn:
        """Raise the mistake as one sentence."""
        match = re.fullmatch(r"unrecognized arguments: (.*)", message)
        if match:
            first = match[1].split()[0]
            message = (
                f"the argument {first!r} is one too many; put quotes around a text with spaces"
            )
        raise UsageError(f"{message}; see {self.prog} --help")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wrap at the width of the terminal, and show the default of every option that has one."""

    def __init__(self, prog: str) -> None:
        width = min(MAX_WIDTH, shutil.get_terminal_size().columns) - 2
        super().__init__(prog, max_help_position=28, width=width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap paragraphs of prose; keep those with indented lines, such as examples."""
        paragraphs = [
            paragraph if "\n " in paragraph else textwrap.fill(paragraph, width)
            for paragraph in text.strip("\n").split("\n\n")
        ]
        return "\n\n".join(paragraphs)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        default = action.default
        has_default = default is not None and default is not False and default != []
        if not has_default or default == argparse.SUPPRESS or "(default:" in text:
            return text
        return f"{text} (default: %(default)s)"
