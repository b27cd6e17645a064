"""Rows, one for each image, as JSON, lines of JSON, CSV or Parquet; and arrays as npz.

All but npz contain the same data: numbers in JSON and CSV read back as the network's float32, to the bit.
Text in CSV is inert (`cnntk.runtime.inert`), and begins with a ' where a spreadsheet would compute it.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, get_args

import numpy as np

from cnntk.inference.result import STATISTICS
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.inert import inert, json_text, spreadsheet_cell

__all__ = [
    "CsvRows",
    "Format",
    "JsonRows",
    "Row",
    "RowWriter",
    "WrittenRow",
    "check_format",
    "format_of",
    "row_writer",
    "spellings",
    "written_rows",
]

Format = Literal["json", "jsonl", "csv", "parquet", "npz"]

Row = dict[str, Any]
"""Result of `ImageResult.row`."""

_SUFFIXES: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".npz": "npz",
}
_ROW_GROUP = 8192


class RowWriter(Protocol):
    """Writer of rows."""

    def write(self, row: Row) -> None:
        """Adds ``row``."""


def format_of(output: Path, form: str | None) -> Format:
    """Returns the format ``form``, or if it is None the one of the file's suffix.

    Raises:
        UsageError: There is no such format, or none for the suffix.
        MissingDependency: The format needs pyarrow, which is not installed.
    """
    of_suffix = _SUFFIXES.get(output.suffix.lower())
    if form is None or (form, of_suffix) == ("json", "jsonl"):
        form = of_suffix
    if form is None:
        raise UsageError(
            f"{output}: name it .json, .jsonl, .csv, .parquet or .npz, or choose one with --format"
        )
    return check_format(form)


def check_format(form: str) -> Format:
    """Returns ``form`` if rows can be written in this format.

    Raises:
        UsageError: There is no such format.
        MissingDependency: The format needs pyarrow, which is not installed.
    """
    for name in get_args(Format):
        if form == name:
            if form == "parquet":
                _pyarrow()
            return name  # type: ignore[no-any-return]
    raise UsageError(f"format {form!r}: expected one of {', '.join(get_args(Format))}")


@contextmanager
def row_writer(
    path: Path, form: Format, top: int, *, outputs: Sequence[str] = (), keep_formulas: bool = False
) -> Iterator[RowWriter]:
    """Opens a writer of ``path``; the file is complete after the block.

    Args:
        path: Path of the file.
        form: Format.
        top: Number of classes in a row.
        outputs: Outputs of a model whose rows have statistics of arrays instead of classes.
        keep_formulas: Whether cells of CSV that a spreadsheet would compute get no ' before them.
    """
    if form == "parquet":
        with _ParquetRows(path, top, outputs) as parquet:
            yield parquet
    elif form == "npz":
        with zipfile.ZipFile(path, "w") as archive:
            yield _NpzRows(archive)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            if form == "csv":
                yield CsvRows(stream, top, outputs=outputs, keep_formulas=keep_formulas)
                return
            rows = JsonRows(stream, array=form == "json")
            yield rows
            rows.end()


class JsonRows:
    """Writes results of `ImageResult.row` as JSON, a line each.

    Args:
        stream: Stream to write to, which stays open.
        array: Whether the lines are the elements of one array, which `end` closes.
    """

    def __init__(self, stream: TextIO, *, array: bool = False) -> None:
        self._stream, self._array = stream, array
        self._before = "[\n" if array else ""

    def write(self, row: Row) -> None:
        """Adds ``row``, in ASCII where the stream's encoding lacks a character of it."""
        end = "" if self._array else "\n"
        self._stream.write(f"{self._before}{json_text(row, self._stream.encoding)}{end}")
        self._before = ",\n" if self._array else ""

    def end(self) -> None:
        """Closes the array, if it is one."""
        if self._array:
            self._stream.write("[]\n" if self._before.startswith("[") else "\n]\n")


class CsvRows:
    """Writes a header and a line per image: file, error, and ``top`` times label and probability, best first.

    Where ``outputs`` are named, their statistics follow instead.

    Args:
        stream: Stream to write to, which stays open.
        top: Number of classes; for a network with fewer the last columns are empty.
        outputs: Names of the outputs of a model whose rows have statistics of arrays.
        keep_formulas: Whether cells that a spreadsheet would compute get no ' before them.
    """

    def __init__(
        self, stream: TextIO, top: int, *, outputs: Sequence[str] = (), keep_formulas: bool = False
    ) -> None:
        self._cell = inert if keep_formulas else spreadsheet_cell
        self._writer = csv.writer(stream, lineterminator="\n")
        names = _columns(top, outputs)
        self._width = len(names)
        self._writer.writerow(map(self._cell, names))

    def write(self, row: Row) -> None:
        """Adds ``row``."""
        cells = [self._cell(row["file"]), self._cell(row.get("error") or "")]
        cells += (self._cell(v) if isinstance(v, str) else "" if v is None else repr(v) for v in _values(row))
        self._writer.writerow(cells + [""] * (self._width - len(cells)))


class _ParquetRows:
    """Writes the columns of CSV with types: strings and float32, null for missing values."""

    def __init__(self, path: Path, top: int, outputs: Sequence[str]) -> None:
        pyarrow, parquet = _pyarrow()
        text = pyarrow.string()
        statistics = [text, text, *[pyarrow.float64()] * 3] * len(outputs)
        kinds = [text, text, *(statistics or [text, pyarrow.float32()] * top)]
        self._names = _columns(top, outputs)
        self._schema = pyarrow.schema(list(zip(self._names, kinds, strict=True)))
        self._table = pyarrow.Table.from_pylist
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        error = row.get("error")
        cells: list[object] = [_text(row["file"]), error if error is None else _text(error)]
        cells += (_text(v) if isinstance(v, str) else v for v in _values(row))
        self._rows.append(dict(zip(self._names, cells, strict=False)))
        if len(self._rows) == _ROW_GROUP:
            self._flush()

    def __enter__(self) -> _ParquetRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Writes the remaining rows and closes the file, which is discarded after a failure."""
        if kind is None:
            self._flush()
            self._writer.close()
        else:
            with suppress(OSError):
                self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table(self._rows, schema=self._schema))
            self._rows.clear()


class _NpzRows:
    """Writes the arrays of each image, an entry a file, or one per output: ``file`` or ``file/output``.

    The entry of an image that can't be read is ``file/error``, text.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names: set[str] = set()

    def write(self, row: Row) -> None:
        """Adds the arrays of ``row``; an image that is named twice is written once."""
        arrays = row.get("arrays", {"error": np.array(row.get("error"))})
        for output, array in arrays.items():
            name = _text(
                row["file"] if len(arrays) == 1 and "error" not in row else f"{row['file']}/{output}"
            )
            if name not in self._names:
                self._names.add(name)
                with self._archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)


def _columns(top: int, outputs: Sequence[str]) -> list[str]:
    statistics = [f"{_text(output)}_{statistic}" for output in outputs for statistic in STATISTICS]
    classes = [f"{x}_{i}" for i in range(1, top + 1) for x in ("label", "probability")]
    return ["file", "error", *(statistics or classes)]


def _values(row: Row) -> Iterator[str | float | None]:
    """Values of a row behind file and error, in the order of `_columns`."""
    for prediction in row.get("predictions", ()):
        yield from (prediction["label"], prediction["probability"])
    for statistics in row.get("outputs", {}).values():
        shape, *others = (statistics[name] for name in STATISTICS)
        yield from ("x".join(map(str, shape)), *others)


@dataclass(frozen=True)
class WrittenRow:
    """Name of the file that a row is of, as its format spells it, and whether it has an error."""

    file: str
    failed: bool


def written_rows(path: Path, form: Format) -> Iterator[WrittenRow]:
    """Reads the rows of a file that `row_writer` wrote, in order.

    Raises:
        UsageError: The file has other content.
    """
    try:
        if form == "parquet":
            columns = _pyarrow()[1].read_table(path, columns=["file", "error"]).to_pylist()
            yield from (WrittenRow(row["file"], row["error"] is not None) for row in columns)
            return
        with path.open(encoding="utf-8", newline="") as stream:
            if form == "csv":
                yield from (WrittenRow(row["file"], bool(row["error"])) for row in csv.DictReader(stream))
                return
            for line in stream:
                if (text := line.strip().rstrip(",")) not in ("[", "]", "[]"):
                    row = json.loads(text)
                    yield WrittenRow(row["file"], "error" in row)
    except (ValueError, KeyError, TypeError) as error:  # of pyarrow, too
        raise UsageError(f"{path}: it has no rows of cnntk infer; --force replaces it") from error


def spellings(name: str) -> set[str]:
    """The name of a file as each format spells it."""
    return {name, _text(name), inert(name), spreadsheet_cell(name)}


def _text(name: str) -> str:
    """The name of a file with escapes for bytes that are not text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependency(
            f"parquet needs pyarrow, which can't be imported ({error}); run: pip install 'cnntk[parquet]', "
            "or choose csv"
        ) from error
    return pyarrow, parquet
