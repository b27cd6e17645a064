"""`cuda_times`: what a run takes on the GPU, what it takes the host to hand it over, and what copies take."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.cuda.events import Stream, cuda_stream
from cnntk.benchmark.cuda.inside import Inside, inside_of
from cnntk.benchmark.cuda.nvml import Gpu, GpuSample, Reader, Sampler, gpu_findings, gpu_reader
from cnntk.benchmark.cuda.runs import BoundRun
from cnntk.benchmark.inputs import session_inputs
from cnntk.benchmark.statistics.intervals import Estimate, quantile_estimate
from cnntk.benchmark.statistics.samples import WarmUp, time_runs, warm_up, warm_up_limit_s
from cnntk.runtime.errors import DeviceUnavailable, UsageError
from cnntk.runtime.session.devices import Device, resolve_device
from cnntk.runtime.session.session_factory import open_session

__all__ = ["Copies", "CudaTimes", "cuda_findings", "cuda_times", "measured"]

_CUDA = "CUDAExecutionProvider"
_LEAST_RUNS, _MOST_RUNS = 20, 200_000

_HOST_BOUND = 0.9
"""Share of the run's time on the GPU that handing over takes, from which the GPU is said to wait for it."""


@dataclass(frozen=True)
class Copies:
    """Copies of a run in one direction, on the device's clock.

    Attributes:
        tensors: names.
        bytes: of all of them.
        ms: median, of all of them.
    """

    JSON_PROPERTIES: ClassVar = ("gb_per_s",)

    tensors: tuple[str, ...]
    bytes: int
    ms: Estimate

    @property
    def gb_per_s(self) -> float | None:
        """10^9 bytes a second; None where the clock can't tell."""
        return self.bytes / self.ms.value / 1e6 if self.ms.value > 0 else None

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "gb_per_s": self.gb_per_s}


@dataclass(frozen=True)
class CudaTimes:
    """What a run takes, by the device's clock and by the host's; medians.

    Attributes:
        device: like ``cuda:0``.
        batch: images a run.
        runs: that were counted.
        warm_up: before them, copies and all.
        device_ms: between an event before the run and one behind it, inputs and answers on the device. Where
            the GPU waits for the host to hand over the next kernel, that is in it.
        host_ms: the host's call until it returns, without waiting for the GPU: handing over.
        whole_ms: the same until the GPU is done.
        to_device: copies of the inputs from numpy's memory, which is not page-locked.
        to_host: copies of the answers into such memory.
        inside: copies within the graph, and what runs on the CPU.
        gpu: its clocks, heat and memory meanwhile; None where they can't be read.
        findings: what to know about the figures, a phrase each.
    """

    device: str
    batch: int
    runs: int
    warm_up: WarmUp
    device_ms: Estimate
    host_ms: Estimate
    whole_ms: Estimate
    to_device: Copies
    to_host: Copies
    inside: Inside
    gpu: Gpu | None
    findings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        parts = {name: getattr(self, name).to_json() for name in ("to_device", "to_host", "inside")}
        return {**asdict(self), **parts, "gpu": self.gpu and self.gpu.to_json()}


def cuda_times(
    model: str | os.PathLike[str], *, device: str = "cuda", batch: int = 1, seconds: float = 3.0
) -> CudaTimes:
    """Measures a model in a CUDA stream of its own, until it is steady and then for a while.

    Args:
        model: an ``.onnx`` file.
        device: ``cuda``, ``cuda:1``, or ``auto`` where that is CUDA.
        batch: images a run.
        seconds: to measure for; at least 20 runs. The warm-up comes before it, half as long at most, or a
            second.

    Raises:
        UsageError: the device is not CUDA, or the model's input has no size to try, or another batch.
        DeviceUnavailable: CUDA can't be had here.
        MissingDependency: cuda-bindings or nvidia-ml-py is not installed.
        CnntkError: the model can't be loaded or run there.
    """
    if batch < 1 or not 0 < seconds < math.inf:
        raise UsageError(f"batch {batch} and seconds {seconds:g} must be positive numbers")
    where = resolve_device(device)
    if where.provider != _CUDA:
        raise UsageError(f"device {device!r}: GPU times are measured on cuda, not on {where.name}")
    with ExitStack() as stack:
        stream = stack.enter_context(cuda_stream(int(where.name.partition(":")[2])))
        reader: Reader | None = None
        unread: tuple[str, ...] = ()
        try:
            reader = stack.enter_context(gpu_reader(stream.bus_id))
        except DeviceUnavailable as error:
            unread = (str(error),)
        ours = replace(where, options={**where.options, "user_compute_stream": str(stream.handle)})
        found = measured(model, ours, stream, reader, batch=batch, seconds=seconds)
    return replace(found, findings=(*unread, *found.findings))


def measured(
    model: str | os.PathLike[str],
    device: Device,
    stream: Stream,
    reader: Reader | None,
    *,
    batch: int,
    seconds: float,
) -> CudaTimes:
    """Measures in a stream that is there.

    Args:
        model: an ``.onnx`` file.
        device: whose provider works in ``stream``.
        stream: of the device.
        reader: of the GPU's clocks, where they can be read.
        batch: images a run.
        seconds: to measure for.
    """
    before = None if reader is None else reader.sample()
    opened = open_session(model, device)
    inputs = session_inputs(opened, batch)
    run = BoundRun(opened, device, stream, inputs)
    warm = warm_up(run, max_seconds=warm_up_limit_s(seconds))
    run.forget()
    during = _recorded(run, reader, seconds)
    gpu = None if reader is None or before is None else reader.gpu(before, during, reader.sample())
    inside = inside_of(lambda prefix: open_session(model, device, profile=prefix), inputs)
    times = run.times_ms()
    found = CudaTimes(
        device=device.name,
        batch=batch,
        runs=len(times["device"]),
        warm_up=warm,
        device_ms=_median(times["device"]),
        host_ms=_median(times["host"]),
        whole_ms=_median(times["whole"]),
        to_device=_copies(run.inputs, times["to_device"]),
        to_host=_copies(run.outputs, times["to_host"]),
        inside=inside,
        gpu=gpu,
    )
    return replace(found, findings=tuple(cuda_findings(found)))


def _recorded(run: BoundRun, reader: Reader | None, seconds: float) -> tuple[GpuSample, ...]:
    """What the GPU was like meanwhile."""
    with ExitStack() as stack:
        sampler = None if reader is None else stack.enter_context(Sampler(reader.sample))
        time_runs(run, seconds=seconds, min_runs=_LEAST_RUNS, max_runs=_MOST_RUNS)
    return () if sampler is None else sampler.samples


def _median(values: NDArray[np.float64]) -> Estimate:
    return quantile_estimate(values, 0.5)


def _copies(arrays: Mapping[str, NDArray[Any]], times_ms: NDArray[np.float64]) -> Copies:
    return Copies(tuple(arrays), sum(array.nbytes for array in arrays.values()), _median(times_ms))


def cuda_findings(found: CudaTimes) -> Iterator[str]:
    """What a reader of the figures must know, a phrase each."""
    if not found.warm_up.steady:
        yield found.warm_up.reason
    inside = found.inside
    if inside.to_host:
        yield (
            f"copies to the host within the graph: {len(inside.to_host)}; there the host waits for the GPU, "
            "and that is in the time of handing over"
        )
    elif found.host_ms.value > _HOST_BOUND * found.device_ms.value:
        yield (
            f"the GPU waits for the host, which takes {found.host_ms.value:.3g} ms to hand over a run; a "
            "larger batch brings more, or a CUDA graph (Engine.bind with the option enable_cuda_graph)"
        )
    if found.gpu is not None:
        yield from gpu_findings(found.gpu)
