"""The `albert-torch` command: find the subcommand, parse its options, run it, report errors.

Results go to standard output; progress, warnings and errors go to standard error.
"""

from __future__ import annotations

import difflib
import importlib
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Protocol, cast

from albert_torch import __version__
from albert_torch.cli.options import add_general_arguments, configure_logging
from albert_torch.cli.parser import CommandParser, UsageError
from albert_torch.cli.plugins import load_plugin, plugin_names, without_leading_plugins

OK, COULD_NOT_RUN, INTERRUPTED, CLOSED_PIPE = 0, 2, 130, 141

COMMANDS = {
    "Use a model": ("fill-mask", "classify", "answer", "embed"),
    "Train": ("finetune", "pretrain", "train-tokenizer", "recipes"),
    "Check and rewrite checkpoints": ("parity", "convert", "merge"),
}

EXIT_CODES = """\
exit codes:
  0    success; for parity: all numbers are equal
  1    parity only: a number differs
  2    the command could not run; standard error says why
  130  interrupted with Ctrl-C
  141  the reader of the output, such as `head`, stopped reading
"""

EXAMPLES = """\
examples:
  albert-torch fill-mask "the captain stood on the [MASK] of the ship"
  albert-torch recipes
  albert-torch finetune sst2 --data glue/SST-2 --out runs/sst2
  albert-torch classify reviews.csv --column review --model runs/sst2
  albert-torch parity albert/albert-base-v2

`albert-torch COMMAND --help` explains a command and shows examples.
"""


class Command(Protocol):
    """What the module of a subcommand provides."""

    SUMMARY: str
    EXAMPLES: str

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""

    def run(self, args: Namespace) -> int:
        """Do the work and return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `albert-torch` command.

    Args:
        argv: The arguments; None takes those of this process.

    Returns:
        The exit code, see `EXIT_CODES`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = "albert-torch"
    try:
        for plugin in plugin_names(arguments):
            load_plugin(plugin)
        rest = without_leading_plugins(arguments)
        if not rest or rest[0].startswith("-"):
            return _run_without_command(rest)
        name = f"albert-torch {rest[0]}"
        return _run_command(rest[0], rest[1:], shlex.join(["albert-torch", *arguments]))
    except BrokenPipeError:
        # Python flushes standard output once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:  # CheckpointError is a ValueError
        if "--debug" in arguments:
            raise
        print(f"{name}: {_message(error)}", file=sys.stderr)
        return COULD_NOT_RUN


def command_parser(name: str, arguments: Sequence[str] = ()) -> CommandParser:
    """Return the parser of a subcommand.

    Args:
        name: One of the names in `COMMANDS`.
        arguments: What will be parsed. The options of `finetune` depend on the task that is named.

    Raises:
        UsageError: There is no such subcommand.
    """
    command = _command(name)
    parser = CommandParser(f"albert-torch {name}", command.SUMMARY, command.EXAMPLES, arguments)
    command.add_arguments(parser)
    add_general_arguments(parser)
    return parser


def _run_command(name: str, arguments: Sequence[str], command_line: str) -> int:
    try:
        args = command_parser(name, arguments).parse_arguments(arguments)
        args.command_line = command_line
        configure_logging(args)
        return _command(name).run(args)
    finally:
        sys.stdout.flush()  # so that a closed pipe is noticed here


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _command(name: str) -> Command:
    """Import the module of a subcommand: no command waits for what only others need."""
    names = [command for group in COMMANDS.values() for command in group]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"there is no command {name!r}{hint}; the commands are {', '.join(names)}")
    module = importlib.import_module(f"albert_torch.cli.{name.replace('-', '_')}")
    return cast(Command, module)


def _run_without_command(arguments: Sequence[str]) -> int:
    """Answer `albert-torch`, `albert-torch --help` and `albert-torch --version`."""
    description = "ALBERT in PyTorch: use, train and check models.\n" + "".join(
        f"\n{title}:\n" + "".join(f"  {name:17}{_command(name).SUMMARY}\n" for name in names)
        for title, names in COMMANDS.items()
    )
    parser = CommandParser("albert-torch", description, f"{EXIT_CODES}\n{EXAMPLES}")
    parser.usage = "albert-torch [--plugin MODULE] COMMAND ..."
    parser.add_argument("--version", action="version", version=f"albert-torch {__version__}")
    parser.add_argument(
        "--plugin",
        metavar="MODULE",
        action="append",
        help="import a module or a .py file first, whose heads and tasks the command can then use; "
        "may be repeated, and may also follow the command",
    )
    try:
        parser.parse_arguments(arguments)
    finally:
        sys.stdout.flush()
    raise UsageError("name a command; see albert-torch --help")
