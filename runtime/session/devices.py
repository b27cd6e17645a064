"""Devices: a device name becomes an onnxruntime provider, or an error with the reason."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from cnntk.runtime.errors import DeviceUnavailable, MissingDependency, UsageError
from cnntk.runtime.record import Record

__all__ = [
    "OLDEST_ONNXRUNTIME",
    "Device",
    "import_onnxruntime",
    "parse_device_name",
    "release_numbers",
    "require_onnxruntime",
    "resolve_device",
]

OLDEST_ONNXRUNTIME = "1.24.1"
"""Oldest release that has what the runtime calls, for packages of other providers, which are behind
onnxruntime's own (onnxruntime-openvino). pyproject.toml has the one that passes all tests."""

_CPU = "CPUExecutionProvider"
_PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
_NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
_ON_CUDA = ("cuda", "tensorrt")
_NUMBERED = ("cuda", "tensorrt", "directml", "migraphx")
_NAME = re.compile(r"([a-z]+)(?::(\d+))?")

_DEFAULTS: dict[str, dict[str, Any]] = {
    "cuda": {"use_tf32": "0"},  # 10 bits of mantissa instead of float32's 23 fail the self-test
}


class Device(Record):
    """A device available in onnxruntime.

    Attributes:
        name: Device name, like ``cpu``, ``cuda:0`` or ``openvino``.
        provider: onnxruntime's name of the execution provider.
        options: Options of the provider.
        reason: Reason for the choice of ``auto``; empty for other devices.
    """

    name: str
    provider: str
    options: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def providers(self) -> list[tuple[str, dict[str, Any]]]:
        """Providers for an InferenceSession: this one, and the CPU for nodes that it does not support."""
        cpu: list[tuple[str, dict[str, Any]]] = [(_CPU, {})]
        return cpu if self.provider == _CPU else [(self.provider, self.options), *cpu]


def resolve_device(name: str, options: Mapping[str, Any] | None = None) -> Device:
    """Returns the device with a name.

    Args:
        name: Device name: ``cpu``; ``cuda``, ``cuda:1``; ``auto`` (CUDA if available, else the CPU); or
            another provider of the installed onnxruntime: ``openvino``, ``tensorrt``, ``coreml``,
            ``directml``, ``qnn``.
        options: Options of the provider, as onnxruntime documents them.

    Raises:
        UsageError: The device name is unknown, or the CPU got options.
        DeviceUnavailable: The device is not available.
        MissingDependency: onnxruntime is not installed.
    """
    kind, index = parse_device_name(name)
    ort = import_onnxruntime()
    if kind == "auto":
        problem = _cuda_problem(ort)
        if problem is None:
            return _device("cuda", None, options, "auto: CUDA is available")
        return Device("cpu", _CPU, reason=f"auto: {problem}")
    if kind == "cpu":
        if options:
            raise UsageError(f"device 'cpu' takes no options, got {', '.join(map(str, options))}")
        return Device("cpu", _CPU)
    offered = ort.get_available_providers()
    problem = None
    if kind != "cuda" and _PROVIDERS[kind] not in offered:
        problem = f"the installed onnxruntime lacks {_PROVIDERS[kind]}. Install one that has it"
    elif kind in _ON_CUDA:
        problem = _cuda_problem(ort, kind, index or 0)
    if problem is not None:
        raise DeviceUnavailable(f"device {name!r}: {problem} (onnxruntime offers {', '.join(offered)})")
    return _device(kind, index, options)


def import_onnxruntime() -> Any:
    """Imports onnxruntime with its telemetry switched off.

    Since version 1.29, onnxruntime sends telemetry on Linux and macOS, too, from its import on; only an
    environment variable prevents that, for the life of the process
    (https://github.com/microsoft/onnxruntime/pull/27379). If the app has imported onnxruntime before, later
    telemetry is stopped, but a thread remains that makes forked children hang at exit. Apps that fork should
    create an Engine before they import onnxruntime, or set ORT_DISABLE_TELEMETRY=1.

    Raises:
        MissingDependency: onnxruntime is not installed, or too old.
    """
    before = {name: os.environ[name] for name in _NO_TELEMETRY if name in os.environ}
    first = "onnxruntime" not in sys.modules
    try:
        if first:
            os.environ.update(dict.fromkeys(_NO_TELEMETRY, "1"))
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            f"can't import onnxruntime ({error}); pip install 'cnntk[cpu]', "
            "or 'cnntk[gpu]' with an NVIDIA GPU"
        ) from error
    finally:
        if first:
            for name in _NO_TELEMETRY:
                os.environ.pop(name, None)
            os.environ.update(before)
    if not hasattr(onnxruntime, "__version__"):
        raise MissingDependency("onnxruntime's folder is empty; uninstall onnxruntime and install it again")
    _check_release(onnxruntime.__version__, OLDEST_ONNXRUNTIME, "cnntk")
    if first:
        onnxruntime.disable_telemetry_events()  # on Windows there is no other way
    return onnxruntime


def require_onnxruntime(release: str, feature: str) -> None:
    """Refuses what the installed onnxruntime is too old for.

    Raises:
        MissingDependency: onnxruntime is older than ``release``, which ``feature`` needs, or not installed.
    """
    _check_release(import_onnxruntime().__version__, release, feature)


def _check_release(version: str, oldest: str, feature: str) -> None:
    if release_numbers(version) < release_numbers(oldest):
        raise MissingDependency(
            f"onnxruntime {version} is too old; {feature} needs {oldest} or newer: "
            "pip install -U onnxruntime, or onnxruntime-gpu with an NVIDIA GPU"
        )


def release_numbers(version: str) -> tuple[int, ...]:
    """Returns the numbers of a release, in their order: (1, 23) for 1.23.0, as for 1.23.0rc1 and 1.23+cpu."""
    numbers = [int(part) for part in re.split(r"[^\d.]", version)[0].split(".") if part]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _cuda_problem(ort: Any, kind: str = "cuda", index: int = 0) -> str | None:
    from cnntk.runtime.session.cuda import cuda_problem, cuda_state

    return cuda_problem(cuda_state(ort, _PROVIDERS[kind]), index)


def parse_device_name(name: str) -> tuple[str, int | None]:
    """Kind and number of a device; whether it is available here is not checked.

    Raises:
        UsageError: No device has that name.
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    kind, number = match.groups() if match else ("", None)
    if kind not in ("cpu", "auto", *_PROVIDERS) or (number is not None and kind not in _NUMBERED):
        others = ", ".join(sorted(_PROVIDERS.keys() - {"cuda"}))
        raise UsageError(
            f"unknown device {name!r}; use cpu, cuda, cuda:1 (numbers start at 0), auto, "
            f"or, if onnxruntime supports it, {others}"
        )
    return kind, None if number is None else int(number)


def _device(kind: str, index: int | None, options: Mapping[str, Any] | None, reason: str = "") -> Device:
    number = {"device_id": str(index or 0)} if kind in _NUMBERED else {}
    merged = {**number, **_DEFAULTS.get(kind, {}), **(options or {})}
    name = f"{kind}:{merged['device_id']}" if number else kind
    return Device(name, _PROVIDERS[kind], merged, reason)
