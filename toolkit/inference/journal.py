"""What a long run has done so far: lines of JSON in a file of their own, which outlive the process.

The first line says which model the rows come from and how; a row for each image follows, in order. Whole
batches count: what is behind the last one is done again, so that every image is in the batch that it would
have been in without the interruption, and answers are the same to the bit.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType

from cnntk.inference.result import ImageResult
from cnntk.inference.rows import Row
from cnntk.inference.running import File
from cnntk.runtime.errors import UsageError

__all__ = ["Journal"]

_KIND = "rows of an unfinished cnntk infer"


class Journal:
    """The rows of an unfinished run; a context manager, which no second process enters.

    Args:
        path: of the journal; it is made where it is not there.
        origin: what the rows depend on.
        batch: how many rows belong together.

    Attributes:
        done: how many rows there are.

    Raises:
        UsageError: it is something else's, or of another origin; another process has it; it can't be written.
    """

    def __init__(self, path: Path, origin: Mapping[str, object], batch: int) -> None:
        self.done = 0
        self._path, self._batch = path, batch
        self._head = _line({"cnntk": _KIND, **origin})
        self._new: list[bytes] = []
        try:
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._lock()
            self._check_origin()
        except BaseException:
            self._file.close()
            raise

    def skip_done(self, files: Iterator[File]) -> Iterator[File]:
        """The files that have no row yet; what is torn at the journal's end is cut off.

        Raises:
            UsageError: the rows are of other files.
        """
        kept, behind = len(self._head), list[File]()
        with self._path.open("rb") as lines:
            lines.seek(kept)
            end = kept
            for line in lines:
                row = _row(line)
                if row is None:
                    break
                behind.append(self._same(next(files, None), row))
                end += len(line)
                if len(behind) == self._batch:
                    behind.clear()
                    self.done, kept = self.done + self._batch, end
        self._file.truncate(kept)
        return chain(behind, files)

    def append(self, row: Row) -> None:
        """Adds a row; it is in the file when its batch is full, or at `close`.

        Raises:
            UsageError: it can't be written; what is there stays.
        """
        self._new.append(_line(row))
        self.done += 1
        if len(self._new) == self._batch:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that wait for their batch to be full."""
        self._write(b"".join(self._new))
        self._new.clear()

    def rows(self) -> Iterator[Row]:
        """All rows, in order."""
        with self._path.open("rb") as lines:
            lines.seek(len(self._head))
            yield from map(json.loads, lines)

    def remove(self) -> None:
        """When its rows are elsewhere."""
        self._file.close()
        self._path.unlink()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _lock(self) -> None:
        """Where the system can (not Windows); the lock ends with the process, however that ends."""
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
            found = lines.readline(1 << 16)
        if found == self._head:
            return
        if self._head.startswith(found):  # new, or killed with its first line half written
            self._file.truncate(0)
            self._write(self._head)
            return
        theirs, ours = _row(found), json.loads(self._head)
        if theirs is None or theirs.get("cnntk") != _KIND:
            raise UsageError(f"{self._path}: holds something else than {_KIND}; move it away")
        for name in ours | theirs:
            if theirs.get(name) != ours.get(name):
                raise UsageError(
                    f"{self._path}: was begun with {name} {theirs.get(name)}, not {ours.get(name)}; "
                    "go on with that, or delete it to start again"
                )

    def _same(self, file: File | None, row: Row) -> File:
        if file is not None:
            name = file.file if isinstance(file, ImageResult) else os.fspath(file)
            if name == row.get("file"):
                return file
        now = "and there is no such image any more" if file is None else f"which is now {name}"
        raise UsageError(
            f"{self._path}: has a row for {row.get('file')}, {now}: the images are not those that it was "
            "begun with; delete it to start again"
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


def _line(row: Mapping[str, object]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _row(line: bytes) -> Row | None:
    """None where it is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
