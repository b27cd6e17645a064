"""`Machine`: what decides how fast a model runs, so that figures are compared with their like only."""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cnntk.benchmark.processor import (
    cpu_features,
    cpu_name,
    governor,
    memory_bytes,
    physical_cores,
    read_cpu_info,
)
from cnntk.runtime.errors import DeviceUnavailable, InferenceError, MissingDependency
from cnntk.runtime.session.cores import usable_cores
from cnntk.version import __version__

__all__ = ["Machine", "machine"]

_SOFTWARE = ("system", "python", "onnxruntime", "cnntk")


@dataclass(frozen=True)
class Machine:
    """Where something was measured.

    Attributes:
        cpu: model name.
        architecture: like "x86_64".
        cpu_features: instruction sets, as `cnntk.benchmark.processor.CPU_FEATURES` names them.
        cores: that the process may use.
        physical_cores: of the machine; None where the system does not tell.
        memory_bytes: of the machine; None where the system does not tell.
        governor: of the clock's frequency; None where the system does not tell.
        system: operating system and its version.
        python: its version.
        onnxruntime: its version; None where it is not installed.
        cnntk: its version.
        gpu: name of the GPU that was measured on; None where that was the CPU, or can't be told.
    """

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

    @property
    def identity(self) -> str:
        """12 hex characters; the same where speed may be compared, whatever the versions of software."""
        gpu = {} if self.gpu is None else {"gpu": self.gpu}
        return hashlib.sha256(json.dumps({**self._deciding(), **gpu}).encode()).hexdigest()[:12]

    @property
    def cores_text(self) -> str:
        """Like "1 core"."""
        return f"{self.cores} core{'s' * (self.cores != 1)}"

    @property
    def summary(self) -> str:
        """In a line: the processor with its wide vectors, cores, onnxruntime and the system."""
        wide = " ".join(f for f in self.cpu_features if f.startswith(("avx", "amx", "asimd", "i8mm")))
        about = f"{self.cpu}, {self.cores_text}" + (f" ({wide})" if wide else "")
        runtime = "" if self.onnxruntime is None else f"onnxruntime {self.onnxruntime}"
        return f"{about}, {runtime}, {self.system.partition(' ')[0]}"

    def differences(self, other: Machine) -> tuple[str, ...]:
        """What makes its speed another one's, like "cores: 8 there, 2 here"; here is this one.

        GPUs are compared where both are known: what was measured on the CPU knows none.
        """
        here, there = ({**m._deciding(), "gpu": m.gpu} for m in (self, other))
        if self.gpu is None or other.gpu is None:
            here["gpu"] = there["gpu"] = None
        return _compared(here, there)

    def software_differences(self, other: Machine) -> tuple[str, ...]:
        """Versions that differ, like "onnxruntime: 1.20.0 there, 1.22.0 here"."""
        here, there = ({name: getattr(m, name) for name in _SOFTWARE} for m in (self, other))
        return _compared(here, there)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "identity": self.identity}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Machine:
        """What `to_json` gave.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is something else.
        """
        kept = {name: value for name, value in data.items() if name != "identity"}
        found = cls(**{**kept, "cpu_features": tuple(kept["cpu_features"])})
        texts = (found.cpu, found.architecture, *found.cpu_features, found.system, found.python, found.cnntk)
        maybe_texts = (found.governor, found.onnxruntime, found.gpu)
        maybe_counts = (found.physical_cores, found.memory_bytes)
        if (
            not all(isinstance(value, str) for value in texts)
            or not all(value is None or isinstance(value, str) for value in maybe_texts)
            or not all(value is None or isinstance(value, int) for value in (found.cores, *maybe_counts))
        ):
            raise TypeError("a machine's names must be text, and its counts whole numbers")
        return found

    def _deciding(self) -> dict[str, Any]:
        memory = None if self.memory_bytes is None else f"{round(self.memory_bytes / 2**30)} GiB"
        return {
            "cpu": self.cpu,
            "architecture": self.architecture,
            "features": " ".join(self.cpu_features),
            "cores": self.cores,
            "memory": memory,
        }


def machine(device: str = "cpu") -> Machine:
    """This one.

    Args:
        device: that is measured on, like "cuda:0": by its GPU machines are told apart, too.
    """
    cpu_info = read_cpu_info()
    return Machine(
        cpu=cpu_name(cpu_info),
        architecture=platform.machine(),
        cpu_features=cpu_features(cpu_info),
        cores=usable_cores(),
        physical_cores=physical_cores(),
        memory_bytes=memory_bytes(),
        governor=governor(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        onnxruntime=_onnxruntime(),
        cnntk=__version__,
        gpu=_gpu(device),
    )


def _compared(here: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{name}: {_said(there[name])} there, {_said(here[name])} here"
        for name in here
        if here[name] != there[name]
    )


def _said(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)


def _gpu(device: str) -> str | None:
    """As NVIDIA's library names it; None without that library, or where it does not tell."""
    if not device.startswith("cuda"):
        return None
    from cnntk.benchmark.cuda.events import cuda_stream
    from cnntk.benchmark.cuda.nvml import gpu_reader

    try:
        with (
            cuda_stream(int(device.partition(":")[2] or 0)) as stream,
            gpu_reader(stream.bus_id) as reader,
        ):
            now = reader.sample()
            return reader.gpu(now, (), now).name
    except (DeviceUnavailable, InferenceError, MissingDependency):
        return None


def _onnxruntime() -> str | None:
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None
