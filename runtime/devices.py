"""What a model can run on: a device's name becomes onnxruntime's providers, or an error that says why not."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from cnntk.runtime.errors import DeviceUnavailable, MissingDependency, UsageError

__all__ = ["Device", "onnxruntime_module", "resolve", "usable_cores"]

_NAME = re.compile(r"cpu|auto|cuda(?::(\d+))?")


@dataclass(frozen=True)
class Device:
    """A device that onnxruntime offers.

    Attributes:
        name: ``cpu`` or ``cuda:0``.
        provider: onnxruntime's name for it.
        options: of the provider.
    """

    name: str
    provider: str
    options: dict[str, Any]

    @property
    def providers(self) -> list[tuple[str, dict[str, Any]]]:
        """For an InferenceSession: this one, and the CPU for the nodes that run nowhere else."""
        cpu: list[tuple[str, dict[str, Any]]] = [("CPUExecutionProvider", {})]
        return cpu if self.name == "cpu" else [(self.provider, self.options), *cpu]


def resolve(name: str) -> Device:
    """The device called ``name``: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` (CUDA if it is offered).

    Raises:
        UsageError: there is no device of that name.
        DeviceUnavailable: the installed onnxruntime does not offer it.
        MissingDependency: no onnxruntime is installed.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"device {name!r} is unknown; use cpu, cuda, cuda:1 (a number from 0), or auto")
    offered = onnxruntime_module().get_available_providers()
    has_cuda = "CUDAExecutionProvider" in offered
    if name == "cpu" or (name == "auto" and not has_cuda):
        return Device("cpu", "CPUExecutionProvider", {})
    if not has_cuda:
        raise DeviceUnavailable(
            f"device {name!r}: the installed onnxruntime has no CUDA (it offers {', '.join(offered)}). "
            "Replace it: pip uninstall onnxruntime, then pip install 'cnntk[gpu]'"
        )
    index = int(match.group(1) or 0)
    return Device(f"cuda:{index}", "CUDAExecutionProvider", {"device_id": index})


def onnxruntime_module() -> Any:
    """The onnxruntime module.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            f"onnxruntime can't be imported ({error}); pip install 'cnntk[cpu]', "
            "or 'cnntk[gpu]' with an NVIDIA GPU"
        ) from error
    return onnxruntime


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
