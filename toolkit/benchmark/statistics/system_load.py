"""What else the machine did during a measurement, from counters read before it and after it.

Linux reports all of it, other systems some. What a system does not report is None, and never an error.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cnntk.runtime.session.cores import cpu_groups, usable_cores

__all__ = ["SystemCounters", "SystemLoad", "load_between", "read_counters"]

Number = TypeVar("Number", int, float)

_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class SystemCounters:
    """One reading of the system's counters.

    Attributes:
        time_s: Monotonic clock in seconds.
        process_cpu_s: CPU time of this process and of its children that have ended, in seconds.
        cores: Number of cores that ``busy_s`` counts.
        busy_s: CPU time of all processes on the cores that this one may use, in seconds.
        steal_s: CPU time in which the host of a virtual machine ran something else, in seconds.
        preemptions: Number of times this process was moved off a core.
        throttled_s: Seconds for which the control groups' CPU quota stopped this process.
        clock_mhz: Clock speed in MHz, mean over the cores.
        thermal_throttles: Number of times the processor slowed down because it was too hot.
    """

    time_s: float
    process_cpu_s: float
    cores: int
    busy_s: float | None = None
    steal_s: float | None = None
    preemptions: int | None = None
    throttled_s: float | None = None
    clock_mhz: float | None = None
    thermal_throttles: int | None = None


@dataclass(frozen=True)
class SystemLoad:
    """What the system did between two readings.

    Attributes:
        seconds: Seconds between them.
        cores: Number of cores that shares refer to.
        other_cpu_share: Share of the cores' time that other processes used, 0 to 1.
        steal: Share of the cores' time that the host of a virtual machine used, 0 to 1.
        throttled: Share of the time for which the CPU quota stopped this process, 0 to 1.
        preemptions: Number of times this process was moved off a core.
        clock_mhz: Clock speed before and after, in MHz.
        thermal_throttles: Number of times the processor slowed down because it was too hot.
    """

    seconds: float
    cores: int
    other_cpu_share: float | None
    steal: float | None
    throttled: float | None
    preemptions: int | None
    clock_mhz: tuple[float, float] | None
    thermal_throttles: int | None


def read_counters(root: Path = Path("/")) -> SystemCounters:
    """Reads the counters now, from ``proc`` and ``sys`` of a file system's root."""
    times = os.times()
    cores, busy_s, steal_s = _cpu_times(root)
    return SystemCounters(
        time_s=time.monotonic(),
        process_cpu_s=times.user + times.system + times.children_user + times.children_system,
        cores=cores or usable_cores(),
        busy_s=busy_s,
        steal_s=steal_s,
        preemptions=_preemptions(),
        throttled_s=_throttled_s(root),
        clock_mhz=_clock_mhz(root),
        thermal_throttles=_thermal_throttles(root),
    )


def load_between(before: SystemCounters, after: SystemCounters) -> SystemLoad:
    """The load between two readings; children that still run count as other processes."""
    seconds = max(after.time_s - before.time_s, 1e-9)
    core_seconds = seconds * after.cores
    busy_s = _increase(before.busy_s, after.busy_s)
    process_s = after.process_cpu_s - before.process_cpu_s
    clocks = (before.clock_mhz, after.clock_mhz)
    return SystemLoad(
        seconds=seconds,
        cores=after.cores,
        other_cpu_share=_share(None if busy_s is None else busy_s - process_s, core_seconds),
        steal=_share(_increase(before.steal_s, after.steal_s), core_seconds),
        throttled=_share(_increase(before.throttled_s, after.throttled_s), seconds),
        preemptions=_increase(before.preemptions, after.preemptions),
        clock_mhz=None if clocks[0] is None or clocks[1] is None else (clocks[0], clocks[1]),
        thermal_throttles=_increase(before.thermal_throttles, after.thermal_throttles),
    )


def _increase(before: Number | None, after: Number | None) -> Number | None:
    return None if before is None or after is None else after - before


def _share(amount: float | None, whole: float) -> float | None:
    return None if amount is None else min(max(amount / whole, 0.0), 1.0)


def _cpu_times(root: Path) -> tuple[int, float | None, float | None]:
    """Number of cores this process may use, their busy and their stolen seconds (proc(5), ``/proc/stat``)."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    busy = steal = cores = 0
    for line in _read_text(root / "proc/stat").splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu") or name == "cpu" or len(fields) < 8:
            continue
        if usable is None or int(name[3:]) in usable:
            user, nice, system, _, _, irq, softirq, steal_ticks = map(int, fields[:8])
            busy, steal, cores = busy + user + nice + system + irq + softirq, steal + steal_ticks, cores + 1
    if not cores:
        return 0, None, None
    ticks = os.sysconf("SC_CLK_TCK")
    return cores, busy / ticks, steal / ticks


def _preemptions() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _throttled_s(root: Path) -> float | None:
    """Of this process' control groups and those above; version 2 counts microseconds, 1 nanoseconds."""
    total = None
    for group in cpu_groups(root):
        for line in _read_text(Path(group, "cpu.stat")).splitlines():
            key, _, value = line.partition(" ")
            unit = {"throttled_usec": 1e-6, "throttled_time": 1e-9}.get(key)
            if unit is not None and value.strip().isdigit():
                total = (total or 0.0) + int(value) * unit
    return total


def _clock_mhz(root: Path) -> float | None:
    """From the driver of the clock, else from ``/proc/cpuinfo``."""
    khz = _read_numbers(root, "cpu[0-9]*/cpufreq/scaling_cur_freq")
    if khz:
        return sum(khz) / len(khz) / 1e3
    lines = _read_text(root / "proc/cpuinfo").splitlines()
    values = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(values) / len(values) if values else None


def _thermal_throttles(root: Path) -> int | None:
    counts = _read_numbers(root, "cpu[0-9]*/thermal_throttle/*_throttle_count")
    return sum(counts) if counts else None


def _read_numbers(root: Path, pattern: str) -> list[int]:
    texts = [_read_text(file).strip() for file in (root / _CPUS).glob(pattern)]
    return [int(text) for text in texts if text.isdigit()]


def _read_text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
