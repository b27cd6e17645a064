"""What a model can run on: a device's name becomes onnxruntime's provider, or an error that says why not."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnntk.runtime.errors import DeviceUnavailable, MissingDependency, UsageError
from cnntk.runtime.session.cuda import cuda_problem, cuda_state

__all__ = ["Device", "import_onnxruntime", "resolve_device"]

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
    "cuda": {"use_tf32": "0"},  # ten bits of mantissa are no float32, and fail the self-test
}


@dataclass(frozen=True)
class Device:
    """A device that onnxruntime offers.

    Attributes:
        name: ``cpu``, ``cuda:0``, ``openvino``.
        provider: onnxruntime's name for it.
        options: of the provider.
        reason: why ``auto`` took it; empty where it was asked for by name.
    """

    name: str
    provider: str
    options: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def providers(self) -> list[tuple[str, dict[str, Any]]]:
        """For an InferenceSession: this one, and the CPU for the nodes that run nowhere else."""
        cpu: list[tuple[str, dict[str, Any]]] = [(_CPU, {})]
        return cpu if self.provider == _CPU else [(self.provider, self.options), *cpu]


def resolve_device(name: str, options: Mapping[str, Any] | None = None) -> Device:
    """The device called ``name``.

    Args:
        name: ``cpu``; ``cuda``, ``cuda:1``; ``auto`` (CUDA where it can be had, else the CPU); or another
            provider that the installed onnxruntime offers: ``openvino``, ``tensorrt``, ``coreml``,
            ``directml``, ``qnn``.
        options: of the provider, as onnxruntime documents them.

    Raises:
        UsageError: there is no device of that name, or the CPU is given options.
        DeviceUnavailable: it can't be had here.
        MissingDependency: no onnxruntime is installed.
    """
    kind, index = _parsed(name)
    ort = import_onnxruntime()
    if kind == "auto":
        problem = cuda_problem(cuda_state(ort))
        if problem is None:
            return _provided("cuda", None, options, "auto: CUDA can be had")
        return Device("cpu", _CPU, reason=f"auto: {problem}")
    if kind == "cpu":
        if options:
            raise UsageError(f"device 'cpu' takes no options, got {', '.join(map(str, options))}")
        return Device("cpu", _CPU)
    offered = ort.get_available_providers()
    problem = None
    if kind != "cuda" and _PROVIDERS[kind] not in offered:
        problem = f"the installed onnxruntime has no {_PROVIDERS[kind]}. Install one that has"
    elif kind in _ON_CUDA:
        problem = cuda_problem(cuda_state(ort, _PROVIDERS[kind]), index or 0)
    if problem is not None:
        raise DeviceUnavailable(f"device {name!r}: {problem} (onnxruntime offers {', '.join(offered)})")
    return _provided(kind, index, options)


def import_onnxruntime() -> Any:
    """The onnxruntime module, its telemetry switched off.

    From 1.29 on it sends telemetry on Linux and macOS, too, and begins so when it is imported; only a
    variable stops it there, for as long as the process lives (https://github.com/microsoft/onnxruntime/pull/27379).
    Where the app has imported onnxruntime first, what follows is stopped, but a thread stays, because of
    which children made by fork hang when they end; apps that fork make an Engine before they
    import onnxruntime, or set ORT_DISABLE_TELEMETRY=1.

    Raises:
        MissingDependency: it is not installed.
    """
    before = {name: os.environ.get(name) for name in _NO_TELEMETRY}
    first = "onnxruntime" not in sys.modules
    try:
        if first:
            os.environ.update(dict.fromkeys(_NO_TELEMETRY, "1"))
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            f"onnxruntime can't be imported ({error}); pip install 'cnntk[cpu]', "
            "or 'cnntk[gpu]' with an NVIDIA GPU"
        ) from error
    finally:
        if first:
            _restore(before)
    if first:
        onnxruntime.disable_telemetry_events()  # on Windows there is no other way
    return onnxruntime


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _parsed(name: str) -> tuple[str, int | None]:
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    kind, number = match.groups() if match else ("", None)
    if kind not in ("cpu", "auto", *_PROVIDERS) or (number is not None and kind not in _NUMBERED):
        others = ", ".join(sorted(_PROVIDERS.keys() - {"cuda"}))
        raise UsageError(
            f"device {name!r} is unknown; use cpu, cuda, cuda:1 (a number from 0), auto, "
            f"or where onnxruntime has it {others}"
        )
    return kind, None if number is None else int(number)


def _provided(kind: str, index: int | None, options: Mapping[str, Any] | None, reason: str = "") -> Device:
    merged = {**_DEFAULTS.get(kind, {}), **(options or {})}
    if kind in _NUMBERED:
        merged = {"device_id": str(index or 0), **merged}
        return Device(f"{kind}:{merged['device_id']}", _PROVIDERS[kind], merged, reason)
    return Device(kind, _PROVIDERS[kind], merged, reason)
