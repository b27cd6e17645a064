import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnntk.inference.rows import (
    CsvRows,
    JsonRows,
    Row,
    check_format,
    format_of,
    row_writer,
    spellings,
    written_rows,
)
from cnntk.runtime.errors import MissingDependency, UsageError

PROBABILITIES = np.random.default_rng(0).random(40, np.float32)


def rows() -> list[Row]:
    """Forty of one class each, one of two, and one that failed."""
    each = [
        {"file": f"{i}.png", "predictions": [{"label": "a, b", "probability": float(p)}]}
        for i, p in enumerate(PROBABILITIES)
    ]
    two = [{"label": "é", "probability": 0.75}, {"label": "no", "probability": 0.25}]
    return [*each, {"file": "two\n.png", "predictions": two}, {"file": "x\udcff.png", "error": "why, then"}]


def written(path: Path, form: Any) -> Path:
    with row_writer(path, form, 2) as writer:
        for row in rows():
            writer.write(row)
    return path


def test_json_is_an_array_and_jsonl_an_object_a_line(tmp_path: Path) -> None:
    text = written(tmp_path / "rows.json", "json").read_text(encoding="utf-8")
    lines = written(tmp_path / "rows.jsonl", "jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(text) == [json.loads(line) for line in lines] == rows()
    assert text == "[\n" + ",\n".join(lines) + "\n]\n"
    with row_writer(tmp_path / "none.json", "json", 2):
        pass
    assert json.loads((tmp_path / "none.json").read_text()) == []
    assert "é" in lines[40]
    assert lines[41].isascii(), "what is no UTF-8 is told in ASCII"


def test_csv_holds_the_same_to_the_bit(tmp_path: Path) -> None:
    with written(tmp_path / "rows.csv", "csv").open(encoding="utf-8", newline="") as stream:
        header, *cells = csv.reader(stream)
    assert header == ["file", "error", "label_1", "probability_1", "label_2", "probability_2"]
    assert cells[40] == [r"two\n.png", "", "é", "0.75", "no", "0.25"]
    assert cells[41] == ["x\\udcff.png", "why, then", "", "", "", ""]
    numbers = np.array([float(cell[3]) for cell in cells[:40]])
    np.testing.assert_array_equal(numbers, PROBABILITIES.astype(np.float64))
    rounded = np.array([float(f"{p:.6f}") for p in PROBABILITIES])
    assert not np.array_equal(rounded.astype(np.float32), PROBABILITIES), "six digits would not be enough"


def test_a_stream_that_lacks_a_letter(tmp_path: Path) -> None:
    row = {"file": "é.png", "error": "why"}
    for encoding, expected in (("ascii", b"\\u00e9.png"), ("utf-8", "é.png".encode())):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
        JsonRows(stream).write(row)
        assert expected in raw.getvalue()


def test_csv_has_the_columns_of_the_option() -> None:
    stream = io.StringIO()
    CsvRows(stream, 1).write({"file": "a", "predictions": [{"label": "b", "probability": 0.5}]})
    assert stream.getvalue() == "file,error,label_1,probability_1\na,,b,0.5\n"


def test_parquet_has_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    monkeypatch.setattr("cnntk.inference.rows._ROW_GROUP", 16)
    table = parquet.read_table(written(tmp_path / "rows.parquet", "parquet"))
    assert table.column_names == ["file", "error", "label_1", "probability_1", "label_2", "probability_2"]
    assert set(table.schema.types) == {pyarrow.string(), pyarrow.float32()}
    numbers = table["probability_1"].to_numpy()
    np.testing.assert_array_equal(numbers[:40], PROBABILITIES)
    assert table.to_pylist()[41] == dict.fromkeys(table.column_names) | {
        "file": "x\\udcff.png",
        "error": "why, then",
    }


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"pip install 'cnntk\[parquet\]'"):
        check_format("parquet")
    assert check_format("csv") == "csv"


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("a.json", None, "json"),
        ("a.JSONL", None, "jsonl"),
        ("a.ndjson", "json", "jsonl"),
        ("a.txt", "json", "json"),
        ("a.csv", None, "csv"),
        ("a.txt", "csv", "csv"),
    ],
)
def test_the_suffix_says_the_format_where_form_is_none(name: str, form: str | None, expected: str) -> None:
    assert format_of(Path(name), form) == expected


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [("a.txt", None, r"name it \.json, \.jsonl, \.csv"), ("a.csv", "table", "format 'table'")],
)
def test_no_format(name: str, form: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        format_of(Path(name), form)


STATISTICS = {"shape": [1, 2], "dtype": "float32", "min": -1.5, "mean": 0.0, "max": 1.5}
TEXTS = {"shape": [1], "dtype": "str32", "min": None, "mean": None, "max": None}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_statistics_are_columns(tmp_path: Path, form: Any) -> None:
    path = tmp_path / f"rows.{form}"
    with row_writer(path, form, 3, outputs=("=boxes", "t")) as writer:
        writer.write({"file": "a.png", "outputs": {"=boxes": STATISTICS, "t": TEXTS}})
        writer.write({"file": "b.png", "error": "why"})
    if form == "csv":
        header, first, second = csv.reader(path.read_text().splitlines())
        assert header[2:7] == ["'=boxes_shape", *(f"'=boxes_{n}" for n in ("dtype", "min", "mean", "max"))]
        assert first == ["a.png", "", "1x2", "float32", "-1.5", "0.0", "1.5", "1", "str32", "", "", ""]
        assert second == ["b.png", "why", *[""] * 10]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        first, second = parquet.read_table(path).to_pylist()
        assert (first["=boxes_shape"], first["=boxes_max"], first["t_min"]) == ("1x2", 1.5, None)
        assert (second["error"], second["=boxes_shape"]) == ("why", None)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    for form in ("json", "jsonl", "csv"):
        read = list(written_rows(written(tmp_path / f"rows.{form}", form), form))
        assert [row.failed for row in read] == [False] * 41 + [True]
        assert all(row.file in spellings(other["file"]) for row, other in zip(read, rows(), strict=True))
        assert read[0].file not in spellings("1.png")
