"""Number of cores available to this process, by its affinity and the CPU quota of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

__all__ = ["cpu_groups", "cpu_quota", "usable_cores"]


def usable_cores() -> int:
    """Returns the number of cores available to this process, at least 1.

    These are the machine's cores within the affinity of the process (``taskset``, cpusets), but not more than
    the CPU quota of its container (``docker --cpus``, a Kubernetes limit), rounded up. Python's
    ``os.cpu_count`` considers neither.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(root: str | os.PathLike[str] = "/") -> float | None:
    """Returns the CPU quota of this process in cores, like 1.5; None without a limit.

    The quota is in ``cpu.max`` of version 2 control groups, and in ``cpu.cfs_quota_us`` and
    ``cpu.cfs_period_us`` of version 1. Each parent group has its own limit, and the lowest one applies.
    See https://docs.kernel.org/admin-guide/cgroup-v2.html and .../scheduler/sched-bwc.html. ``root`` is the
    folder with ``proc/self/cgroup`` and ``proc/self/mountinfo``.
    """
    limits = (_limit(group) for group in cpu_groups(root))
    return min((limit for limit in limits if limit is not None), default=None)


def cpu_groups(root: str | os.PathLike[str] = "/") -> Iterator[str]:
    """Yields the folders of the control groups that limit this process's CPU time, innermost first."""
    paths = _group_paths(root)
    for version, mount_root, mount_point in _mounts(root):
        path = paths.get(version)
        if path is None:
            continue
        top = os.path.join(root, mount_point.lstrip("/"))
        # A container may see the host's path, although its mount begins at the container's group.
        inner = path.removeprefix(mount_root.rstrip("/")) if path.startswith(mount_root) else ""
        group = os.path.join(top, inner.strip("/")).rstrip("/")
        while len(group) > len(top):
            yield group
            group = os.path.dirname(group)
        yield top


def _group_paths(root: str | os.PathLike[str]) -> dict[str, str]:
    """Returns this process's groups: ``cgroup2``, and ``cgroup`` for version 1's cpu controller."""
    paths = {}
    for line in _lines(root, "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            paths["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            paths["cgroup"] = path
    return paths


def _mounts(root: str | os.PathLike[str]) -> Iterator[tuple[str, str, str]]:
    """Yields type, root and mount point of each mounted hierarchy (proc(5), mountinfo)."""
    for line in _lines(root, "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, source = before.split(), after.split()
        if len(fields) < 5 or len(source) < 3:
            continue
        if source[0] == "cgroup2" or (source[0] == "cgroup" and "cpu" in source[2].split(",")):
            yield source[0], fields[3], fields[4]


def _limit(group: str) -> float | None:
    quota, period = "", ""
    for line in _lines(group, "cpu.max"):
        quota, _, period = line.partition(" ")
    for line in _lines(group, "cpu.cfs_quota_us"):
        quota, period = line, "".join(_lines(group, "cpu.cfs_period_us"))
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no limit of this kind
        return None
    return cores if cores > 0 else None  # version 1 says -1 for none


def _lines(folder: str | os.PathLike[str], name: str) -> list[str]:
    try:
        with open(os.path.join(folder, name), errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []
