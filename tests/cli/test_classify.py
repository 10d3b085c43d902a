"""`albert-torch classify`: every input, every output format, and mistakes."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from helpers.word_models import CommandLine

from albert_torch import Encoder

TEXTS = ["the captain stood on the deck", "a ship", "the sea ."]


def expected(model: str, texts: list[str] | list[tuple[str, str]] | None = None) -> list[str]:
    """The label of each text, from the encoder itself."""
    scores = Encoder.from_pretrained(model).classify(texts or TEXTS)
    return [max(of_text, key=lambda label: of_text[label]) for of_text in scores]


def test_a_line_of_json_for_each_text_in_order(
    cli: CommandLine, classifier: str, text_file: Path
) -> None:
    """Catches: results in the order of length, scores of another text, a text that is not kept."""
    results = [
        json.loads(line)
        for line in cli.output("classify", text_file, "--model", classifier).splitlines()
    ]
    assert [result["text"] for result in results] == TEXTS
    assert [result["label"] for result in results] == expected(classifier)
    for result in results:
        assert list(result) == ["text", "label", "score", "scores"]
        assert list(result["scores"]) == ["calm", "stormy", "foggy"]
        assert (
            result["score"] == max(result["scores"].values()) == result["scores"][result["label"]]
        )
        assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_text_argument_options_and_standard_input_say_the_same(
    cli: CommandLine, classifier: str, text_file: Path
) -> None:
    """Catches: an input that is read differently from the others."""
    want = cli.output("classify", text_file, "--model", classifier)
    piped = cli.output("classify", "-", "--model", classifier, stdin=text_file.read_bytes())
    assert piped == want
    options = [part for text in TEXTS for part in ("--text", text)]
    assert cli.output("classify", *options, "--model", classifier) == want
    single = [cli.output("classify", text, "--model", classifier) for text in TEXTS]
    assert "".join(single) == want


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_tables_with_a_column_and_an_id(
    cli: CommandLine, classifier: str, tmp_path: Path, suffix: str
) -> None:
    """Catches: a column option that is ignored, an id that is lost or belongs to another text."""
    rows = [{"id": f"n{number}", "review": text} for number, text in enumerate(TEXTS)]
    path = tmp_path / f"reviews.{suffix}"
    if suffix in ("csv", "tsv"):
        separator = "," if suffix == "csv" else "\t"
        lines = [separator.join(row.values()) for row in rows]
        path.write_text("\n".join([separator.join(rows[0]), *lines]) + "\n")
    elif suffix == "json":
        path.write_text(json.dumps(rows))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    options = ["--column", "review", "--id-column", "id", "--model", classifier]
    out = cli.output("classify", path, *options)
    results = [json.loads(line) for line in out.splitlines()]
    assert [{key: result[key] for key in ("id", "review")} for result in results] == rows
    assert [result["label"] for result in results] == expected(classifier)
    if suffix != "parquet":
        stdin = path.read_bytes()
        piped = cli.output("classify", "-", "--input-format", suffix, *options, stdin=stdin)
        assert piped == out


def test_csv_output_has_the_same_columns_in_every_row(
    cli: CommandLine, classifier: str, tmp_path: Path
) -> None:
    """Catches: unquoted commas, columns in the order of the scores of the first text."""
    out = cli.output(
        "classify",
        "--text",
        'a "ship", the sea',
        "--text",
        "the deck",
        "--model",
        classifier,
        "--format",
        "csv",
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["text", "label", "score", "score_calm", "score_stormy", "score_foggy"]
    assert [row["text"] for row in rows] == ['a "ship", the sea', "the deck"]
    for row in rows:
        assert row["score"] == row[f"score_{row['label']}"]
    path = tmp_path / "out.csv"
    assert (
        cli.output(
            "classify",
            "--text",
            'a "ship", the sea',
            "--text",
            "the deck",
            "--model",
            classifier,
            "--output",
            path,
        )
        == ""
    )
    assert path.read_text() == out


def test_text_output_is_for_people(cli: CommandLine, classifier: str, text_file: Path) -> None:
    """Catches: labels that are not aligned, a percentage without its text."""
    out = cli.output("classify", text_file, "--model", classifier, "--format", "text")
    for line, text, label in zip(out.splitlines(), TEXTS, expected(classifier), strict=True):
        assert re.fullmatch(rf"{label:6}   ?\d+\.\d\d%  {re.escape(text)}", line)


def test_pairs_of_texts(cli: CommandLine, classifier: str, tmp_path: Path) -> None:
    """Catches: a second text that is ignored."""
    path = tmp_path / "pairs.tsv"
    path.write_text("premise\thypothesis\nthe captain\tstood\na ship\tthe sea\n")
    out = cli.output(
        "classify",
        path,
        "--column",
        "premise",
        "--pair-column",
        "hypothesis",
        "--model",
        classifier,
    )
    results = [json.loads(line) for line in out.splitlines()]
    assert results[1]["premise"] == "a ship"
    assert results[1]["hypothesis"] == "the sea"
    scores = Encoder.from_pretrained(classifier).classify(
        [("the captain", "stood"), ("a ship", "the sea")]
    )
    for result, want in zip(results, scores, strict=True):
        assert result["scores"] == pytest.approx(want, abs=1e-6)


def test_a_regression_model_has_a_score_and_no_label(cli: CommandLine, regressor: str) -> None:
    """Catches: a probability of 100 % for a number that is no probability."""
    result = json.loads(cli.output("classify", "the sea", "--model", regressor))
    (value,) = Encoder.from_pretrained(regressor).classify(["the sea"])[0].values()
    assert result == {"text": "the sea", "score": pytest.approx(value, abs=1e-6)}
    line = cli.output("classify", "the sea", "--model", regressor, "--format", "text")
    assert line == f"{value:10.4f}  the sea\n"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_every_dtype_runs(cli: CommandLine, classifier: str, dtype: str) -> None:
    """Catches: a dtype that `--help` offers and that the encoder refuses."""
    options = ["--dtype", dtype, "--device", "cpu", "--max-length", "16", "--batch-tokens", "32"]
    result = json.loads(cli.output("classify", "the sea", "--model", classifier, *options))
    assert result["label"] in ("calm", "stormy", "foggy")


def test_many_records_come_out_in_order(cli: CommandLine, classifier: str, tmp_path: Path) -> None:
    """Catches: a portion of records that is lost or repeated where the next one begins."""
    texts = [" ".join(["sea"] * (1 + number % 7)) for number in range(2500)]
    (tmp_path / "many.txt").write_text("\n".join(texts) + "\n")
    out = cli.output("classify", tmp_path / "many.txt", "--model", classifier)
    assert [json.loads(line)["text"] for line in out.splitlines()] == texts


def test_a_failed_run_leaves_the_old_output(
    cli: CommandLine, classifier: str, tmp_path: Path
) -> None:
    """Catches: half of a file of results, which looks like all of it."""
    table, target = tmp_path / "table.jsonl", tmp_path / "out.csv"
    table.write_text('{"text": "the sea"}\n' * 3000 + "not JSON\n")
    target.write_text("the old results\n")
    message = cli.error("classify", table, "--model", classifier, "--output", target)
    assert "table.jsonl, line 3001 is not valid JSON" in message
    assert target.read_text() == "the old results\n"
    assert {path.name for path in tmp_path.iterdir()} == {"table.jsonl", "out.csv"}


def test_an_empty_file_has_no_results(cli: CommandLine, classifier: str, tmp_path: Path) -> None:
    """Catches: an error about an empty batch."""
    (tmp_path / "empty.txt").touch()
    assert cli.output("classify", tmp_path / "empty.txt", "--model", classifier) == ""


def test_a_file_that_is_a_directory_or_a_device(
    cli: CommandLine, classifier: str, tmp_path: Path
) -> None:
    """Catches: an attempt to replace a device by a file."""
    options = ["--model", classifier, "--format", "csv"]
    assert cli.output("classify", "the sea", *options, "--output", "/dev/null") == ""
    message = cli.error("classify", tmp_path, *options)
    assert "is a directory, not a file; if it is a text, give it with --text" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a text, a file, or - for standard input"),
        (["the sea", "--text", "a ship"], "either INPUT (the sea) or --text, not both"),
        (["reviews.csv"], "there is no file reviews.csv; if it is a text, give it with --text"),
        (["data/reviews"], "there is no file data/reviews; if it is a text, give it with --text"),
        (["the sea", "--column", "text"], "--column does not apply to a text"),
        (["--text", "the sea", "--id-column", "id"], "--id-column does not apply to a text given"),
        (["the sea", "--input-format", "csv"], "--input-format does not apply to a text"),
        (["{texts}", "--column", "text"], "--column does not apply to plain text, which has no"),
        (["-", "--pair-column", "b"], "--pair-column does not apply to plain text"),
        (["{table}"], "has no column 'text'; the columns are id, label, number, review"),
        (["{table}", "--column", "number"], "row 1: the column 'number' holds int, not text; name"),
        (["{table}", "--column", "review", "--id-column", "label"], "--id-column label: the"),
        (["the sea", "--output", "x.parquet"], "--output x.parquet: the suffix must be .txt, "),
        (["the sea", "--output", "nowhere/x.csv"], "the directory nowhere does not exist"),
        (["the sea", "--format", "xml"], "invalid choice: 'xml'"),
        (["the sea", "--device", "potato"], "--device potato: torch knows no such device; use cpu"),
        (["the sea", "--device", "meta"], "--device meta: torch knows no such device"),
        (["the sea", "--dtype", "float16"], "float16 is for GPUs"),
        (["the sea", "--max-length", "1"], "max_length=1"),
        (["the sea", "--batch-tokens", "0"], "--batch-tokens 0: give a number above 0"),
        (["the sea", "--threads", "0"], "--threads 0: give a number above 0"),
        (["the sea", "--threads", "two"], "invalid int value: 'two'"),
        (["the sea", "the deck"], "the argument 'the' is one too many; put quotes around a text"),
        (["the sea", "--collumn", "x"], "there is no option --collumn (did you mean --column?)"),
    ],
)
def test_mistakes_exit_2_with_one_line(
    cli: CommandLine,
    classifier: str,
    tmp_path: Path,
    text_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Catches: a traceback, an option that is silently ignored, an error without a remedy."""
    table = tmp_path / "table.jsonl"
    table.write_text('{"id": 1, "label": "x", "number": 3, "review": "the sea"}\n')
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(texts=text_file, table=table) for argument in arguments]
    assert message in cli.error("classify", *filled, "--model", classifier)


def test_the_model_is_required_and_must_be_a_classifier(cli: CommandLine, masked_lm: str) -> None:
    """Catches: a default that classifies with a random head."""
    assert "required: --model" in cli.error("classify", "the sea")
    message = cli.error("classify", "the sea", "--model", masked_lm)
    assert "AlbertForSequenceClassification" in message
