"""A CUDA stream with timers and copies, through NVIDIA's own Python binding.

It uses the driver's interface, not the runtime's, which needs no library but the driver's own, and so works
with whatever CUDA onnxruntime was built for. All calls have the same signature in cuda-bindings 12 and 13.
https://nvidia.github.io/cuda-python/cuda-bindings/latest/module/driver.html
"""

from __future__ import annotations

import importlib.metadata as metadata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from numpy.typing import NDArray

from cnntk.runtime.errors import InferenceError, MissingDependency

__all__ = ["INSTALL_COMMAND", "CudaStream", "EventTimer", "cuda_stream"]

INSTALL_COMMAND = "pip install 'cnntk[cuda]' (cuda-bindings, nvidia-ml-py)"
"""Command that installs the libraries of this module and `cnntk.benchmark.cuda.nvml`."""

_BUS_ID_LENGTH = 32


class EventTimer:
    """Two events of a stream; CUDA reports the time between them to about half a microsecond."""

    def __init__(self, driver: Any, stream: Any) -> None:
        self._driver, self._stream = driver, stream
        flags = int(driver.CUevent_flags.CU_EVENT_DEFAULT)
        self.events = tuple(_checked(driver.cuEventCreate(flags)) for _ in range(2))

    def start(self) -> None:
        """Records the first event; may be called again and again."""
        _checked(self._driver.cuEventRecord(self.events[0], self._stream))

    def stop(self) -> None:
        """Records the second event."""
        _checked(self._driver.cuEventRecord(self.events[1], self._stream))

    def ms(self) -> float:
        """Milliseconds between the two events, once the stream is idle."""
        return float(_checked(self._driver.cuEventElapsedTime(*self.events)))


class CudaStream:
    """A stream of one GPU, which does one thing after the other; made by `cuda_stream`.

    Attributes:
        bus_id: Position of the GPU on the PCI bus, like ``0000:3b:00.0``: NVML numbers GPUs differently.
    """

    def __init__(self, driver: Any, stream: Any, bus_id: str) -> None:
        self._driver, self._stream = driver, stream
        self.bus_id = bus_id
        self._timers: list[EventTimer] = []

    @property
    def handle(self) -> int:
        """Address of the stream, for onnxruntime's ``user_compute_stream``."""
        return int(self._stream)

    def timer(self) -> EventTimer:
        """A new timer of this stream."""
        self._timers.append(EventTimer(self._driver, self._stream))
        return self._timers[-1]

    def wait(self) -> None:
        """Waits until the stream is idle."""
        _checked(self._driver.cuStreamSynchronize(self._stream))

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        """Enqueues a copy of a contiguous array to the device."""
        _checked(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self._stream))

    def to_host(self, array: NDArray[Any], address: int) -> None:
        """Enqueues a copy from the device to a contiguous array."""
        _checked(self._driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self._stream))

    def close(self) -> None:
        """Waits, then destroys all events and the stream."""
        self.wait()
        for event in (event for timer in self._timers for event in timer.events):
            _checked(self._driver.cuEventDestroy(event))
        _checked(self._driver.cuStreamDestroy(self._stream))


@contextmanager
def cuda_stream(index: int) -> Iterator[CudaStream]:
    """A stream on a GPU, whose context is this thread's until the block ends.

    It is the context that onnxruntime uses there. Sessions that run in the stream must be gone before the
    block ends.

    Args:
        index: Index of the GPU, from 0, after CUDA_VISIBLE_DEVICES.
            `cnntk.runtime.session.devices.resolve_device` has checked that there is a driver.

    Raises:
        MissingDependency: cuda-bindings is not installed, or is too new for the driver.
        InferenceError: The driver reports an error.
    """
    driver = _load_driver()
    with ExitStack() as undo:
        device = _checked(driver.cuDeviceGet(index))
        context = _checked(driver.cuDevicePrimaryCtxRetain(device))
        undo.callback(lambda: _checked(driver.cuDevicePrimaryCtxRelease(device)))
        _checked(driver.cuCtxPushCurrent(context))
        undo.callback(lambda: _checked(driver.cuCtxPopCurrent()))
        bus_id = _checked(driver.cuDeviceGetPCIBusId(_BUS_ID_LENGTH, device))
        flags = int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)  # as onnxruntime makes its own
        handle = _checked(driver.cuStreamCreate(flags))
        stream = CudaStream(driver, handle, bus_id.partition(b"\0")[0].decode().strip())
        undo.callback(stream.close)
        yield stream


def binding_problem(version: str, driver_version: int) -> str | None:
    """What to install if the version of cuda-bindings is too new for the driver's (12040 for CUDA 12.4)."""
    supported = driver_version // 1000
    if int(version.partition(".")[0]) <= supported:
        return None
    return (
        f"cuda-bindings {version} is too new for the driver, which supports CUDA "
        f"{supported}.{driver_version % 1000 // 10}; run: pip install 'cuda-bindings<{supported + 1}'"
    )


def _load_driver() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise MissingDependency(f"GPU times need cuda-bindings ({error}); run: {INSTALL_COMMAND}") from error
    problem = binding_problem(metadata.version("cuda-bindings"), _checked(driver.cuDriverGetVersion()))
    if problem is not None:
        raise MissingDependency(problem)
    _checked(driver.cuInit(0))
    return driver


def _checked(result: tuple[Any, ...]) -> Any:
    """What a call returned besides its status, which must be success."""
    status, *values = result
    if int(status):
        raise InferenceError(f"CUDA failed: {status.name}; see nvidia-smi")
    return values[0] if values else None
