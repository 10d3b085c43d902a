"""MkDocs hook: fills docs/cli.md with the help of every command, so that it is never outdated."""

import os
from typing import Any

from albert_torch.cli.main import COMMANDS, command_parser

MARKER = "<!-- help of all commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marker in a page."""
    return markdown.replace(MARKER, help_of_all_commands()) if MARKER in markdown else markdown


def help_of_all_commands() -> str:
    """The help of each command as Markdown, in the groups of `albert-torch --help`."""
    os.environ["COLUMNS"] = "80"  # the width of a page
    sections = []
    for group, names in COMMANDS.items():
        sections.append(f"## {group}")
        for name in names:
            sections.append(f"### albert-torch {name}\n")
            sections.append(f"```text\n{command_parser(name).format_help().rstrip()}\n```\n")
    return "\n".join(sections)
