"""A simulated GPU: its stream is the host, with its clock and memory; and figures that never change."""

from __future__ import annotations

import ctypes
import time
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from cnntk.benchmark.cuda.events import CudaStream, EventTimer
from cnntk.benchmark.cuda.nvml import Gpu, GpuSample
from cnntk.benchmark.cuda.report import Copies, CudaTimes, OffDeviceNodes
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.benchmark.statistics.samples import WarmUp


class HostTimer(EventTimer):
    def __init__(self) -> None:
        self.begin = self.end = 0.0

    def start(self) -> None:
        self.begin = time.perf_counter()

    def stop(self) -> None:
        self.end = time.perf_counter()

    def ms(self) -> float:
        return 1e3 * (self.end - self.begin)


class HostStream(CudaStream):
    """Everything is done at once."""

    def __init__(self) -> None:
        """It needs no driver."""

    def timer(self) -> HostTimer:
        return HostTimer()

    def wait(self) -> None:
        """Nothing is pending."""

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def to_host(self, array: NDArray[Any], address: int) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)


SAMPLE = GpuSample(
    time_s=10.0,
    sm_mhz=1980,
    memory_mhz=3201,
    temperature_c=45,
    power_w=251.5,
    reasons=(),
    used_bytes=1_500_000_000,
    process_bytes=1_100_000_000,
    other_processes=0,
)


def gpu(*during: dict[str, Any]) -> Gpu:
    return Gpu(
        name="NVIDIA H200",
        driver="580.65.06",
        sm_mhz_max=1980,
        memory_mhz_max=3201,
        power_limit_w=700.0,
        memory_bytes=150_754_820_096,
        before=replace(SAMPLE, sm_mhz=345, process_bytes=500_000_000),
        during=tuple(replace(SAMPLE, **change) for change in during),
        after=SAMPLE,
    )


def cuda_times(**others: Any) -> CudaTimes:
    fields: dict[str, Any] = {
        "device": "cuda:0",
        "batch": 8,
        "runs": 12_000,
        "warm_up": WarmUp(900, 0.5, True, 0.1, "steady after 0.1 s, 200 runs", 300.0),
        "device_ms": Estimate(0.25, 0.24, 0.26),
        "launch_ms": Estimate(0.125, 0.12, 0.13),
        "total_ms": Estimate(0.27, 0.26, 0.28),
        "to_device": Copies(("image",), 4_816_896, Estimate(0.5, 0.49, 0.52)),
        "to_host": Copies(("logits", "probabilities"), 64_000, Estimate(0.0, 0.0, 0.01)),
        "off_device": OffDeviceNodes(("Memcpy_token_1",), (), ("preprocess/size",)),
        "gpu": gpu({}, {"power_w": 260.0}),
        "findings": ("the GPU was slowed down by its power limit, in 1 of 2 readings",),
    }
    return CudaTimes(**{**fields, **others})
