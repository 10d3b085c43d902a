"""The code on the pages of the documentation and in the README runs as printed."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.clients import unregister
from helpers.constants import ROOT
from helpers.doc_pages import SHELL, PageError, parse_page, run_page

from albert_torch.cli.main import command_parser

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CARDS = [ROOT / "CONTRIBUTING.md", ROOT / "albert_torch" / "nano" / "README.md"]


@pytest.fixture
def _unregistered() -> Iterator[None]:
    """Undo what the integrations register, which would reach the tests that run afterwards."""
    yield
    if "albert_torch.integrations.transformers" in sys.modules:
        unregister()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("_unregistered")
def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches: an example that no longer works, prints something else, or needs an earlier page."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_do_not_run_are_valid(page: Path) -> None:
    """Catches: a command or an option in a shell block that does not exist, or no longer."""
    for block in parse_page(page.read_text(), page.name):
        if block.language in SHELL and not block.is_run:
            for command, *arguments in block.albert_torch_commands():
                if not command.startswith("-") and "--plugin" not in arguments:
                    command_parser(command).parse_arguments(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_somewhere(page: Path) -> None:
    """Catches: a link to a page or file that was moved."""
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), target


SAMPLE = """
Some text.

<!-- file: data/words.txt -->
```text
one
```

```python
from pathlib import Path
words = Path("data/words.txt").read_text().split()
print(words, 0.123456)
```

<!-- output -->
```text
['one'] 0.1...
```

<!-- run: 1000 => 2; "x" => "y" -->
```python
print(words * 1000, "x")
```

<!-- output -->
```
['one', 'one'] y
```

<!-- no-run: it would fail -->
```python
raise SystemError
```

<!-- needs: a_module_that_nobody_has -->
```python
raise SystemError
```

```sh
exit 1
```

<!-- run -->
```console
$ albert-torch --version > version.txt
this is output
$ cat data/words.txt
```

<!-- output -->
```text
one
```

1. In a list:

    ```python
    assert Path("version.txt").read_text().startswith("albert")
    ```
"""


def test_blocks_run_in_order_with_their_directives(tmp_path: Path) -> None:
    """Catches: a harness that skips what it should run, or runs what it should skip."""
    page = tmp_path / "page.md"
    page.write_text(SAMPLE)
    run_page(page, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n```python\nx = 1\n1 / 0\n```\n", "line 4: ZeroDivisionError"),
        ("```python\nprint(1)\n```\n<!-- output -->\n```\n2\n```\n", "line 6: the page says"),
        ("<!-- run -->\n```sh\nfalse | cat\n```\n", "line 3: exit code 1"),
        ("<!-- run: a => b -->\n```python\nprint(1)\n```\n", "line 3: 'a => b' does not apply"),
        ("<!-- run -->\ntext\n", "line 2: a directive without a code block"),
    ],
)
def test_a_failing_block_is_reported(tmp_path: Path, text: str, message: str) -> None:
    """Catches: a harness that passes whatever the page says."""
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((PageError, AssertionError), match=re.escape(message)):
        run_page(page, tmp_path)


def test_commands_are_found_in_pipelines_and_over_several_lines() -> None:
    """Catches: a command that is not checked because of what stands before or after it."""
    text = "```console\n$ cat x | albert-torch embed - \\\n    out.npy > log  # all\noutput\n```\n"
    text += "```sh\nalbert-torch parity && albert-torch convert 'a b' c\n```\n"
    commands = [
        command for block in parse_page(text, "p") for command in block.albert_torch_commands()
    ]
    assert commands == [["embed", "-", "out.npy"], ["parity"], ["convert", "a b", "c"]]


def test_fences_are_found_where_markdown_has_them() -> None:
    """Catches: a block inside a longer fence that runs, or an indented one that does not."""
    text = (
        "````markdown\n```python\nraise\n```\n````\n\n- item\n\n    ```python\n    x = 1\n    ```\n"
    )
    assert [(b.language, b.code) for b in parse_page(text, "page")] == [
        ("markdown", "```python\nraise\n```\n"),
        ("python", "x = 1\n"),
    ]
