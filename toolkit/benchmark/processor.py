"""What the processor is and can do, as far as the system tells."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "CPU_FEATURES",
    "cpu_features",
    "cpu_name",
    "governor",
    "memory_bytes",
    "physical_cores",
    "read_cpu_info",
]

CPU_FEATURES = (
    *(
        "sse4_1",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "avx512_bf16",
        "amx_int8",
    ),
    *("asimd", "asimddp", "i8mm", "sve", "bf16"),
)
"""Instruction sets that decide how fast onnxruntime is here, as Linux names them (x86 first, then ARM)."""

_CPUS = "sys/devices/system/cpu"


def read_cpu_info(root: Path = Path("/")) -> str:
    """The text of ``/proc/cpuinfo``; empty where there is none."""
    return _read(root / "proc/cpuinfo")


def cpu_features(cpu_info: str) -> tuple[str, ...]:
    """Those of `CPU_FEATURES` that the text of ``/proc/cpuinfo`` lists."""
    flags = {
        flag for key, value in _facts(cpu_info) if key in ("flags", "Features") for flag in value.split()
    }
    return tuple(name for name in CPU_FEATURES if name in flags)


def cpu_name(cpu_info: str, root: Path = Path("/")) -> str:
    """The model's name; boards with an ARM processor have one for the board only."""
    named = (value for key, value in _facts(cpu_info) if key == "model name")
    board = _read(root / "proc/device-tree/model").strip("\0\n ")
    return next(named, "") or board or _name_of_mac() or platform.processor() or "unknown"


def physical_cores(root: Path = Path("/")) -> int | None:
    """Of the machine, where two threads of one core count once; None where the system does not tell."""
    topologies = sorted((root / _CPUS).glob("cpu[0-9]*/topology"))
    found = {(_read(t / "physical_package_id"), _read(t / "core_id")) for t in topologies}
    return len(found - {("", "")}) or None


def governor(root: Path = Path("/")) -> str | None:
    """Who chooses the clock's frequency, like "powersave"; None where the system does not tell."""
    return _read(root / _CPUS / "cpu0/cpufreq/scaling_governor").strip() or None


def memory_bytes() -> int | None:
    """Of the machine; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _name_of_mac() -> str:
    """macOS calls all its own processors "arm" elsewhere."""
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _facts(cpu_info: str) -> Iterator[tuple[str, str]]:
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
