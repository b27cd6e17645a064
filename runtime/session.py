"""From a file to an onnxruntime session, with every failure as one of ours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from cnntk.runtime.devices import Device, onnxruntime_module
from cnntk.runtime.digest import vetted
from cnntk.runtime.errors import ArtifactCorrupt, DeviceUnavailable, UnsupportedArtifact
from cnntk.runtime.files import readable
from cnntk.runtime.spec import METADATA_KEY, ModelSpec, TensorSpec

__all__ = ["Opened", "failures", "open_session", "tensor_specs"]

_DTYPES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Opened:
    """A model in onnxruntime.

    Attributes:
        session: onnxruntime's InferenceSession.
        spec: what the file says of itself; None for a file that cnntk did not make.
        name: of the file, for messages.
    """

    session: Any
    spec: ModelSpec | None
    name: str


def open_session(model: str | os.PathLike[str] | bytes, device: Device, threads: int) -> Opened:
    """A model in an onnxruntime session on ``device``, and on no other; its digest is checked.

    Raises:
        UsageError: there is no such file.
        ArtifactCorrupt: it is no ONNX model, or not the one that was exported, by as little as a byte.
        UnsupportedArtifact: it needs a later onnxruntime, or an operator that this one lacks.
        DeviceUnavailable: onnxruntime could not bring the device up.
    """
    source = model if isinstance(model, bytes) else os.fspath(readable(model, "an ONNX model"))
    name = "<bytes>" if isinstance(source, bytes) else source
    with vetted(source, name) as found:
        session = _session(found.model, name, device, threads)
    spec = _read_spec(session, name)
    if spec is not None and spec.digest and not found.sealed:
        raise ArtifactCorrupt(
            f"{name}: is damaged: it states a SHA-256, but not where an export puts it. Copy or download it "
            "again; a tool that rewrites the file loses its proof"
        )
    return Opened(session, spec, name)


def _session(source: str | bytes, name: str, device: Device, threads: int) -> Any:
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong arrives as an exception, and once
    ort.disable_telemetry_events()
    try:
        session = ort.InferenceSession(source, options, providers=device.providers)
    except failures() as error:
        raise _explain(name, error) from error
    if device.provider not in session.get_providers():
        raise DeviceUnavailable(
            f"device {device.name!r}: onnxruntime offers {device.provider} but could not start it. Check the "
            "driver (nvidia-smi) and that the CUDA and cuDNN libraries of its major version are installed"
        )
    return session


def failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own exceptions share no base class, and bad names bring others."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)


def tensor_specs(values: Any) -> tuple[TensorSpec, ...]:
    """`TensorSpec` of each input or output that a session tells of."""
    return tuple(TensorSpec(v.name, _dtype(v.type), tuple(v.shape)) for v in values)


def _read_spec(session: Any, where: str) -> ModelSpec | None:
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:
        raise ArtifactCorrupt(f"{where}: its metadata is no text ({error})") from error
    return None if text is None else ModelSpec.from_json(text, where)


def _dtype(kind: str) -> str:
    """``tensor(float)`` to ``float32``."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


def _explain(name: str, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if "InvalidProtobuf" in type(error).__name__ or "parsing" in text:
        return ArtifactCorrupt(f"{name}: is no ONNX model, or a damaged one; export it again")
    if "opset" in text.lower() or "IR version" in text or "NotImplemented" in type(error).__name__:
        version = onnxruntime_module().__version__
        return UnsupportedArtifact(f"{name}: onnxruntime {version} can't run it: {text[:300]}")
    return ArtifactCorrupt(f"{name}: onnxruntime refuses it: {text[:300]}")
