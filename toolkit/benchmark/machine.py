"""`Machine`: the hardware and software that decide how fast a model runs."""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cnntk.runtime.errors import DeviceUnavailable, InferenceError, MissingDependency
from cnntk.runtime.sections import Section, size_text
from cnntk.runtime.session.cores import usable_cores
from cnntk.version import __version__

__all__ = [
    "CPU_FEATURES",
    "Machine",
    "cpu_features",
    "cpu_governor",
    "cpu_name",
    "detect_machine",
    "memory_bytes",
    "physical_cores",
    "read_cpu_info",
]

CPU_FEATURES = (
    *("sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni"),
    *("avx512_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "sve", "bf16"),
)
"""Instruction sets that decide how fast onnxruntime is, as Linux names them: of x86, then of ARM."""

_SOFTWARE = ("system", "python", "onnxruntime", "cnntk")
_CPUS = "sys/devices/system/cpu"
_ROOT = Path("/")


@dataclass(frozen=True)
class Machine:
    """Machine that a benchmark ran on.

    Attributes:
        cpu: Model name of the processor.
        architecture: Instruction set architecture, like "x86_64".
        cpu_features: Instruction sets that decide speed, as Linux names them.
        cores: Number of cores available to this process.
        physical_cores: Number of cores of the machine; None if the system doesn't report it.
        memory_bytes: Memory of the machine; None if the system doesn't report it.
        governor: Governor of the clock frequency, like "powersave"; None if the system doesn't report it.
        system: Operating system and its version.
        python: Version of Python.
        onnxruntime: Version of onnxruntime; None if it is not installed.
        cnntk: Version of cnntk.
        gpu: Name of the GPU that was measured on; None on the CPU, or if it is not known.
    """

    JSON_PROPERTIES: ClassVar = ("identity",)

    cpu: str
    architecture: str
    cpu_features: tuple[str, ...]
    cores: int
    physical_cores: int | None
    memory_bytes: int | None
    governor: str | None
    system: str
    python: str
    onnxruntime: str | None
    cnntk: str
    gpu: str | None = None

    def sections(self) -> tuple[Section, ...]:
        """The hardware and the versions of the software, for pages."""
        physical = f", {self.physical_cores} physical" if self.physical_cores else ""
        lines = (
            ("processor", f"{self.cpu}, {self.architecture}"),
            ("cores", f"{self.cores} available{physical}"),
            ("instructions", ", ".join(self.cpu_features)),
            ("GPU", self.gpu or ""),
            ("memory", size_text(self.memory_bytes) if self.memory_bytes else ""),
            ("clock governor", self.governor or ""),
            ("system", self.system),
            ("Python", self.python),
            ("onnxruntime", self.onnxruntime or ""),
            ("cnntk", self.cnntk),
            ("identity", self.identity),
        )
        return (
            Section(
                "Machine",
                self.summary,
                lines=tuple(line for line in lines if line[1]),
                shown_in="page",
                folded=True,
            ),
        )

    @property
    def identity(self) -> str:
        """Hash of what decides speed, versions of software excepted: 12 hex characters."""
        gpu = {} if self.gpu is None else {"gpu": self.gpu}
        return hashlib.sha256(json.dumps({**self._hardware(), **gpu}).encode()).hexdigest()[:12]

    @property
    def cores_text(self) -> str:
        """Number of cores as text, like "1 core"."""
        return f"{self.cores} core{'s' * (self.cores != 1)}"

    @property
    def summary(self) -> str:
        """The processor with its vector instructions, cores, onnxruntime and the system, in a line."""
        wide = " ".join(f for f in self.cpu_features if f.startswith(("avx", "amx", "asimd", "i8mm")))
        processor = f"{self.cpu}, {self.cores_text}" + (f" ({wide})" if wide else "")
        runtime = "" if self.onnxruntime is None else f"onnxruntime {self.onnxruntime}"
        return f"{processor}, {runtime}, {self.system.partition(' ')[0]}"

    def differences(self, baseline: Machine) -> tuple[str, ...]:
        """Hardware that differs from a baseline's machine, like "cores: 8 in the baseline, 2 now".

        GPUs are compared only if both are known: a measurement on the CPU has none.
        """
        now, then = ({**m._hardware(), "gpu": m.gpu} for m in (self, baseline))
        if self.gpu is None or baseline.gpu is None:
            now["gpu"] = then["gpu"] = None
        return _differences(now, then)

    def software_differences(self, baseline: Machine) -> tuple[str, ...]:
        """Versions that differ, like "onnxruntime: 1.20.0 in the baseline, 1.22.0 now"."""
        now, then = ({name: getattr(m, name) for name in _SOFTWARE} for m in (self, baseline))
        return _differences(now, then)

    def _hardware(self) -> dict[str, Any]:
        memory = None if self.memory_bytes is None else f"{round(self.memory_bytes / 2**30)} GiB"
        return {
            "cpu": self.cpu,
            "architecture": self.architecture,
            "features": " ".join(self.cpu_features),
            "cores": self.cores,
            "memory": memory,
        }


def _differences(now: Mapping[str, Any], then: Mapping[str, Any]) -> tuple[str, ...]:
    def text(value: object) -> str:
        return "unknown" if value in (None, "") else str(value)

    return tuple(
        f"{name}: {text(then[name])} in the baseline, {text(now[name])} now"
        for name in now
        if now[name] != then[name]
    )


def detect_machine(device: str = "cpu") -> Machine:
    """This machine.

    Args:
        device: Device that is measured on, like "cuda:0": its GPU becomes part of the machine.
    """
    cpu_info = read_cpu_info()
    return Machine(
        cpu=cpu_name(cpu_info),
        architecture=platform.machine(),
        cpu_features=cpu_features(cpu_info),
        cores=usable_cores(),
        physical_cores=physical_cores(),
        memory_bytes=memory_bytes(),
        governor=cpu_governor(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        onnxruntime=_onnxruntime_version(),
        cnntk=__version__,
        gpu=_gpu_name(device),
    )


def read_cpu_info(root: Path = _ROOT) -> str:
    """Text of ``/proc/cpuinfo``; empty if there is none."""
    return _read(root / "proc/cpuinfo")


def cpu_features(cpu_info: str) -> tuple[str, ...]:
    """The `CPU_FEATURES` that the text of ``/proc/cpuinfo`` lists."""
    flags = {
        flag for key, value in _cpu_fields(cpu_info) if key in ("flags", "Features") for flag in value.split()
    }
    return tuple(name for name in CPU_FEATURES if name in flags)


def cpu_name(cpu_info: str, root: Path = _ROOT) -> str:
    """Model name of the processor; for ARM, Linux has only the name of the board."""
    names = (value for key, value in _cpu_fields(cpu_info) if key == "model name")
    board = _read(root / "proc/device-tree/model").strip("\0\n ")
    return next(names, "") or board or _mac_cpu_name() or platform.processor() or "unknown"


def physical_cores(root: Path = _ROOT) -> int | None:
    """Number of cores of the machine, hyper-threads not counted; None if the system doesn't report it."""
    topologies = sorted((root / _CPUS).glob("cpu[0-9]*/topology"))
    cores = {(_read(t / "physical_package_id"), _read(t / "core_id")) for t in topologies}
    return len(cores - {("", "")}) or None


def cpu_governor(root: Path = _ROOT) -> str | None:
    """Governor of the clock frequency, like "powersave"; None if the system doesn't report it."""
    return _read(root / _CPUS / "cpu0/cpufreq/scaling_governor").strip() or None


def memory_bytes() -> int | None:
    """Memory of the machine; None if the system doesn't report it."""
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _mac_cpu_name() -> str:
    """The name of a Mac's processor, which `platform` calls "arm"; empty on another system."""
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _gpu_name(device: str) -> str | None:
    """Name of the GPU from NVIDIA's library; None without that library, or if it doesn't report it."""
    if not device.startswith("cuda"):
        return None
    from cnntk.benchmark.cuda.events import cuda_stream
    from cnntk.benchmark.cuda.nvml import gpu_reader

    try:
        with (
            cuda_stream(int(device.partition(":")[2] or 0)) as stream,
            gpu_reader(stream.bus_id) as reader,
        ):
            sample = reader.sample()
            return reader.gpu(sample, (), sample).name
    except (DeviceUnavailable, InferenceError, MissingDependency):
        return None


def _onnxruntime_version() -> str | None:
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def _cpu_fields(cpu_info: str) -> Iterator[tuple[str, str]]:
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
