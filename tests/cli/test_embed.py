"""`albert-torch embed`: every input, the options, and mistakes."""

import json
from pathlib import Path

import pytest
from helpers.constants import SHARED
from helpers.word_models import CommandLine, save_word_model

from albert_torch import Encoder

numpy = pytest.importorskip("numpy")
TEXTS = ["the captain stood on the deck", "a ship", "the sea ."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_word_model("AlbertModel", tmp_path_factory.mktemp("model")))


def test_a_vector_for_each_line(
    cli: CommandLine, model: str, text_file: Path, tmp_path: Path
) -> None:
    """Catches: an option of the command that does not reach the encoder."""
    target = tmp_path / "x.npy"
    options = ["--quiet", "--normalize", "--pooling", "cls"]
    out = cli.output("embed", text_file, target, "--model", model, *options)
    assert out == f"3 vectors of {SHARED['hidden_size']} numbers in {target}\n"
    vectors = numpy.load(target)
    want = Encoder.from_pretrained(model, pooling="cls").encode(TEXTS, normalize_embeddings=True)
    assert vectors.dtype == numpy.float32
    assert numpy.abs(vectors - want).max() < 1e-6


def test_every_input_gives_the_same_vectors(
    cli: CommandLine, model: str, text_file: Path, tmp_path: Path
) -> None:
    """Catches: a column that is ignored, a pipe that is read differently from a file."""
    want = Encoder.from_pretrained(model).encode(TEXTS)
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps({"id": 1, "body": text}) + "\n" for text in TEXTS))
    comma = tmp_path / "table.csv"
    comma.write_text("id,body\n" + "".join(f"1,{text}\n" for text in TEXTS))
    column = ["--column", "body"]
    for number, (arguments, stdin) in enumerate(
        [
            ([text_file], b""),
            (["-"], text_file.read_bytes()),
            ([table, *column], b""),
            ([comma, *column], b""),
            (["-", "--input-format", "jsonl", *column], table.read_bytes()),
        ]
    ):
        target = tmp_path / f"{number}.npy"
        cli.output("embed", arguments[0], target, *arguments[1:], "--model", model, stdin=stdin)
        assert numpy.abs(numpy.load(target) - want).max() < 1e-6
    cli.output("embed", TEXTS[0], tmp_path / "one.npy", "--model", model)
    assert numpy.abs(numpy.load(tmp_path / "one.npy") - want[:1]).max() < 1e-6


def test_parquet_out(cli: CommandLine, model: str, text_file: Path, tmp_path: Path) -> None:
    """Catches: a format that the help names and that is not written."""
    parquet = pytest.importorskip("pyarrow.parquet")
    cli.output("embed", text_file, tmp_path / "x.parquet", "--model", model)
    vectors = parquet.read_table(tmp_path / "x.parquet")["embedding"].to_pylist()
    assert (
        numpy.abs(numpy.array(vectors) - Encoder.from_pretrained(model).encode(TEXTS)).max() < 1e-6
    )


def test_quiet_shows_no_progress(
    cli: CommandLine, model: str, text_file: Path, tmp_path: Path
) -> None:
    """Catches: a progress bar in the log of a scheduled job."""
    assert cli("embed", text_file, tmp_path / "x.npy", "--model", model, "--quiet").err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: INPUT, OUTPUT"),
        (["{texts}"], "required: OUTPUT"),
        (["{texts}", "x.txt"], "x.txt must end in .npy or .parquet"),
        (["{texts}", "nowhere/x.npy"], "OUTPUT nowhere/x.npy: the directory nowhere does not"),
        (["missing.txt", "x.npy"], "there is no file missing.txt"),
        (["{texts}", "x.npy", "--column", "text"], "--column does not apply to plain text"),
        (["{texts}", "x.npy", "--input-format", "csv"], "--input-format applies to standard input"),
        (["-", "x.npy", "--column", "text"], "--column does not apply to plain text"),
        (["the sea", "x.npy", "--column", "text"], "--column does not apply to a text"),
        (["{texts}", "x.npy", "--pooling", "sum"], "invalid choice: 'sum'"),
    ],
)
def test_mistakes_exit_2_with_one_line(
    cli: CommandLine,
    model: str,
    tmp_path: Path,
    text_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Catches: a traceback, or a file that is written in spite of a mistake."""
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(texts=text_file) for argument in arguments]
    assert message in cli.error("embed", *filled, "--model", model)
    assert not list(tmp_path.glob("x.*"))
