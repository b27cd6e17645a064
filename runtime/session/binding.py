"""Memory that stays where it is from run to run, on the host or on the device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.contract import shape_matches
from cnntk.runtime.errors import InferenceError, InputError, NonFiniteOutput
from cnntk.runtime.session.devices import Device, import_onnxruntime
from cnntk.runtime.session.finite import is_finite
from cnntk.runtime.session.session_factory import onnxruntime_errors

__all__ = ["Binding", "run_into"]

Arrays = dict[str, NDArray[Any]]


class Binding:
    """A model with inputs of fixed sizes in memory of the device; made by `Engine.bind`.

    Each run copies inputs to the same memory and answers from the same memory, which saves allocations, and
    is what a CUDA graph needs (``options={"enable_cuda_graph": "1"}``: the first run records it).
    A binding is for one thread at a time.
    """

    def __init__(
        self,
        session: Any,
        device: Device,
        inputs: Mapping[str, NDArray[Any]],
        outputs: list[str],
        keep: Literal["host", "device"],
        where: str,
        watched: tuple[str, ...] = (),
        options: Any = None,
    ) -> None:
        if keep not in ("host", "device"):
            raise ValueError(f"outputs must be 'host' or 'device', got {keep!r}")
        ort = import_onnxruntime()
        kind, _, index = device.name.partition(":")
        place = (kind, int(index or 0)) if kind == "cuda" else ("cpu", 0)
        self._session, self._names, self._keep, self._where = session, outputs, keep, where
        self._watched, self._process, self._options = watched, os.getpid(), options
        self._shapes = {name: (array.shape, array.dtype) for name, array in inputs.items()}
        self._inputs = {}
        self._io = session.io_binding()
        for name, array in inputs.items():
            # A copy: on the host, the value would otherwise be the caller's own array.
            value = ort.OrtValue.ortvalue_from_numpy(np.array(array, order="C"), *place)
            self._inputs[name] = value
            self._io.bind_ortvalue_input(name, value)
        for name in outputs:
            self._io.bind_output(name, *place)
        self._fix_outputs()

    def run(self, inputs: Mapping[str, NDArray[Any]] | None = None) -> dict[str, Any]:
        """Runs the model on new inputs, or again on those that are there.

        Args:
            inputs: of the dtypes and shapes that were bound; those left out stay as they were.

        Returns:
            By output: arrays, or, where answers stay on the device, values that speak DLPack
            (``torch.from_dlpack(value)``), which the next run overwrites.

        Raises:
            InputError: an input is unknown, or of another dtype or shape than was bound.
            NonFiniteOutput: an answer that is copied to the host holds NaN or infinity.
            InferenceError: onnxruntime failed, or this is a child made by fork, to which the memory does not
                belong: bind again there.
        """
        if os.getpid() != self._process:
            raise InferenceError(f"{self._where}: was bound before a fork; bind again in the child")
        for name, array in (inputs or {}).items():
            if self._shapes.get(name) != (np.shape(array), getattr(array, "dtype", None)):
                bound = ", ".join(f"{n}: {d} {list(s)}" for n, (s, d) in self._shapes.items())
                got = f"{name}: {getattr(array, 'dtype', type(array).__name__)} {list(np.shape(array))}"
                raise InputError(f"{self._where}: bound {bound}; got {got}")
            self._inputs[name].update_inplace(np.ascontiguousarray(array))
        self._run()
        values = self._outputs if self._keep == "device" else [v.numpy().copy() for v in self._outputs]
        answers = dict(zip(self._names, values, strict=True))
        if self._keep == "host":
            for name in self._watched:
                if not is_finite(answers[name]):
                    raise NonFiniteOutput(
                        f"{self._where}: {name} holds NaN or infinity; "
                        "an Engine with allow_nonfinite=True lets it through"
                    )
        return answers

    def _fix_outputs(self) -> None:
        """Runs once to learn the answers' sizes, and keeps the memory that they came in."""
        self._run()
        self._outputs = self._io.get_outputs()
        for name, value in zip(self._names, self._outputs, strict=True):
            self._io.bind_ortvalue_output(name, value)

    def _run(self) -> None:
        try:
            self._session.run_with_iobinding(self._io, self._options)
        except onnxruntime_errors() as error:
            raise InferenceError(
                f"{self._where}: onnxruntime failed: {' '.join(str(error).split())[:300]}"
            ) from error


def check_out(
    out: Mapping[str, NDArray[Any]], outputs: tuple[TensorSpec, ...], sizes: Mapping[str, int], where: str
) -> None:
    """Checks arrays that answers shall be written to.

    Args:
        out: arrays by output.
        outputs: of the model.
        sizes: what names of dimensions stand for.
        where: the model's file, for messages.

    Raises:
        InputError: an output is unknown, or its array of another dtype or shape, or can't be written to.
    """
    known = {spec.name: spec for spec in outputs}
    for name, array in out.items():
        spec = known.get(name)
        if spec is None:
            raise InputError(f"{where}: out: there is no output {name!r}; outputs are {', '.join(known)}")
        shape = tuple(sizes.get(d, d) if isinstance(d, str) else d for d in spec.shape)
        if (
            not isinstance(array, np.ndarray)
            or array.dtype != spec.dtype
            or not shape_matches(array.shape, shape)
        ):
            got = f"{getattr(array, 'dtype', type(array).__name__)} {list(np.shape(array))}"
            expected = f"{spec.dtype} [{', '.join(map(str, shape))}]"
            raise InputError(f"{where}: out: expected {name}: {expected}; got {got}")
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise InputError(f"{where}: out: {name} must be C-contiguous and writable")


def run_into(
    session: Any,
    inputs: Mapping[str, NDArray[Any]],
    names: list[str],
    out: Mapping[str, NDArray[Any]],
    options: Any,
) -> list[NDArray[Any]]:
    """Runs a session, with answers written to the arrays of ``out``."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(array))
    for name in names:
        if name in out:
            array = out[name]
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        else:
            binding.bind_output(name)
    session.run_with_iobinding(binding, options)
    rest = binding.copy_outputs_to_cpu()
    return [out.get(name, value) for name, value in zip(names, rest, strict=True)]
