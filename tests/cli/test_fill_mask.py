"""`albert-torch fill-mask`: the packaged model, every output format, and mistakes."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from helpers.word_models import WORDS, CommandLine

from albert_torch import Encoder

TEXT = "the captain stood on the [MASK] of the [MASK]"


def test_json_holds_the_tokens_of_each_mask(cli: CommandLine, masked_lm: str) -> None:
    """Catches: the tokens of another mask, an order other than by probability."""
    result = json.loads(cli.output("fill-mask", TEXT, "--model", masked_lm, "--top-k", "3"))
    assert list(result) == ["text", "masks"]
    assert result["text"] == TEXT
    want = Encoder.from_pretrained(masked_lm).fill_mask(TEXT, 3)
    for mask, candidates in zip(result["masks"], want, strict=True):
        assert [candidate["token"] for candidate in mask] == [token for token, _ in candidates]
        scores = [candidate["score"] for candidate in mask]
        assert scores == pytest.approx([score for _, score in candidates], abs=1e-6)
        assert scores == sorted(scores, reverse=True)


def test_csv_has_a_row_for_each_token(cli: CommandLine, masked_lm: str) -> None:
    """Catches: masks that are mixed up, or a text that is lost."""
    out = cli.output(
        "fill-mask",
        "--text",
        TEXT,
        "--text",
        "a [MASK]",
        "--model",
        masked_lm,
        "--top-k",
        "2",
        "--format",
        "csv",
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["text", "mask", "rank", "token", "score"]
    places = [(row["text"], row["mask"], row["rank"]) for row in rows]
    masks = [(TEXT, "1"), (TEXT, "2"), ("a [MASK]", "1")]
    assert places == [(text, mask, rank) for text, mask in masks for rank in ("1", "2")]


def test_text_output_is_for_people(cli: CommandLine, masked_lm: str) -> None:
    """Catches: a token with SentencePiece's mark, a mask that is not numbered."""
    out = cli.output("fill-mask", TEXT, "--model", masked_lm, "--format", "text")
    lines = out.splitlines()
    assert len(lines) == 10
    for number, line in enumerate(lines):
        match = re.fullmatch(r"mask (\d)  +(\d+\.\d\d)%  (.+)", line)
        assert match
        assert int(match[1]) == 1 + number // 5
        assert match[3] in (*WORDS, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def test_the_packaged_model_is_the_default(cli: CommandLine) -> None:
    """Catches: a default that needs the network, or that has not learned English."""
    result = json.loads(cli.output("fill-mask", "the united [MASK] of america"))
    assert result["masks"][0][0]["token"] == "states"


def test_lines_of_a_pipe(cli: CommandLine, masked_lm: str, tmp_path: Path) -> None:
    """Catches: only the first line of standard input is read."""
    stdin = "a [MASK]\nthe [MASK]\n"
    out = cli.output("fill-mask", "-", "--model", masked_lm, stdin=stdin)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["a [MASK]", "the [MASK]"]
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n7,a [MASK]\n")
    out = cli.output("fill-mask", path, "--model", masked_lm, "--id-column", "id")
    assert json.loads(out)["id"] == "7"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no mask here"], "[MASK]"),
        (["a [MASK]", "--top-k", "0"], "--top-k 0: give a number above 0"),
        (["a [MASK]", "--model", "./nowhere"], "'./nowhere' is not a directory"),
        (["a [MASK]", "--dtype", "int4"], "invalid choice: 'int4'"),
        (["words.txt"], "there is no file words.txt"),
    ],
)
def test_mistakes_exit_2_with_one_line(
    cli: CommandLine, arguments: list[str], message: str
) -> None:
    """Catches: a traceback, or an error that does not name the mistake."""
    assert message in cli.error("fill-mask", *arguments)
