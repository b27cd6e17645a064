"""Runs on the device's own clock: copies in, the run, and copies out, each apart."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.cuda.events import Stream
from cnntk.runtime.errors import InferenceError
from cnntk.runtime.session.devices import Device, import_onnxruntime
from cnntk.runtime.session.session_factory import LoadedModel, onnxruntime_errors

__all__ = ["PARTS", "BoundRun"]

PARTS = ("to_device", "device", "host", "whole", "to_host")
"""What each run is measured as, in ms: copies of the inputs; the run between its events; the host's call
until it returns; the same until the device is done; copies of the answers."""

_NO_WAIT = "disable_synchronize_execution_providers"
"""https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_run_options_config_keys.h"""


class BoundRun:
    """A session with inputs and outputs in fixed memory of the device; each call is a run.

    The host's side of all copies is ordinary memory, which the driver may page out, as that of numpy's arrays
    is that `Engine.run` takes and gives: page-locked memory would be copied faster.

    Args:
        opened: the session, whose work goes to ``stream``.
        device: of the session.
        stream: of the device.
        inputs: C-contiguous.
    """

    def __init__(
        self, opened: LoadedModel, device: Device, stream: Stream, inputs: Mapping[str, NDArray[Any]]
    ) -> None:
        ort = import_onnxruntime()
        kind, _, index = device.name.partition(":")
        place = (kind, int(index or 0))
        self._session, self._stream, self._name = opened.session, stream, opened.name
        self._io = opened.session.io_binding()
        self._options = ort.RunOptions()
        self._options.add_run_config_entry(_NO_WAIT, "1")
        self._watches = [stream.stopwatch() for _ in range(3)]
        self._rows: list[list[float]] = []
        self.inputs = dict(inputs)
        """On the host."""
        self._taken = {name: ort.OrtValue.ortvalue_from_numpy(a.copy(), *place) for name, a in inputs.items()}
        for name, value in self._taken.items():
            self._io.bind_ortvalue_input(name, value)
        names = [output.name for output in opened.session.get_outputs()]
        for name in names:
            self._io.bind_output(name, *place)
        self._run()
        stream.wait()
        self._given = dict(zip(names, self._io.get_outputs(), strict=True))
        self.outputs = {name: value.numpy().copy() for name, value in self._given.items()}
        """On the host: the answers of the last call."""
        for name, value in self._given.items():
            self._io.bind_ortvalue_output(name, value)

    def __call__(self) -> None:
        """Copies the inputs, runs, and copies the answers; nothing overlaps."""
        stream, (to_device, run, to_host) = self._stream, self._watches
        to_device.start()
        for name, array in self.inputs.items():
            stream.to_device(self._taken[name].data_ptr(), array)
        to_device.stop()
        stream.wait()
        run.start()
        begin = time.perf_counter_ns()
        self._run()
        handed_over = time.perf_counter_ns()
        run.stop()
        stream.wait()
        done = time.perf_counter_ns()
        to_host.start()
        for name, array in self.outputs.items():
            stream.to_host(array, self._given[name].data_ptr())
        to_host.stop()
        stream.wait()
        host, whole = (handed_over - begin) / 1e6, (done - begin) / 1e6
        self._rows.append([to_device.ms(), run.ms(), host, whole, to_host.ms()])

    def forget(self) -> None:
        """All runs so far."""
        self._rows.clear()

    def times_ms(self) -> dict[str, NDArray[np.float64]]:
        """By each of `PARTS`, (runs,)."""
        return dict(zip(PARTS, np.array(self._rows, dtype=np.float64).T, strict=True))

    def _run(self) -> None:
        try:
            self._session.run_with_iobinding(self._io, self._options)
        except onnxruntime_errors() as error:
            text = " ".join(str(error).split())[:300]
            raise InferenceError(f"{self._name}: onnxruntime failed: {text}") from error
