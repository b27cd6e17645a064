"""Journal of an unfinished run: its rows as lines of JSON, from which the run can be resumed.

The first line describes the model and the options; a row for each image follows, in order. Only whole batches
count: rows behind the last one are computed again, so that every image is in the same batch as without the
interruption, and outputs are equal to the bit.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType

from cnntk.inference.pipeline import InputFile
from cnntk.inference.result import ImageResult
from cnntk.inference.rows import Row
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import check_writable, is_device

__all__ = ["Journal", "is_finished"]

_KIND = "rows of an unfinished cnntk infer"


class Journal:
    """Rows of an unfinished run; a context manager that one process can enter at a time.

    Args:
        path: Path of the journal, which is created where it does not exist.
        origin: Everything that the rows depend on.
        batch: Number of rows in a batch.
        mode: Mode of a new file, from which the umask removes rights: that of the output.

    Attributes:
        done: Number of rows.

    Raises:
        UsageError: The file is no journal, or of another origin, or in use by another process, or not
            writable.
    """

    def __init__(self, path: Path, origin: Mapping[str, object], batch: int, mode: int = 0o666) -> None:
        self.done = 0
        self._path, self._batch = path, batch
        self._head = _line({"cnntk": _KIND, **origin})
        self._new: list[bytes] = []
        check_writable(path)
        if is_device(path):
            raise UsageError(f"{path}: is a device or a pipe, and unfinished rows need a file; remove it")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), mode)
            self._file = open(handle, "ab", buffering=0)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._lock()
            self._check_origin()
        except BaseException:  # Ctrl-C, too
            self._file.close()
            raise

    def skip_done(self, files: Iterator[InputFile]) -> Iterator[InputFile]:
        """The files that have no row yet; an incomplete batch at the journal's end is removed.

        Raises:
            UsageError: The rows are of other files.
        """
        complete, rest = len(self._head), list[InputFile]()
        with self._path.open("rb") as lines:
            lines.seek(complete)
            end = complete
            for line in lines:
                row = _row(line)
                if row is None:
                    break
                rest.append(self._check_same(next(files, None), row))
                end += len(line)
                if len(rest) == self._batch:
                    rest.clear()
                    self.done, complete = self.done + self._batch, end
        self._file.truncate(complete)
        return chain(rest, files)

    def append(self, row: Row) -> None:
        """Adds a row, which is written when its batch is full, or by `flush`.

        Raises:
            UsageError: It can't be written; earlier rows stay.
        """
        self._new.append(_line(row))
        self.done += 1
        if len(self._new) == self._batch:
            self.flush()

    def flush(self) -> None:
        """Writes the rows of the unfinished batch."""
        self._write(b"".join(self._new))
        self._new.clear()

    def rows(self) -> Iterator[Row]:
        """All rows, in order."""
        with self._path.open("rb") as lines:
            lines.seek(len(self._head))
            yield from map(json.loads, lines)

    def note_output(self, path: Path) -> None:
        """Notes the file that all rows were written to, which is about to become the output."""
        self._write(json.dumps(_identity(path)).encode() + b"\n")

    def remove(self) -> None:
        """Deletes the journal, after its rows were written to the output."""
        self._file.close()
        self._path.unlink()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lock(self) -> None:
        """Locks the file, except on Windows; the lock ends with the process, even if it crashes."""
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self._path}: another process is writing it") from None
        except OSError:  # a file system without locks
            pass

    def _check_origin(self) -> None:
        with self._path.open("rb") as lines:
            head = lines.readline(1 << 16)
        if head == self._head:
            return
        if self._head.startswith(head):  # new, or its process was killed while it wrote the first line
            self._file.truncate(0)
            self._write(self._head)
            return
        actual, expected = _row(head), json.loads(self._head)
        if actual is None or actual.get("cnntk") != _KIND:
            raise UsageError(f"{self._path}: its content is not {_KIND}; move it away")
        for name in expected | actual:
            if actual.get(name) != expected.get(name):
                raise UsageError(
                    f"{self._path}: was started with {name} {actual.get(name)}, not {expected.get(name)}; "
                    "continue with that, or delete it to start again"
                )

    def _check_same(self, file: InputFile | None, row: Row) -> InputFile:
        if file is not None:
            name = file.file if isinstance(file, ImageResult) else os.fspath(file)
            if name == row.get("file"):
                return file
        now = "which is no longer among the images" if file is None else f"where {name} is now"
        raise UsageError(
            f"{self._path}: has a row for {row.get('file')}, {now}: the images have changed since it was "
            "started; delete it to start again"
        )

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(f"{self._path}: can't be written: {error.strerror or error}")


def is_finished(journal: Path, output: Path) -> bool:
    """Whether all rows of a journal are in ``output``: its process ended before it removed the journal."""
    try:
        last = journal.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[2]
        return last == json.dumps(_identity(output)).encode()
    except OSError:
        return False


def _identity(path: Path) -> list[int]:
    """What a file keeps when it is renamed; a list, because rows are objects."""
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size]


def _line(row: Mapping[str, object]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _row(line: bytes) -> Row | None:
    """The row of a line; None where the line is incomplete."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
