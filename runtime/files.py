"""Atomic writes of files, and checks of paths before long work."""

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
    """Yields a temporary path in the folder of ``target``, which replaces ``target`` on success.

    If the block raises (including Ctrl-C), the temporary file is removed and ``target`` is unchanged. A
    killed process may leave the temporary file, but never a partial target.

    Raises:
        UsageError: The folder is not writable, or the disk is full.
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
    """Writes ``data`` to ``target`` atomically."""
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)


def check_writable(target: Path) -> None:
    """Raises UsageError if ``target`` can't be written, so that long work does not start in vain."""
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"{target}: the folder {folder} does not exist; create it first")
    if target.is_dir():
        raise UsageError(f"{target}: is a folder; name a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{target}: the folder {folder} is not writable; choose another")
    try:  # access rights do not tell of /proc and full disks
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"{target}: can't create files in the folder {folder} ({error.strerror}); choose another"
        ) from error


def readable_file(path: str | os.PathLike[str], description: str) -> Path:
    """Returns ``path`` if it is a readable file; ``description`` says in messages what it should be.

    Raises:
        UsageError: The file is missing, a folder or not readable.
    """
    file = Path(path)
    if file.is_dir():
        raise UsageError(f"{file}: is a folder, not {description}")
    if not file.exists():
        raise UsageError(f"{file}: no such file (expected {description})")
    if not os.access(file, os.R_OK):
        raise UsageError(f"{file}: permission denied; check its access rights")
    return file


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows can't flush folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
