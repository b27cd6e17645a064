"""`Engine`: arrays in, arrays out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.devices import resolve, usable_cores
from cnntk.runtime.errors import InferenceError, InputError, UnsupportedArtifact
from cnntk.runtime.self_test import SelfTestResult, run_self_test
from cnntk.runtime.session import failures, open_session, tensor_specs
from cnntk.runtime.spec import ModelSpec, TensorSpec

__all__ = ["Engine"]

Arrays = dict[str, NDArray[Any]]


class Engine:
    """Runs one model on one device.

    Args:
        model: path or bytes of an ``.onnx`` file.
        device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``; never another one than was asked for.
        threads: on the CPU; by default one for each core that this process may use.

    Attributes:
        spec: what the file says of itself; None for a file that cnntk did not make.
        inputs: name, dtype and shape of each input.
        outputs: name, dtype and shape of each output.
        device: what it runs on, ``cpu`` or ``cuda:0``.
        threads: how many it uses on the CPU.

    Raises:
        UsageError: no such file or device.
        ArtifactCorrupt: the file is damaged; any changed byte of an artifact is noticed.
        UnsupportedArtifact: the file is sound, but not for this onnxruntime or cnntk.
        DeviceUnavailable: the device can't be had.

    An engine may be called from many threads at once. Pickled, it loads its file again.
    """

    def __init__(
        self, model: str | os.PathLike[str] | bytes, device: str = "cpu", *, threads: int | None = None
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._model = model
        found = resolve(device)
        self.device = found.name
        self.threads = threads or usable_cores()
        opened = open_session(model, found, self.threads)
        self._session = opened.session
        self.name = opened.name
        self.spec: ModelSpec | None = opened.spec
        self.inputs: tuple[TensorSpec, ...] = tensor_specs(self._session.get_inputs())
        self.outputs: tuple[TensorSpec, ...] = tensor_specs(self._session.get_outputs())
        self._dtypes = {spec.name: _numpy_dtype(spec, self.name) for spec in self.inputs}
        self._names = [spec.name for spec in self.outputs]
        # Not session.run: when a provider fails, that rebuilds the session on the CPU without being asked.
        self._run = self._session._sess.run
        self._failures = failures()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Runs the model once.

        Args:
            inputs: an array for each of `inputs`, of its dtype and shape, in native byte order.

        Returns:
            An array for each of `outputs`, by name.

        Raises:
            InputError: a name, dtype or shape does not fit.
            InferenceError: onnxruntime failed.
        """
        for name, dtype in self._dtypes.items():
            if name not in inputs or inputs[name].dtype != dtype:
                raise self._misfit(inputs)
        try:
            values = self._run(self._names, inputs, None)
        except self._failures as error:
            raise self._failed(inputs, error) from error
        return dict(zip(self._names, values, strict=True))

    def self_test(self) -> SelfTestResult:
        """Runs the inputs that the file prescribes and compares with the answers that it holds.

        Raises:
            UnsupportedArtifact: the file holds none.
            InferenceError: onnxruntime failed.
        """
        return run_self_test(self.run, self.spec, self.name)

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, device={self.device!r}, threads={self.threads})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (self._model, self.device, self.threads)

    def _failed(self, inputs: Mapping[str, NDArray[Any]], error: Exception) -> Exception:
        unknown = inputs.keys() - self._dtypes.keys()
        if unknown or any(not fits(inputs[spec.name].shape, spec.shape) for spec in self.inputs):
            return self._misfit(inputs)
        return InferenceError(f"{self.name}: onnxruntime failed: {' '.join(str(error).split())[:300]}")

    def _misfit(self, inputs: Mapping[str, NDArray[Any]]) -> InputError:
        expected = ", ".join(f"{s.name}: {s.dtype} {_shape(s.shape)}" for s in self.inputs)
        got = ", ".join(f"{k}: {_dtype(v)} {_shape(np.shape(v))}" for k, v in inputs.items()) or "nothing"
        return InputError(f"{self.name}: expected {expected}; got {got}")


def fits(shape: tuple[int, ...], pattern: tuple[int | str, ...]) -> bool:
    """Whether an array of ``shape`` fits ``pattern``, where names stand for any size."""
    return len(shape) == len(pattern) and all(
        not isinstance(want, int) or have == want for have, want in zip(shape, pattern, strict=True)
    )


def _reload(model: str | bytes, device: str, threads: int) -> Engine:
    return Engine(model, device, threads=threads)


def _numpy_dtype(spec: TensorSpec, where: str) -> np.dtype[Any]:
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise UnsupportedArtifact(f"{where}: input {spec.name} is {spec.dtype}, which numpy lacks") from error


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _dtype(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        return f"{dtype.name} in foreign byte order"
    return str(dtype or type(value).__name__)
