"""Clocks, temperature and memory of a GPU during a measurement, and what they mean for it.

Read through NVIDIA's management library (NVML, nvidia-ml-py). What a GPU does not report is None, and never
an error. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from cnntk.benchmark.cuda.events import INSTALL_COMMAND
from cnntk.runtime.errors import DeviceUnavailable, MissingDependency
from cnntk.runtime.sections import size_text

__all__ = ["Gpu", "GpuReader", "GpuSample", "clock_reasons", "gpu_findings", "gpu_reader", "sampled"]

_SAMPLE_EVERY_S = 0.1
"""Seconds between two samples, so that runs do not notice the driver's tenths of a millisecond for each."""

_SLOWER_CLOCK = 0.05

_THROTTLED = {
    0x4: "its power limit",
    0x8: "its hardware, which was too hot or lacked power",
    0x20: "its temperature, by the driver",
    0x40: "its temperature, by the hardware",
    0x80: "the machine's power supply",
    0x200: "the limit of its board",
    0x400: "its voltage limit",
}
_CLOCKS_SET = "clocks set by a user"
_REASONS = {
    0x1: "idle",
    0x2: _CLOCKS_SET,
    0x10: "synchronized with other GPUs",
    0x100: "clocks set for a display",
    **_THROTTLED,
}
"""By the bits of ``nvmlClocksEventReasons``,
https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html"""


@dataclass(frozen=True)
class GpuSample:
    """One reading.

    Attributes:
        time_s: Monotonic clock in seconds.
        sm_mhz: Clock of the multiprocessors in MHz.
        memory_mhz: Clock of the memory in MHz.
        temperature_c: Temperature in degrees Celsius.
        power_w: Power in watts.
        reasons: What keeps the clock below its maximum.
        used_bytes: Bytes of the GPU's memory that all processes and the driver use.
        process_bytes: Bytes that this process uses; None in most containers, which renumber processes.
        other_processes: Number of other processes that compute on it; None if the driver hides them.
    """

    time_s: float
    sm_mhz: int | None
    memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    reasons: tuple[str, ...]
    used_bytes: int | None
    process_bytes: int | None
    other_processes: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU and its state during a measurement.

    Attributes:
        name: NVIDIA's name of it.
        driver: Version of the driver.
        sm_mhz_max: Highest clock of the multiprocessors in MHz.
        memory_mhz_max: Highest clock of the memory in MHz.
        power_limit_w: Power limit in watts.
        memory_bytes: Size of its memory in bytes.
        before: Reading before the model was loaded.
        during: Readings while runs were measured, ten a second, without the warm-up.
        after: Reading after the last run.
    """

    name: str
    driver: str
    sm_mhz_max: int | None
    memory_mhz_max: int | None
    power_limit_w: float | None
    memory_bytes: int | None
    before: GpuSample
    during: tuple[GpuSample, ...]
    after: GpuSample

    JSON_PROPERTIES: ClassVar = ("model_bytes",)

    @property
    def model_bytes(self) -> int | None:
        """Bytes of the GPU's memory that loading and running the model added to this process."""
        before, after = self.before.process_bytes, self.after.process_bytes
        return None if before is None or after is None else max(0, after - before)

    def span(self, field: str) -> tuple[float, float] | None:
        """Least and largest value of a field of `GpuSample` during the runs; None if it was not reported."""
        values = [value for s in self.during if (value := getattr(s, field)) is not None]
        return (min(values), max(values)) if values else None

    def lines(self) -> Iterator[tuple[str, str]]:
        """Its name and its figures while runs were measured, as lines of a section."""
        yield "GPU", f"{self.name}, driver {self.driver}"
        for name, figure, maximum, unit in (
            ("clock", "sm_mhz", self.sm_mhz_max, "MHz"),
            ("memory clock", "memory_mhz", self.memory_mhz_max, "MHz"),
            ("power", "power_w", self.power_limit_w, "W"),
            ("temperature", "temperature_c", None, "°C"),
        ):
            if (span := self.span(figure)) is not None:
                limit = "" if maximum is None else f", limit {maximum:,.0f}"
                yield name, f"{span[0]:,.0f} to {span[1]:,.0f} {unit}{limit}"
        if (used := self.span("used_bytes")) is not None:
            total = "" if self.memory_bytes is None else f" of {size_text(self.memory_bytes)}"
            model = "" if self.model_bytes is None else f", {size_text(self.model_bytes)} by the model"
            yield "memory used", f"{size_text(used[1])}{total}{model}"


class GpuReader:
    """Reads one GPU; made by `gpu_reader`."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def sample(self) -> GpuSample:
        """One reading."""
        nvml, query = self._nvml, self._query
        milliwatts, memory = query("nvmlDeviceGetPowerUsage"), query("nvmlDeviceGetMemoryInfo")
        process_bytes, others = _processes(query("nvmlDeviceGetComputeRunningProcesses"), os.getpid())
        return GpuSample(
            time_s=time.monotonic(),
            sm_mhz=query("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            memory_mhz=query("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            temperature_c=query("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            power_w=None if milliwatts is None else milliwatts / 1e3,
            reasons=clock_reasons(query("nvmlDeviceGetCurrentClocksEventReasons") or 0),
            used_bytes=None if memory is None else int(memory.used),
            process_bytes=process_bytes,
            other_processes=others,
        )

    def gpu(self, before: GpuSample, during: Sequence[GpuSample], after: GpuSample) -> Gpu:
        """The GPU with readings of it."""
        nvml, query = self._nvml, self._query
        milliwatts, memory = query("nvmlDeviceGetEnforcedPowerLimit"), query("nvmlDeviceGetMemoryInfo")
        return Gpu(
            name=nvml.nvmlDeviceGetName(self._handle),
            driver=nvml.nvmlSystemGetDriverVersion(),
            sm_mhz_max=query("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
            memory_mhz_max=query("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_MEM),
            power_limit_w=None if milliwatts is None else milliwatts / 1e3,
            memory_bytes=None if memory is None else int(memory.total),
            before=before,
            during=tuple(during),
            after=after,
        )

    def _query(self, function: str, *arguments: Any) -> Any:
        """None if this GPU, its driver or the rights of this process don't allow it."""
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


@contextmanager
def gpu_reader(bus_id: str) -> Iterator[GpuReader]:
    """Opens NVML on the GPU at a position of the PCI bus, until the block ends.

    Args:
        bus_id: Position that CUDA reports. NVML numbers GPUs in the order of the bus and ignores
            CUDA_VISIBLE_DEVICES; CUDA counts the fastest first.

    Raises:
        MissingDependency: nvidia-ml-py is not installed.
        DeviceUnavailable: NVML is not available, or does not know the GPU.
    """
    try:
        import pynvml as nvml
    except ImportError as error:
        raise MissingDependency(
            f"a GPU's clocks need nvidia-ml-py ({error}); run: {INSTALL_COMMAND}"
        ) from error
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise DeviceUnavailable(
            f"the GPU's clocks and memory are not readable: NVML: {error}; a container needs "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        ) from error
    try:
        try:
            handle = nvml.nvmlDeviceGetHandleByPciBusId(bus_id)
        except nvml.NVMLError as error:
            raise DeviceUnavailable(f"NVML does not know the GPU at {bus_id}: {error}") from error
        yield GpuReader(nvml, handle)
    finally:
        nvml.nvmlShutdown()


@contextmanager
def sampled(read: Callable[[], GpuSample], every_s: float = _SAMPLE_EVERY_S) -> Iterator[Sequence[GpuSample]]:
    """Reads again and again in a thread until the block ends; at least once."""
    samples: list[GpuSample] = []
    end = threading.Event()

    def run() -> None:
        samples.append(read())
        while not end.wait(every_s):
            samples.append(read())

    thread = threading.Thread(target=run, name="gpu-sampler", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        end.set()
        thread.join()


def clock_reasons(bits: int) -> tuple[str, ...]:
    """NVML's ``clocksEventReasons`` in words."""
    return tuple(reason for bit, reason in sorted(_REASONS.items()) if bits & bit)


def gpu_findings(gpu: Gpu) -> Iterator[str]:
    """Sentences on what a reader of the figures must know."""
    counts = Counter(reason for sample in gpu.during for reason in sample.reasons)
    for reason in _THROTTLED.values():
        if counts[reason]:
            yield f"the GPU was slowed down by {reason}, in {counts[reason]} of {len(gpu.during)} readings"
    if counts[_CLOCKS_SET]:
        yield "the GPU's clocks are set by a user (nvidia-smi), not by its load"
    span = gpu.span("sm_mhz")
    if span is not None and span[0] < span[1] * (1 - _SLOWER_CLOCK):
        yield f"the GPU's clock was between {span[0]:,} and {span[1]:,} MHz"
    others = gpu.span("other_processes")
    if others is not None and others[1]:
        yield f"other processes had work or memory on the GPU: {others[1]:,}"


def _processes(processes: list[Any] | None, pid: int) -> tuple[int | None, int | None]:
    """The memory of this process, and the number of others.

    This process has a context on the GPU: if its number is not listed, it has another one, as in a container
    that sees the whole machine's processes; if none is listed, they are hidden.
    """
    if not processes:
        return None, None
    memory = next((process.usedGpuMemory for process in processes if process.pid == pid), None)
    return memory, len({process.pid for process in processes}) - 1
