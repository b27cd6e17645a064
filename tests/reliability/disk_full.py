"""Disks of every size: a file is written wholly, or a line says that the disk is full and nothing changes."""

from __future__ import annotations

import ctypes
import functools
import os
import random
import resource
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from reliability.runner import Failed, Kind
from reliability.writers import QUICK, WRITERS, Writer, clear, fork, import_for, leftovers, prepare_images

__all__ = ["DISK_FULL", "can_mount"]

_PAGE = 4096
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
REFUSED, WRITTEN = "refused", "written"
_PAGES = {
    "write_bytes": 8300,
    "artifact with a data file": 180,
    "export --report": 280,
    "quantize --report": 200,
}
_FEW_PAGES = 40
_STEP = {
    "write_bytes": 83,
    "export --report": 9,
    "quantize --report": 9,
    "train, resumed": 9,
    "bench --save": 9,
}


def can_mount() -> bool:
    """Whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", folder]
        try:
            return subprocess.run(probe, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False


def sizes(writers: Sequence[Writer]) -> list[tuple[Writer, int]]:
    """Writers and disk sizes in bytes, shuffled: each page for small files, every few for larger ones."""
    cases = [
        (writer, pages * _PAGE)
        for writer in writers
        for pages in range(1, _PAGES.get(writer.name, _FEW_PAGES) + 1, _STEP.get(writer.name, 1))
    ]
    random.Random(0).shuffle(cases)
    return cases


def start(
    shared: Path, scratch: Path, writers: Sequence[Writer] = WRITERS, mount: bool = True
) -> Callable[[int], str]:
    """Cases of a full disk: a file system of that size or, without ``mount``, a limit of each file's size."""
    if mount and ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
        raise PermissionError("only root may mount file systems")
    import_for(writers)
    cases, folder, log = sizes(writers), scratch / "disk", scratch / "output.txt"
    folder.mkdir()

    def check(seed: int) -> str:
        writer, size = cases[seed % len(cases)]
        if not mount:
            clear(folder)
            return _run(writer, shared, log, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size + _PAGE}", "none", folder], check=True)
        os.chdir(folder)
        try:
            return _run(writer, shared, log, lambda: None)
        finally:
            os.chdir(scratch)
            subprocess.run(["umount", "--lazy", folder], check=True)

    return check


def _run(writer: Writer, shared: Path, log: Path, before: Callable[[], object]) -> str:
    try:
        writer.write_old()
    except OSError:  # the disk is too small even for these
        for name in writer.old:
            Path(name).unlink(missing_ok=True)
    old = {name: Path(name).read_bytes() for name in writer.old if Path(name).exists()}
    child = fork(lambda: writer.write(shared), log, before)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = log.read_text()
    if status == 0:
        writer.check(True)
        return WRITTEN
    if status not in (1, 2) or "Traceback" in text or not text.strip():
        raise Failed(f"{writer.name}: exit status {status}: {text[-1500:]}")
    changed = [
        name for name, data in old.items() if not Path(name).exists() or Path(name).read_bytes() != data
    ]
    if changed and writer.files == writer.old:
        raise Failed(f"{writer.name}: {changed} changed although it failed: {text[-500:]}")
    writer.check(False)
    if rest := [name for name in leftovers(writer) if not any(Path(name).match(k) for k in writer.keeps)]:
        raise Failed(f"{writer.name}: left: {rest}")
    return REFUSED


def disk_full_of(writers: Sequence[Writer], *, mount: bool) -> Kind:
    """The kind for some of the writers."""
    return Kind(
        name="disk_full",
        title="Commands and writers on a disk of every size from 4 KiB up"
        + ("" if mount else " (limited files)"),
        cases=len(sizes(writers)),
        start=functools.partial(start, writers=writers, mount=mount),
        outcomes=(REFUSED, WRITTEN),
        prepare=prepare_images,
        limit_s=300,
        rss_mib=4096,
    )


DISK_FULL = disk_full_of(WRITERS if can_mount() else QUICK, mount=can_mount())
