"""Tables and texts from files: every format reads the same rows, as pandas does, or the error names
file and line.
"""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from albert_torch.readers import (
    FORMATS,
    read_document,
    read_table,
    read_texts,
    table_format,
)

# Characters that str.splitlines takes for line ends, quotation marks, separators, and a cell above
# the csv module's limit.
ODD_CELLS = [
    "plain",
    'a "quoted" word',
    "comma, and tab",
    "line\u2028separator",
    "next\u0085line",
    "form\ffeed and \x1c\x1d\x1e",
    "zero\u200bwidth ünïcödé 🙂",
    "x" * 200_000,
]


def rows_of(cells: list[str]) -> list[dict[str, Any]]:
    return [{"text": cell, "label": str(number)} for number, cell in enumerate(cells)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the suffix names."""
    names = list(rows[0])
    if path.suffix == ".txt":
        text = "".join(f"{row['text']}\n" for row in rows)
    elif path.suffix == ".tsv":
        lines = [names, *(row.values() for row in rows)]
        text = "".join("\t".join(line) + "\n" for line in lines)
    elif path.suffix == ".csv":
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, names)
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    elif path.suffix == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif path.suffix == ".json":
        text = json.dumps(rows, ensure_ascii=False)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    path.write_bytes(text.encode("utf-8"))
    return path


def test_every_format_has_a_test() -> None:
    """Kills: a format that is added to the reader only."""
    assert set(FORMATS) == {"txt", "tsv", "csv", "jsonl", "json", "parquet"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_reads_the_same_rows(tmp_path: Path, suffix: str) -> None:
    """Kills: a line cut at U+2028, U+0085 or a form feed, a long cell refused, quotation marks
    eaten or kept.
    """
    rows = rows_of(ODD_CELLS)
    path = write(tmp_path / f"table.{suffix}", rows)
    assert list(read_texts(path)) == ODD_CELLS
    if suffix == "txt":
        assert list(read_table(path)) == [{"text": cell} for cell in ODD_CELLS]
        return
    assert list(read_table(path)) == rows
    assert list(read_table(path, ["label"])) == [{"label": row["label"]} for row in rows]
    assert list(read_texts(path, "label")) == [row["label"] for row in rows]


@pytest.mark.parametrize("suffix", ["txt", "tsv", "csv", "jsonl", "json"])
def test_a_byte_order_mark_is_not_text(tmp_path: Path, suffix: str) -> None:
    """Kills: a byte-order mark in the first text or in the name of the first column."""
    path = write(tmp_path / f"table.{suffix}", rows_of(["one", "two"]))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_texts(path)) == ["one", "two"]


@pytest.mark.parametrize("suffix", ["txt", "tsv", "csv", "jsonl"])
def test_windows_line_ends(tmp_path: Path, suffix: str) -> None:
    """Kills: a carriage return at the end of the last cell or text."""
    path = write(tmp_path / f"table.{suffix}", rows_of(["one", "two"]))
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert list(read_texts(path)) == ["one", "two"]
    if suffix != "txt":
        assert list(read_texts(path, "label")) == ["0", "1"]


@pytest.mark.parametrize(
    "text",
    [
        'text,label\n"a\nb",0\n\n\r\nc,1\n   \n"d ""e""",2',
        'text,label\r\n"a\r\nb",0\r\nc,1\r\n',
        'text,label\ra,0\r"b,\r c",1\r',
        'text,label\n"say "hello" there",0\n x "y",1\n',
        "text,label\n\u2028,0\n\u0085x\f,1\n",
        'text,label\n"",0\n,1\n',
        "text\na\n\nb\n",
        "text,label\n",
    ],
)
def test_csv_is_what_pandas_reads(tmp_path: Path, text: str) -> None:
    """Kills: a quoted cell of two lines cut, blank lines as rows, a lone carriage return kept, a
    strict dialect.
    """
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    want = pandas.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    assert list(read_table(path)) == want


@pytest.mark.parametrize(
    "text",
    [
        'text\tlabel\n"a\t0\n\n\r\nb" c\t1\n  \n',
        "text\tlabel\ra\t0\rb\t1\r",
        "text\tlabel\na \u2028 b\t0\n\t\n",
    ],
)
def test_tsv_is_what_pandas_reads_without_quoting(tmp_path: Path, text: str) -> None:
    """Kills: a quotation mark that joins lines, a line of empty cells skipped."""
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "table.tsv"
    path.write_bytes(text.encode())
    options = {"sep": "\t", "quoting": csv.QUOTE_NONE, "dtype": str, "keep_default_na": False}
    assert list(read_table(path)) == pandas.read_csv(path, **options).to_dict("records")


def test_lines_of_text_stay_lines(tmp_path: Path) -> None:
    """Kills: an empty line dropped, so that vectors and texts no longer correspond; the last line
    lost.
    """
    (tmp_path / "a.txt").write_bytes(b"one\n\n two \r\n\x0c\nlast")
    want = ["one", "", " two ", "\f", "last"]
    assert list(read_texts(tmp_path / "a.txt")) == want
    (tmp_path / "notes.md").write_bytes((tmp_path / "a.txt").read_bytes())
    assert list(read_texts(tmp_path / "notes.md")) == want
    (tmp_path / "empty.txt").write_bytes(b"")
    assert list(read_texts(tmp_path / "empty.txt")) == []


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_table_has_no_rows(tmp_path: Path, suffix: str) -> None:
    """Kills: a StopIteration or an index error for an empty file."""
    path = tmp_path / f"table.{suffix}"
    if suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    else:
        path.write_text("[]" if suffix == "json" else "")
    assert list(read_texts(path)) == []


def test_json_lines_in_a_json_file(tmp_path: Path) -> None:
    """Kills: JSON lines refused because of the file's suffix, blank lines taken for records."""
    path = tmp_path / "table.json"
    path.write_text('{"text": "a\\u2028"}\n\n{"text": "b"}\n', encoding="utf-8")
    assert list(read_texts(path)) == ["a\u2028", "b"]
    path.write_text('{"text": "a"}\n{"text": }\n')
    with pytest.raises(ValueError, match=r"table\.json, line 2 is not valid JSON"):
        list(read_texts(path))


def test_a_null_is_an_empty_text(tmp_path: Path) -> None:
    """Kills: a row dropped, the text "None"."""
    for suffix in ("jsonl", "json", "parquet"):
        path = write(tmp_path / f"table.{suffix}", [{"text": "a"}, {"text": None}])
        assert list(read_texts(path)) == ["a", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,label\na,0\nb\n", r"a\.csv, line 3 has 1 cells, not 2 \(text, label\)"),
        ("a.csv", b'text,label\n"a\nb",0\nc,1,2\n', r"a\.csv, line 4 has 3 cells, not 2"),
        ("a.tsv", b"text\tlabel\n\na\t0\t1\n", r"a\.tsv, line 3 has 3 cells, not 2"),
        ("a.csv", b'text,label\na,0\n"b,1\nc,2\n', r"a\.csv, line 3 .* mark is not closed"),
        ("a.csv", b"a,label\nx,0\n", r"a\.csv has no column 'text'; the columns are a, label"),
        ("a.csv", b"text,text\nx,0\n", r"header of .*a\.csv has the column 'text' twice"),
        ("a.csv", b"text\nx\n\xe4\n", r"a\.csv, line 3 is not UTF-8 \(byte 0xe4"),
        ("a.txt", b"x\nb\xe4r\n", r"a\.txt, line 2 is not UTF-8 \(byte 0xe4"),
        ("a.tsv", "text\nx\n".encode("utf-16"), r"a\.tsv, line 1 is not UTF-8 \(byte 0xff"),
        ("a.jsonl", b'{"text": "a"}\n\nnonsense\n', r"a\.jsonl, line 3 is not valid JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', r"a\.jsonl, line 2 holds one list; every line"),
        ("a.jsonl", b"[" * 100_000 + b"\n", r"a\.jsonl, line 1 is not valid JSON"),
        ("a.jsonl", b'{"a": "b"}\n', r"a\.jsonl, line 1 has no column 'text'; the columns are a"),
        (
            "a.jsonl",
            b'{"text": 7}\n',
            r"a\.jsonl, line 1: the column 'text' holds a value of type int, not text",
        ),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"a\.jsonl, line 1 holds a lone surrogate"),
        (
            "a.json",
            b'{"text": ["a"]}',
            r"a\.json must hold a list of objects, one per row, but it holds one object",
        ),
        ("a.json", b'[{"text": "a"}, 3]', r"a\.json, row 2 holds one number; every row"),
        ("a.json", b'[{"text": "a"},\n', r"a\.json is not valid JSON"),
        ("a.parquet", b"PAR1nonsense", r"a\.parquet is not a readable Parquet file"),
    ],
)
def test_errors_name_the_file_and_the_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """Kills: a row that is silently wrong or lost, a traceback of a parser."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_texts(tmp_path / name))


def test_parquet_without_the_column(tmp_path: Path) -> None:
    """Kills: an error of pyarrow that does not list the columns."""
    path = write(tmp_path / "a.parquet", [{"a": 1, "b": "x"}])
    with pytest.raises(ValueError, match=r"a\.parquet has no column 'text'; the columns are a, b"):
        list(read_texts(path))
    with pytest.raises(
        ValueError, match=r"a\.parquet, row 1: the column 'a' holds a value of type int"
    ):
        list(read_texts(path, "a"))


def test_names_that_are_wrong(tmp_path: Path) -> None:
    """Kills: a misspelt path or format that reads nothing."""
    with pytest.raises(FileNotFoundError, match="none"):
        list(read_texts(tmp_path / "none.jsonl"))
    with pytest.raises(ValueError, match=r"the suffix of a\.xml is not a table format; use one of"):
        list(read_table("a.xml"))
    with pytest.raises(ValueError, match="format='xls' is not a table format"):
        list(read_texts("a.txt", format="xls"))
    assert table_format("A.JSONL") == "jsonl"
    assert table_format("a.data", "csv") == "csv"


def test_a_header_can_be_given(tmp_path: Path) -> None:
    """Kills: the first row of a file without a header taken for its column names."""
    (tmp_path / "a.tsv").write_text("x\t1\ny\t0\n")
    rows = list(read_table(tmp_path / "a.tsv", header=("text", "label")))
    assert rows == [{"text": "x", "label": "1"}, {"text": "y", "label": "0"}]


def test_a_few_malformed_lines_can_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kills: one broken line that stops a large run, a broken table that is read in part, lines
    lost in silence.
    """
    good = ["text\tlabel", *["w\t0"] * 2000]
    (tmp_path / "a.tsv").write_text("\n".join([*good, "w", "w\t0\t1"]) + "\n")
    assert len(list(read_table(tmp_path / "a.tsv", skip_malformed=True))) == 2000
    assert "left out 2 lines" in caplog.text
    assert "a.tsv, line 2002 has 1 cells, not 2" in caplog.text
    with pytest.raises(ValueError, match="line 2002 has 1 cells"):
        list(read_table(tmp_path / "a.tsv"))
    (tmp_path / "a.tsv").write_text("\n".join([*good, "w", "w", "w"]) + "\n")
    with pytest.raises(ValueError, match="line 2002 has 1 cells"):
        list(read_table(tmp_path / "a.tsv", skip_malformed=True))


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_standard_input_is_a_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: "-" taken for a file name, a format that needs a file that can be rewound."""
    path = write(tmp_path / f"table.{suffix}", rows_of(["one", "two"]))

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    class Standard:
        buffer = Pipe(path.read_bytes())

    monkeypatch.setattr(sys, "stdin", Standard())
    assert list(read_texts("-", format=None if suffix == "txt" else suffix)) == ["one", "two"]
    assert not Standard.buffer.closed


def test_errors_name_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an error about a file named "-"."""

    class Standard:
        buffer = io.BytesIO(b'{"a": 1}\n')

    monkeypatch.setattr(sys, "stdin", Standard())
    with pytest.raises(ValueError, match="standard input, line 1 has no column 'text'"):
        list(read_texts("-", format="jsonl"))


def test_files_are_read_as_a_stream(tmp_path: Path) -> None:
    """Kills: a whole file read before the first row is returned (the error is behind the rows that
    were taken).
    """
    for suffix, good, bad in (
        ("csv", "text,label\n" + "w,0\n" * 20_000, "w\n"),
        ("tsv", "text\tlabel\n" + "w\t0\n" * 20_000, "w\n"),
        ("jsonl", '{"text": "w"}\n' * 20_000, "nonsense\n"),
    ):
        path = tmp_path / f"table.{suffix}"
        path.write_text(good + bad)
        texts = read_texts(path)
        assert [next(texts) for _ in range(20_000)] == ["w"] * 20_000
        with pytest.raises(ValueError, match="line 2000"):
            next(texts)


def test_the_csv_modules_limit_is_left_as_it_was(tmp_path: Path) -> None:
    """Kills: a limit of the process that is changed for other users of the csv module."""
    before = csv.field_size_limit()
    path = write(tmp_path / "table.csv", rows_of(["x" * 200_000, "y"]))
    texts = read_texts(path)
    assert len(next(texts)) == 200_000
    assert csv.field_size_limit() == before
    list(texts)
    assert csv.field_size_limit() == before


def test_a_document_is_one_text(tmp_path: Path) -> None:
    """Kills: a byte-order mark that moves every answer by one character, line ends of Windows
    kept.
    """
    (tmp_path / "a.txt").write_bytes("\ufefföne\r\ntwo\rthree\n".encode())
    assert read_document(tmp_path / "a.txt") == "öne\ntwo\nthree\n"
    (tmp_path / "a.txt").write_bytes(b"x\n\xff")
    with pytest.raises(ValueError, match=r"a\.txt, line 2 is not UTF-8"):
        read_document(tmp_path / "a.txt")
