"""A CUDA stream with stopwatches and copies, by NVIDIA's own binding; what needs a GPU stands here alone.

The driver's interface and not the runtime's: it needs no library but the driver's own, so that it fits
whatever CUDA onnxruntime was built for. All calls have the same signature in cuda-bindings 12 and 13.
https://nvidia.github.io/cuda-python/cuda-bindings/latest/module/driver.html
"""

from __future__ import annotations

import importlib.metadata as metadata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from numpy.typing import NDArray

from cnntk.runtime.errors import InferenceError, MissingDependency

__all__ = ["PIP", "CudaStream", "Stopwatch", "Stream", "cuda_stream", "too_new"]

PIP = "pip install 'cnntk[cuda]' (cuda-bindings, nvidia-ml-py)"
"""What brings the libraries that this and `cnntk.benchmark.cuda.nvml` use."""

_BUS_ID_LENGTH = 32


class Stopwatch(Protocol):
    """Measures on the device what is handed to a stream between its start and its stop."""

    def start(self) -> None:
        """Here; may be called again and again."""

    def stop(self) -> None:
        """Here."""

    def ms(self) -> float:
        """Between the last start and the last stop, once the stream has come to its end."""


class Stream(Protocol):
    """What a device does in order, one thing after the other."""

    @property
    def handle(self) -> int:
        """Its address, as onnxruntime's ``user_compute_stream`` takes it."""

    def stopwatch(self) -> Stopwatch:
        """A new one."""

    def wait(self) -> None:
        """Until all is done that was handed over."""

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        """Hands over a copy of an array's bytes, which lie in a row, to the device."""

    def to_host(self, array: NDArray[Any], address: int) -> None:
        """Hands over a copy from the device into an array, whose bytes lie in a row."""


class _Events:
    """Two events of a stream; CUDA tells their distance to about half a microsecond."""

    def __init__(self, driver: Any, stream: Any) -> None:
        self._driver, self._stream = driver, stream
        flags = int(driver.CUevent_flags.CU_EVENT_DEFAULT)
        self.events = tuple(_done(driver.cuEventCreate(flags)) for _ in range(2))

    def start(self) -> None:
        _done(self._driver.cuEventRecord(self.events[0], self._stream))

    def stop(self) -> None:
        _done(self._driver.cuEventRecord(self.events[1], self._stream))

    def ms(self) -> float:
        return float(_done(self._driver.cuEventElapsedTime(*self.events)))


class CudaStream:
    """A stream of its own on one GPU; made by `cuda_stream`."""

    def __init__(self, driver: Any, stream: Any, bus_id: str) -> None:
        self._driver, self._stream = driver, stream
        self.bus_id = bus_id
        """Where the GPU sits, like ``0000:3b:00.0``: the same for NVML, whose numbers are others."""
        self.stopwatches: list[_Events] = []

    @property
    def handle(self) -> int:
        return int(self._stream)

    def stopwatch(self) -> Stopwatch:
        self.stopwatches.append(_Events(self._driver, self._stream))
        return self.stopwatches[-1]

    def wait(self) -> None:
        _done(self._driver.cuStreamSynchronize(self._stream))

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        _done(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self._stream))

    def to_host(self, array: NDArray[Any], address: int) -> None:
        _done(self._driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self._stream))

    def close(self) -> None:
        """Waits, then gives all events and the stream back."""
        self.wait()
        for stopwatch in self.stopwatches:
            for event in stopwatch.events:
                _done(self._driver.cuEventDestroy(event))
        _done(self._driver.cuStreamDestroy(self._stream))


@contextmanager
def cuda_stream(index: int) -> Iterator[CudaStream]:
    """A stream on a GPU, whose context is this thread's until the block ends.

    It is the context that onnxruntime has there, too. Sessions that run in the stream must be gone before
    the block ends.

    Args:
        index: of the GPU, from 0, as CUDA counts: after CUDA_VISIBLE_DEVICES. That there is a driver
            `cnntk.runtime.session.devices.resolve` has seen before.

    Raises:
        MissingDependency: cuda-bindings is not installed, or is too new for the driver.
        InferenceError: the driver refuses.
    """
    driver = _driver()
    with ExitStack() as undo:
        device = _done(driver.cuDeviceGet(index))
        context = _done(driver.cuDevicePrimaryCtxRetain(device))
        undo.callback(lambda: _done(driver.cuDevicePrimaryCtxRelease(device)))
        _done(driver.cuCtxPushCurrent(context))
        undo.callback(lambda: _done(driver.cuCtxPopCurrent()))
        bus_id = _done(driver.cuDeviceGetPCIBusId(_BUS_ID_LENGTH, device))
        flags = int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)  # as onnxruntime makes its own
        stream = CudaStream(
            driver, _done(driver.cuStreamCreate(flags)), bus_id.partition(b"\0")[0].decode().strip()
        )
        undo.callback(stream.close)
        yield stream


def too_new(bindings: str, driver_version: int) -> str | None:
    """What to install where cuda-bindings are of a later CUDA than the driver; None where they fit.

    Args:
        bindings: their version, like ``13.5.0``.
        driver_version: as `cuDriverGetVersion` tells it, 12040 for CUDA 12.4.
    """
    supported = driver_version // 1000
    if int(bindings.partition(".")[0]) <= supported:
        return None
    return (
        f"cuda-bindings {bindings} is too new for the driver, which supports CUDA "
        f"{supported}.{driver_version % 1000 // 10}; run: pip install 'cuda-bindings<{supported + 1}'"
    )


def _driver() -> Any:
    """The binding's module, the driver started."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise MissingDependency(f"GPU times need cuda-bindings ({error}); run: {PIP}") from error
    problem = too_new(metadata.version("cuda-bindings"), _done(driver.cuDriverGetVersion()))
    if problem is not None:
        raise MissingDependency(problem)
    _done(driver.cuInit(0))
    return driver


def _done(answer: tuple[Any, ...]) -> Any:
    """What a call returned besides its status, which must be success."""
    status, *values = answer
    if int(status):
        raise InferenceError(f"CUDA failed: {status.name}; look at nvidia-smi")
    return values[0] if values else None
