"""Rows, one for each image, as lines of JSON, CSV or Parquet.

All three contain the same data: numbers in JSON and CSV read back as the float32 of the network, to the bit.
Text in CSV is inert (`cnntk.runtime.inert`), and begins with a ' where a spreadsheet would compute it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, get_args

from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.runtime.inert import inert, json_text, spreadsheet_cell

__all__ = ["CsvRows", "Format", "JsonRows", "Row", "RowWriter", "check_format", "format_of", "row_writer"]

Format = Literal["json", "csv", "parquet"]

Row = dict[str, Any]
"""Result of `ImageResult.row`."""

_SUFFIXES: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".parquet": "parquet",
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
    if form is None:
        form = _SUFFIXES.get(output.suffix.lower())
        if form is None:
            raise UsageError(f"{output}: name it .json, .csv or .parquet, or choose one with --format")
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
def row_writer(path: Path, form: Format, top: int, *, keep_formulas: bool = False) -> Iterator[RowWriter]:
    """Opens a writer of ``path`` with ``top`` classes per row; the file is complete after the block."""
    if form == "parquet":
        with _ParquetRows(path, top) as parquet:
            yield parquet
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        yield JsonRows(stream) if form == "json" else CsvRows(stream, top, keep_formulas=keep_formulas)


class JsonRows:
    """Writes lines of ``{"file", "predictions": [{"label", "probability"}]}`` or ``{"file", "error"}``.

    Args:
        stream: Stream to write to, which stays open.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: Row) -> None:
        """Adds ``row``, in ASCII where the stream's encoding lacks a character of it."""
        self._stream.write(json_text(row, self._stream.encoding) + "\n")


class CsvRows:
    """Writes a header and a line per image: file, error, and ``top`` times label and probability, best first.

    Args:
        stream: Stream to write to, which stays open.
        top: Number of classes; for a network with fewer the last columns are empty.
        keep_formulas: Whether cells that a spreadsheet would compute get no ' before them.
    """

    def __init__(self, stream: TextIO, top: int, *, keep_formulas: bool = False) -> None:
        self._cell = inert if keep_formulas else spreadsheet_cell
        self._writer = csv.writer(stream, lineterminator="\n")
        self._width = 2 + 2 * top
        self._writer.writerow(_columns(top))

    def write(self, row: Row) -> None:
        """Adds ``row``."""
        cells = [self._cell(row["file"]), self._cell(row.get("error") or "")]
        for prediction in row.get("predictions", ()):
            cells += (self._cell(prediction["label"]), repr(prediction["probability"]))
        self._writer.writerow(cells + [""] * (self._width - len(cells)))


class _ParquetRows:
    """Writes the columns of CSV with types: strings and float32, null for missing values."""

    def __init__(self, path: Path, top: int) -> None:
        pyarrow, parquet = _pyarrow()
        kinds = [pyarrow.string()] * 2 + [pyarrow.string(), pyarrow.float32()] * top
        self._names = _columns(top)
        self._schema = pyarrow.schema(list(zip(self._names, kinds, strict=True)))
        self._table = pyarrow.Table.from_pylist
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        error = row.get("error")
        cells: list[object] = [_text(row["file"]), error if error is None else _text(error)]
        for prediction in row.get("predictions", ()):
            cells += (_text(prediction["label"]), prediction["probability"])
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


def _columns(top: int) -> list[str]:
    return ["file", "error", *(f"{x}_{i}" for i in range(1, top + 1) for x in ("label", "probability"))]


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
