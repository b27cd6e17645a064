"""`Surroundings`: what else the machine did, read before a measurement and after it.

All of it is told by Linux, some by other systems; what is not told is None, and never an error.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnntk.runtime.session.cores import cpu_groups, usable_cores

__all__ = ["Meanwhile", "Surroundings", "meanwhile", "surroundings"]

_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Surroundings:
    """One look; all but the clock speed are counters.

    Attributes:
        moment_s: of the monotonic clock.
        own_s: CPU time of this process and of its children that have ended.
        cores: that ``busy_s`` counts.
        busy_s: CPU time of all processes, on the cores that this one may use.
        stolen_s: CPU time in which the host of a virtual machine ran something else.
        switches: how often this process had to leave a core.
        held_back_s: for how long the control groups' quota stopped this process.
        mhz: clock speed, mean over cores.
        hot: how often the processor slowed down because it was too hot.
    """

    moment_s: float
    own_s: float
    cores: int
    busy_s: float | None = None
    stolen_s: float | None = None
    switches: int | None = None
    held_back_s: float | None = None
    mhz: float | None = None
    hot: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class Meanwhile:
    """What was between two looks.

    Attributes:
        seconds: between them.
        cores: that shares are of.
        others: share of the cores' time that other processes used, 0 to 1.
        stolen: share of the cores' time that the host took, 0 to 1.
        held_back: share of the time in which the quota stopped this process.
        switches: how often this process had to leave a core.
        mhz: clock speed before and after.
        hot: how often the processor slowed down because it was too hot.
    """

    seconds: float
    cores: int
    others: float | None
    stolen: float | None
    held_back: float | None
    switches: int | None
    mhz: tuple[float, float] | None
    hot: int | None

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def surroundings(root: Path = Path("/")) -> Surroundings:
    """Looks now.

    Args:
        root: of the file system, with ``proc`` and ``sys``.
    """
    times = os.times()
    cores, busy, stolen = _cpu_times(root)
    return Surroundings(
        moment_s=time.monotonic(),
        own_s=times.user + times.system + times.children_user + times.children_system,
        cores=cores or usable_cores(),
        busy_s=busy,
        stolen_s=stolen,
        switches=_switches(),
        held_back_s=_held_back_s(root),
        mhz=_mhz(root),
        hot=_hot(root),
    )


def meanwhile(before: Surroundings, after: Surroundings) -> Meanwhile:
    """What happened between two looks; children that still run count as others."""
    seconds = max(after.moment_s - before.moment_s, 1e-9)
    whole = seconds * after.cores
    busy = _grown(before.busy_s, after.busy_s)
    stolen, held_back = _grown(before.stolen_s, after.stolen_s), _grown(before.held_back_s, after.held_back_s)
    switches, hot = _grown(before.switches, after.switches), _grown(before.hot, after.hot)
    return Meanwhile(
        seconds=seconds,
        cores=after.cores,
        others=None if busy is None else _share(busy - (after.own_s - before.own_s), whole),
        stolen=None if stolen is None else _share(stolen, whole),
        held_back=None if held_back is None else _share(held_back, seconds),
        switches=None if switches is None else int(switches),
        mhz=None if before.mhz is None or after.mhz is None else (before.mhz, after.mhz),
        hot=None if hot is None else int(hot),
    )


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(after - before, 0)


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0)


def _cpu_times(root: Path) -> tuple[int, float | None, float | None]:
    """How many cores this process may use, and their busy and stolen seconds (proc(5), ``/proc/stat``)."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    busy = stolen = cores = 0
    for line in _text(root / "proc/stat").splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu") or name == "cpu" or len(fields) < 8:
            continue
        if usable is None or int(name[3:]) in usable:
            user, nice, system, _, _, hard, soft, taken = map(int, fields[:8])
            busy, stolen, cores = busy + user + nice + system + hard + soft, stolen + taken, cores + 1
    if not cores:
        return 0, None, None
    ticks = os.sysconf("SC_CLK_TCK")
    return cores, busy / ticks, stolen / ticks


def _switches() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _held_back_s(root: Path) -> float | None:
    """Of this process' control groups and those above; version 2 counts microseconds, 1 nanoseconds."""
    found = None
    for group in cpu_groups(root):
        for line in _text(group / "cpu.stat").splitlines():
            key, _, value = line.partition(" ")
            unit = {"throttled_usec": 1e-6, "throttled_time": 1e-9}.get(key)
            if unit is not None and value.strip().isdigit():
                found = (found or 0.0) + int(value) * unit
    return found


def _mhz(root: Path) -> float | None:
    """As the driver of the clock says, else as ``/proc/cpuinfo`` does."""
    khz = _numbers(root, "cpu[0-9]*/cpufreq/scaling_cur_freq")
    if khz:
        return sum(khz) / len(khz) / 1e3
    lines = _text(root / "proc/cpuinfo").splitlines()
    values = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(values) / len(values) if values else None


def _hot(root: Path) -> int | None:
    counts = _numbers(root, "cpu[0-9]*/thermal_throttle/*_throttle_count")
    return sum(counts) if counts else None


def _numbers(root: Path, pattern: str) -> list[int]:
    texts = [_text(file).strip() for file in (root / _CPUS).glob(pattern)]
    return [int(text) for text in texts if text.isdigit()]


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
