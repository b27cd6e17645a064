"""What a GPU's clocks, heat and memory were while something was measured, and what that means.

NVIDIA's management library tells it (NVML, through nvidia-ml-py); what a GPU does not tell is None, and never
an error. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from cnntk.benchmark.cuda.events import PIP
from cnntk.runtime.errors import DeviceUnavailable, MissingDependency

__all__ = ["Gpu", "GpuSample", "Reader", "Sampler", "gpu_findings", "gpu_reader", "reasons_of"]

_EVERY_S = 0.1
"""Between two looks: each takes the driver some tenths of a millisecond, which runs must not feel."""

_SLOWER_CLOCK = 0.05

_THROTTLED = {
    0x4: "the limit of its power",
    0x8: "its hardware, which was too hot or lacked power",
    0x20: "its heat, by the driver",
    0x40: "its heat, by the hardware",
    0x80: "the machine's power supply",
    0x200: "the limit of its board",
    0x400: "the limit of its voltage",
}
_HELD = {
    0x1: "idle",
    0x2: "clocks set by a user",
    0x10: "kept in step with other GPUs",
    0x100: "clocks set for a display",
}
_REASONS = {**_HELD, **_THROTTLED}
"""By the bits of ``nvmlClocksEventReasons``, https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html"""


@dataclass(frozen=True)
class GpuSample:
    """One look.

    Attributes:
        moment_s: of the monotonic clock.
        sm_mhz: clock of the multiprocessors.
        memory_mhz: clock of the memory.
        temperature_c: degrees Celsius.
        power_w: watts.
        reasons: what holds the clock below its maximum.
        used_bytes: of the GPU's memory, by all processes and the driver.
        own_bytes: by this process; None in most containers, where processes have other numbers.
        others: other processes that compute on it; None where the driver hides them.
    """

    moment_s: float
    sm_mhz: int | None
    memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    reasons: tuple[str, ...]
    used_bytes: int | None
    own_bytes: int | None
    others: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU, and how it was.

    Attributes:
        name: as NVIDIA's.
        driver: its version.
        sm_mhz_max: the highest clock of the multiprocessors.
        memory_mhz_max: the highest clock of the memory.
        power_limit_w: watts.
        memory_bytes: all that it has.
        before: before the model was loaded.
        during: ten a second while runs were measured; warm-up left out.
        after: when the last run had ended.
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

    @property
    def model_bytes(self) -> int | None:
        """Of the GPU's memory, what loading and running the model added to this process."""
        before, after = self.before.own_bytes, self.after.own_bytes
        return None if before is None or after is None else max(0, after - before)

    def span(self, what: str) -> tuple[float, float] | None:
        """Least and largest of a figure of `GpuSample`, while runs were measured; None where not told."""
        found = [getattr(sample, what) for sample in self.during]
        known = [value for value in found if value is not None]
        return (min(known), max(known)) if known else None

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "model_bytes": self.model_bytes}


class Reader:
    """Reads one GPU; made by `gpu_reader`."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def sample(self) -> GpuSample:
        """One look."""
        nvml, told = self._nvml, self._told
        milliwatts, memory = told("nvmlDeviceGetPowerUsage"), told("nvmlDeviceGetMemoryInfo")
        own, others = _processes(told("nvmlDeviceGetComputeRunningProcesses"), os.getpid())
        return GpuSample(
            moment_s=time.monotonic(),
            sm_mhz=told("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            memory_mhz=told("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
            temperature_c=told("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            power_w=None if milliwatts is None else milliwatts / 1e3,
            reasons=reasons_of(told("nvmlDeviceGetCurrentClocksEventReasons") or 0),
            used_bytes=None if memory is None else int(memory.used),
            own_bytes=own,
            others=others,
        )

    def gpu(self, before: GpuSample, during: tuple[GpuSample, ...], after: GpuSample) -> Gpu:
        """What does not change, with what was seen."""
        nvml, told = self._nvml, self._told
        milliwatts, memory = told("nvmlDeviceGetEnforcedPowerLimit"), told("nvmlDeviceGetMemoryInfo")
        return Gpu(
            name=_text(nvml.nvmlDeviceGetName(self._handle)),
            driver=_text(nvml.nvmlSystemGetDriverVersion()),
            sm_mhz_max=told("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
            memory_mhz_max=told("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_MEM),
            power_limit_w=None if milliwatts is None else milliwatts / 1e3,
            memory_bytes=None if memory is None else int(memory.total),
            before=before,
            during=during,
            after=after,
        )

    def _told(self, function: str, *arguments: Any) -> Any:
        """None where this GPU, its driver or the rights of this process don't tell."""
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


@contextmanager
def gpu_reader(bus_id: str) -> Iterator[Reader]:
    """Opens NVML on the GPU at a place of the PCI bus, until the block ends.

    Args:
        bus_id: as CUDA tells it. NVML's numbers are others: it ignores CUDA_VISIBLE_DEVICES, and counts in
            the order of the bus, CUDA the fastest first.

    Raises:
        MissingDependency: nvidia-ml-py is not installed.
        DeviceUnavailable: NVML can't be had, or does not know the GPU.
    """
    try:
        import pynvml as nvml
    except ImportError as error:
        raise MissingDependency(f"a GPU's clocks need nvidia-ml-py ({error}); run: {PIP}") from error
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise DeviceUnavailable(
            f"the GPU's clocks and memory can't be read: NVML: {error}; a container needs "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
        ) from error
    try:
        yield Reader(nvml, _handle(nvml, bus_id))
    finally:
        nvml.nvmlShutdown()


class Sampler(AbstractContextManager["Sampler"]):
    """Looks again and again, in a thread of its own, until the block ends; at least once."""

    def __init__(self, look: Callable[[], GpuSample], every_s: float = _EVERY_S) -> None:
        self._look, self._every_s = look, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)
        self._samples: list[GpuSample] = []

    @property
    def samples(self) -> tuple[GpuSample, ...]:
        """So far."""
        return tuple(self._samples)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        self._samples.append(self._look())
        while not self._end.wait(self._every_s):
            self._samples.append(self._look())


def reasons_of(bits: int) -> tuple[str, ...]:
    """NVML's ``clocksEventReasons`` in words."""
    return tuple(word for bit, word in _REASONS.items() if bits & bit)


def gpu_findings(found: Gpu) -> Iterator[str]:
    """What a reader of the figures must know, a phrase each."""
    counts = Counter(reason for sample in found.during for reason in sample.reasons)
    for reason in _THROTTLED.values():
        if counts[reason]:
            yield f"the GPU was slowed down by {reason}, in {counts[reason]} of {len(found.during)} looks"
    if counts[_HELD[0x2]]:
        yield "the GPU's clocks are set by a user (nvidia-smi), not by its load"
    span = found.span("sm_mhz")
    if span is not None and span[0] < span[1] * (1 - _SLOWER_CLOCK):
        yield f"the GPU's clock went between {span[0]:,} and {span[1]:,} MHz"
    others = found.span("others")
    if others is not None and others[1]:
        yield f"other processes had work or memory on the GPU: {others[1]:,}"


def _handle(nvml: Any, bus_id: str) -> Any:
    try:
        return nvml.nvmlDeviceGetHandleByPciBusId(bus_id)
    except nvml.NVMLError as error:
        raise DeviceUnavailable(f"NVML does not know the GPU at {bus_id}: {error}") from error


def _processes(found: list[Any] | None, own: int) -> tuple[int | None, int | None]:
    """The memory of this process, and how many others there are.

    This one has a context on the GPU: where its number is not among them, it bears another one, as it does in
    a container that sees the whole machine's; where there are none at all, they are hidden.
    """
    if not found:
        return None, None
    memory = next((process.usedGpuMemory for process in found if process.pid == own), None)
    return memory, len({process.pid for process in found}) - 1


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
