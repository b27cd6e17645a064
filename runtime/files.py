"""Files that are written whole or not at all, and checks of paths before long work.

What is being written has the name ``.NAME.PID-HEX.tmp`` beside its target. HEX says which process of which
machine writes it: the next write in the folder removes what killed processes have left.
"""

from __future__ import annotations

import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cnntk.runtime.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "atomic_write",
    "check_model_file",
    "check_output",
    "check_writable",
    "follow_links",
    "is_device",
    "is_temporary",
    "model_file",
    "output_mode",
    "readable_file",
    "remove_temporaries",
    "scratch_folder",
    "temporary_folder",
    "write_bytes",
]

_TEMPORARY = r"(?s)\..+\.(?P<pid>[0-9]{1,9})-(?P<machine>[0-9a-f]{8})(?P<start>[0-9a-f]{8})[0-9a-f]{8}\.tmp"
_NAME_CHARACTERS = 50
"""Characters of the target's name in a temporary one, so that it is no longer than file systems allow."""

_OTHER_MACHINES_S = 7 * 24 * 3600.0
"""Age in s from which a temporary file of another machine, or from before this one's start, is abandoned."""

_REFUSED = {stat.S_IFDIR: "folder", stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device"}
_NO_START = "0" * 8

_folders: set[Path] = set()
"""Folders in which this process wrote."""

_MAX_MODEL_BYTES = 1 << 31
"""Size from which protobuf, and so onnxruntime, does not read a file."""


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of ``target``, which replaces ``target`` on success.

    If the block raises (including Ctrl-C), the temporary file is removed and ``target`` is unchanged. A
    killed process may leave the temporary file, but never a partial target.

    An existing file keeps its owner and mode, and the temporary one is never readable for more users. Of a
    symbolic link the file behind it is replaced; other names of a file (hard links) keep the old content. A
    device or a pipe receives the bytes when all are there.

    Raises:
        UsageError: The target can't be written, or the disk is full.
    """
    check_writable(target)
    try:
        if is_device(target):
            with scratch_folder() as folder:
                yield folder / "output"
                _copy_to_device(folder / "output", target)
            return
        file = follow_links(target)
        _sweep(file.parent)
        temporary = _temporary_name(file)
        try:
            mode = _create(temporary, file)
            yield temporary
            _flush(temporary)
            os.chmod(temporary, _owned(temporary, file, mode))
            os.replace(temporary, file)
            _flush(file.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except BrokenPipeError:  # its reader has enough
        raise
    except OSError as error:
        raise UsageError(f"{target}: can't be written: {error.strerror or error}") from error


def write_bytes(target: Path, data: bytes) -> None:
    """Writes ``data`` to ``target`` atomically."""
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)


@contextmanager
def temporary_folder(target: Path, mode: int = 0o777) -> Iterator[Path]:
    """Yields a new folder beside ``target``; after the block it is removed, unless it was renamed."""
    import shutil

    _sweep(target.parent)
    folder = _temporary_name(target)
    folder.mkdir(mode)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yields a new folder among the system's temporary files, for this user only; removed after the block."""
    import tempfile
    from pathlib import Path

    with temporary_folder(Path(tempfile.gettempdir(), "cnntk"), 0o700) as folder:
        yield folder


def check_output(target: Path, *, force: bool) -> None:
    """Checks, before long work, that ``target`` can be written and is no file that exists, unless ``force``.

    Raises:
        UsageError: It exists, or can't be written.
    """
    if not force and follow_links(target).exists() and not is_device(target):
        raise UsageError(f"{target}: exists already; --force replaces it, or name another file")
    check_writable(target)


def check_writable(target: Path) -> None:
    """Raises UsageError if ``target`` can't be written, so that long work does not start in vain."""
    file = follow_links(target)
    folder = file.parent
    if file.exists() and not os.access(file, os.W_OK):
        raise UsageError(f"{target}: is write-protected; change its access rights, or name another file")
    if is_device(target):
        return
    if not folder.is_dir():
        raise UsageError(f"{target}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{target}: the folder {folder} is not writable; choose another")
    try:  # access rights do not tell of /proc and full disks
        probe = _temporary_name(file)
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{target}: can't create files in the folder {folder} ({error.strerror}); choose another"
        ) from error


def follow_links(target: Path) -> Path:
    """The file that a path to write to leads to, which may not exist yet.

    Raises:
        UsageError: It is a folder, a socket or a block device, or links lead in a circle.
    """
    try:
        kind = stat.S_IFMT(os.stat(target).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        kind = 0
    except (OSError, ValueError) as error:  # a circle of links, a name that is too long or has a NUL
        raise UsageError(f"{target}: can't be written: {getattr(error, 'strerror', error)}") from error
    if kind in _REFUSED:
        raise UsageError(f"{target}: is a {_REFUSED[kind]}; name a file")
    while target.is_symlink() and _descriptor(target) is None:
        target = target.parent / os.readlink(target)
    return target


def is_device(target: Path) -> bool:
    """Whether ``target`` is no regular file but takes bytes: a device, a pipe, or ``/dev/stdout``."""
    try:
        mode = os.stat(target).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or _descriptor(follow_links(target)) is not None


def output_mode(target: Path) -> int:
    """Mode of ``target``; for one that does not exist all rights, of which the umask removes some."""
    try:
        return os.stat(target).st_mode & 0o777
    except OSError:
        return 0o666


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that is being written, or whose process was killed."""
    return re.fullmatch(_TEMPORARY, name) is not None


def readable_file(path: str | os.PathLike[str], description: str) -> Path:
    """Returns ``path`` if it is a readable file; ``description`` says in messages what it should be.

    Raises:
        UsageError: The file is missing, a folder or not readable.
    """
    from pathlib import Path

    return Path(_check_readable(path, description))


def _check_readable(path: str | os.PathLike[str], description: str) -> str:
    file = os.fspath(path)
    if os.path.isdir(file):
        raise UsageError(f"{file}: is a folder, not {description}")
    if not os.path.exists(file):
        raise UsageError(f"{file}: no such file (expected {description})")
    if not os.access(file, os.R_OK):
        raise UsageError(f"{file}: permission denied; check its access rights")
    return file


def remove_temporaries() -> None:
    """Removes what this process is writing, for one that ends in the middle of it."""
    process = f".{_process()}"
    for folder in tuple(_folders):  # other threads add to it
        _remove(folder, lambda entry: process in entry.name and is_temporary(entry.name))


def model_file(path: str | os.PathLike[str], description: str = "an ONNX model") -> Path:
    """Returns ``path`` if it passes `check_model_file`."""
    from pathlib import Path

    return Path(check_model_file(path, description))


def check_model_file(path: str | os.PathLike[str], description: str = "an ONNX model") -> str:
    """Returns ``path`` as text if it is a file that can be a model, which is not opened for that.

    Raises:
        UsageError: The file is missing, not readable, not a regular file (a pipe or device could be read for
            ever, and only once), or larger than the format allows.
    """
    file = _check_readable(path, description)
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{file}: is a pipe or a device, not {description}; save the model to a file first")
    if status.st_size >= _MAX_MODEL_BYTES:
        raise UsageError(
            f"{file}: has {status.st_size / 1e9:.1f} GB, so it is not {description}: the format allows 2 GB, "
            "and larger weights are in a file of their own"
        )
    return file


def _sweep(folder: Path) -> None:
    """Removes the temporary files and folders of killed processes from ``folder``."""
    _remove(folder, _is_abandoned)


def _remove(folder: Path, condition: Callable[[os.DirEntry[str]], bool]) -> None:
    import shutil

    try:
        entries = [entry for entry in os.scandir(folder) if condition(entry)]
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(entry)


def _temporary_name(target: Path) -> Path:
    _folders.add(target.parent)
    return target.with_name(f".{target.name[:_NAME_CHARACTERS]}.{_process()}{os.urandom(4).hex()}.tmp")


def _process() -> str:
    """What names of this process's temporary files have in common."""
    pid = os.getpid()
    return f"{pid}-{_machine()}{_start_of(pid) or _NO_START}"


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    """Whether the process that the name says was killed; one of another machine counts by its age."""
    match = re.fullmatch(_TEMPORARY, entry.name)
    if match is None:
        return False
    if match["machine"] == _machine() and os.name != "nt":
        start = _start_of(int(match["pid"]))
        return start is None or start not in ("", match["start"])
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OTHER_MACHINES_S
    except OSError:  # another process was first
        return False


def _machine() -> str:
    """8 hex digits for the numbering of processes: this machine since its start, and this container."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            text = file.read() + os.readlink("/proc/self/ns/pid")
    except OSError:
        import platform

        text = platform.node()
    return f"{zlib.crc32(text.encode()):08x}"


def _start_of(pid: int) -> str | None:
    """8 hex digits of when a process started, as numbers are used again; None if it ended.

    Empty where the system does not tell.
    """
    if os.name == "nt":  # where this signal would end it
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # another user's
        pass
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return None if state in (b"Z", b"X") else f"{int(fields[18]) & 0xFFFFFFFF:08x}"


def _create(temporary: Path, file: Path) -> int:
    """Creates the temporary file for this user only; returns the mode that it has in the end."""
    exists = file.exists()
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if exists else 0o666)
    os.close(handle)
    mode = output_mode(file if exists else temporary)
    os.chmod(temporary, 0o600)
    return mode


def _owned(temporary: Path, file: Path, mode: int) -> int:
    """Gives the temporary file the owner of ``file``; returns the mode, without rights of a lost group."""
    if os.name == "nt" or not file.exists():
        return mode
    old, new = file.stat(), temporary.stat()
    for owner, group in ((old.st_uid, old.st_gid), (-1, old.st_gid)):
        if (old.st_uid, old.st_gid) == (new.st_uid, new.st_gid):
            return mode
        with suppress(OSError):  # only the administrator may
            os.chown(temporary, owner, group)
            return mode
    return mode & 0o707


def _copy_to_device(file: Path, target: Path) -> None:
    import shutil

    descriptor = _descriptor(follow_links(target))
    handle = os.open(target, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
    with file.open("rb") as source, open(handle, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def _descriptor(path: Path) -> int | None:
    """Number of the open file that ``path`` names, as ``/dev/stdout`` and ``/dev/fd/63`` do."""
    for link in (path, path.parent / os.readlink(path)) if path.is_symlink() else ():
        if link.name.isdecimal() and os.path.realpath(link.parent) == f"/proc/{os.getpid()}/fd":
            return int(link.name)
    return None


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows can't flush folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
