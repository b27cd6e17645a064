"""How many cores this process may use: its affinity, and the quota of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cpu_groups", "cpu_quota", "usable_cores"]


def usable_cores() -> int:
    """How many cores this process may use, at least 1.

    The machine's cores, as far as affinity (``taskset``, cpusets) leaves them to this process, and no more
    than its container's quota pays for (``docker --cpus``, a Kubernetes limit), rounded up. Python's
    ``os.cpu_count`` knows neither.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that the control groups of this process pay for: 1.5 is one and a half; None without a limit.

    Version 2 says it in ``cpu.max``, version 1 in ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``; each group
    above sets a limit of its own, and the lowest counts.
    See https://docs.kernel.org/admin-guide/cgroup-v2.html and .../scheduler/sched-bwc.html.

    Args:
        root: of the file system, with ``proc/self/cgroup`` and ``proc/self/mountinfo``.
    """
    limits = (_limit(group) for group in cpu_groups(root))
    return min((limit for limit in limits if limit is not None), default=None)


def cpu_groups(root: Path = Path("/")) -> Iterator[Path]:
    """The folder of each group of this process that rules its CPU time, from its own upwards."""
    paths = _group_paths(root)
    for kind, mount_root, mount_point in _mounts(root):
        path = paths.get(kind)
        if path is None:
            continue
        top = root / mount_point.lstrip("/")
        # A container may see the path as the host does, while its mount begins at its own group.
        inner = path.removeprefix(mount_root.rstrip("/")) if path.startswith(mount_root) else ""
        group = top / inner.lstrip("/")
        while group != top and top in group.parents:
            yield group
            group = group.parent
        yield top


def _group_paths(root: Path) -> dict[str, str]:
    """Path of this process' group, for ``cgroup2`` and for the cpu controller of version 1, ``cgroup``."""
    found = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            found["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            found["cgroup"] = path
    return found


def _mounts(root: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, root and place of each mounted hierarchy (proc(5), mountinfo)."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" or (kind[0] == "cgroup" and "cpu" in kind[2].split(",")):
            yield kind[0], fields[3], fields[4]


def _limit(group: Path) -> float | None:
    quota, period = "", ""
    for line in _lines(group / "cpu.max"):
        quota, _, period = line.partition(" ")
    for line in _lines(group / "cpu.cfs_quota_us"):
        quota, period = line, "".join(_lines(group / "cpu.cfs_period_us"))
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no limit of this kind
        return None
    return cores if cores > 0 else None  # version 1 says -1 for none


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []
