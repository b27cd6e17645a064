"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnntk.runtime.errors import UsageError

__all__ = ["atomic_write", "check_writable", "readable_file", "write_bytes"]


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``target``; on success it is flushed to disk and takes its name.

    If the block raises (Ctrl-C included) the temporary file is removed and ``target`` is as it was.
    A process that is killed may leave the temporary file, never half a target.

    Raises:
        UsageError: the folder can't be written to, or the disk is full.
    """
    check_writable(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
        _flush(target.parent)
    except OSError as error:
        raise UsageError(f"{target}: can't be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes) -> None:
    """Writes ``data`` to ``target``, whole or not at all."""
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)


def check_writable(target: Path) -> None:
    """Raises UsageError now if ``target`` can't be written later, before the long work starts."""
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"{target}: the folder {folder} does not exist; create it first")
    if target.is_dir():
        raise UsageError(f"{target}: is a folder; name a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{target}: the folder {folder} is not writable; choose another")
    try:  # rights are not all: /proc, full disks
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"{target}: no file can be made in the folder {folder} ({error.strerror}); choose another"
        ) from error


def readable_file(path: str | os.PathLike[str], what: str) -> Path:
    """``path`` as a Path, if it is a file that can be read.

    Raises:
        UsageError: it is missing, a folder, or may not be read; ``what`` says what it should have been.
    """
    file = Path(path)
    if file.is_dir():
        raise UsageError(f"{file}: is a folder, not {what}")
    if not file.exists():
        raise UsageError(f"{file}: no such file (expected {what})")
    if not os.access(file, os.R_OK):
        raise UsageError(f"{file}: permission denied; check its access rights")
    return file


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows has no handle on a folder to flush
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
