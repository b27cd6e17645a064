"""Runs with inputs and outputs in fixed memory, on the host or on the device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.contract import is_finite
from cnntk.runtime.errors import InferenceError, InputError, NonFiniteOutput
from cnntk.runtime.session.devices import Device, import_onnxruntime
from cnntk.runtime.session.session_factory import onnxruntime_errors

__all__ = ["Binding"]

Arrays = dict[str, NDArray[Any]]


class Binding:
    """A model with inputs and outputs of fixed sizes in memory of the device; `Engine.bind` returns it.

    Each run copies inputs to the same memory and reads outputs from the same memory. That saves allocations,
    and a CUDA graph requires it (``options={"enable_cuda_graph": "1"}``; the first run records the graph).
    Only one thread at a time may use a binding.

    Attributes:
        input_values: OrtValue in the memory of each input, by name.
        output_values: OrtValue in the memory of each output, by name.
    """

    def __init__(
        self,
        session: Any,
        device: Device,
        inputs: Mapping[str, NDArray[Any]],
        outputs: list[str],
        keep: Literal["host", "device"],
        name: str,
        checked: tuple[str, ...] = (),
        options: Any = None,
    ) -> None:
        if keep not in ("host", "device"):
            raise ValueError(f"outputs must be 'host' or 'device', got {keep!r}")
        ort = import_onnxruntime()
        device_type, _, index = device.name.partition(":")
        memory = (device_type, int(index or 0)) if device_type == "cuda" else ("cpu", 0)
        self._session, self._keep, self._name = session, keep, name
        self._checked, self._process, self._options = checked, os.getpid(), options
        self._shapes = {key: (array.shape, array.dtype) for key, array in inputs.items()}
        self.input_values: dict[str, Any] = {}
        self._io = session.io_binding()
        for key, array in inputs.items():
            # A copy: on the host, the value would otherwise be the caller's array.
            value = ort.OrtValue.ortvalue_from_numpy(np.array(array, order="C"), *memory)
            self.input_values[key] = value
            self._io.bind_ortvalue_input(key, value)
        for key in outputs:
            self._io.bind_output(key, *memory)
        self.execute()  # a run gives the sizes of the outputs, and the memory that stays bound to them
        self.output_values: dict[str, Any] = dict(zip(outputs, self._io.get_outputs(), strict=True))
        for key, value in self.output_values.items():
            self._io.bind_ortvalue_output(key, value)

    def run(self, inputs: Mapping[str, NDArray[Any]] | None = None) -> dict[str, Any]:
        """Runs the model on new inputs, or again on the previous ones.

        Args:
            inputs: Arrays with the dtypes and shapes that were bound; missing ones stay as they were.

        Returns:
            Arrays by output name. Outputs that stay on the device are DLPack values
            (``torch.from_dlpack(value)``), which the next run overwrites.

        Raises:
            InputError: An input is unknown, or has another dtype or shape than was bound.
            NonFiniteOutput: An output copied to the host contains NaN or infinity.
            InferenceError: onnxruntime failed, or the process was forked since: bind again in the child.
        """
        if os.getpid() != self._process:
            raise InferenceError(f"{self._name}: was bound before a fork; bind again in the child")
        for name, array in (inputs or {}).items():
            if self._shapes.get(name) != (np.shape(array), getattr(array, "dtype", None)):
                bound = ", ".join(f"{n}: {d} {list(s)}" for n, (s, d) in self._shapes.items())
                got = f"{name}: {getattr(array, 'dtype', type(array).__name__)} {list(np.shape(array))}"
                raise InputError(f"{self._name}: bound {bound}; got {got}")
            self.input_values[name].update_inplace(np.ascontiguousarray(array))
        self.execute()
        if self._keep == "device":
            # onnxruntime's own value; before 1.29, OrtValue around it lacks DLPack's methods.
            return {name: value._get_c_value() for name, value in self.output_values.items()}
        outputs = {name: value.numpy().copy() for name, value in self.output_values.items()}
        for name in self._checked:
            if not is_finite(outputs[name]):
                raise NonFiniteOutput(
                    f"{self._name}: output {name} contains NaN or infinity; "
                    "an Engine with allow_nonfinite=True accepts it"
                )
        return outputs

    def execute(self) -> None:
        """Runs the model from `input_values` to `output_values`, without copies and checks.

        Raises:
            InferenceError: onnxruntime failed.
        """
        try:
            self._session.run_with_iobinding(self._io, self._options)
        except onnxruntime_errors() as error:
            raise InferenceError(
                f"{self._name}: onnxruntime failed: {' '.join(str(error).split())[:300]}"
            ) from error
