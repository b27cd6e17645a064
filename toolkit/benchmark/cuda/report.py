"""`cuda_times`: the time of a run on the GPU, of the host that launches it, and of the copies."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark._inputs import session_inputs
from cnntk.benchmark.cuda.events import CudaStream, cuda_stream
from cnntk.benchmark.cuda.nvml import Gpu, GpuReader, gpu_findings, gpu_reader, sampled
from cnntk.benchmark.statistics.intervals import Estimate, quantile_estimate
from cnntk.benchmark.statistics.samples import WarmUp, time_runs, warm_up, warm_up_limit_s
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import DeviceUnavailable, UsageError
from cnntk.runtime.sections import Column, Section, Table, first_names, interval, number, size_text
from cnntk.runtime.session.binding import Binding
from cnntk.runtime.session.devices import Device, import_onnxruntime, resolve_device
from cnntk.runtime.session.placement import kernel_events, run_profiled
from cnntk.runtime.session.session_factory import LoadedModel, open_session

__all__ = ["Copies", "CudaTimes", "OffDeviceNodes", "TimedBinding", "cuda_findings", "cuda_times"]

_CUDA = "CUDAExecutionProvider"
_MIN_RUNS, _MAX_RUNS = 20, 200_000

_MAX_NAMES = 4
"""Number of nodes that text names."""

_HOST_BOUND = 0.9
"""Time of launching divided by the GPU's time, above which the GPU waits for the host."""

_NO_SYNCHRONIZATION = "disable_synchronize_execution_providers"
"""https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_run_options_config_keys.h"""

_PARTS = ("to_device", "device", "launch", "total", "to_host")


@dataclass(frozen=True)
class Copies:
    """Copies of a run in one direction, by the device's clock.

    Attributes:
        tensors: Names of the tensors.
        bytes: Number of bytes of all of them.
        ms: Median time of all of them in milliseconds.
    """

    tensors: tuple[str, ...]
    bytes: int
    ms: Estimate

    JSON_PROPERTIES: ClassVar = ("gb_per_s",)

    @property
    def gb_per_s(self) -> float | None:
        """Rate in 10^9 bytes per second; None if the clock can't measure it."""
        return self.bytes / self.ms.value / 1e6 if self.ms.value > 0 else None


@dataclass(frozen=True)
class OffDeviceNodes:
    """Nodes of the optimized graph that do not stay on the GPU, by name.

    Attributes:
        to_device: Copies from the host that onnxruntime inserted.
        to_host: Copies to the host, at each of which the host waits for the GPU.
        on_cpu: Nodes that ran on the CPU.
    """

    to_device: tuple[str, ...]
    to_host: tuple[str, ...]
    on_cpu: tuple[str, ...]

    @classmethod
    def from_events(cls, events: Iterable[dict[str, Any]]) -> OffDeviceNodes:
        """Reads a profile, whose format `cnntk.benchmark.layers._profile` describes."""
        nodes = {event["name"].removesuffix("_kernel_time"): event["args"] for event in kernel_events(events)}

        def names(key: str, value: str) -> tuple[str, ...]:
            return tuple(name for name, args in nodes.items() if args.get(key) == value)

        to_device, to_host = names("op_name", "MemcpyFromHost"), names("op_name", "MemcpyToHost")
        return cls(to_device, to_host, names("provider", "CPUExecutionProvider"))


@dataclass(frozen=True)
class CudaTimes:
    """Median times of a run by the device's clock and by the host's.

    Attributes:
        device: Device, like ``cuda:0``.
        batch: Number of images per run.
        runs: Number of runs that count.
        warm_up: Runs before them, with copies.
        device_ms: Time on the GPU in milliseconds, between an event before the run and one after it, with
            inputs and outputs on the device. If the GPU waits for the host to launch the next kernel, that is
            included.
        launch_ms: Time of the host's call in milliseconds, which launches the work and does not wait for it.
        total_ms: Time until the GPU is done in milliseconds.
        to_device: Copies of the inputs from numpy's memory, which is not page-locked.
        to_host: Copies of the outputs to such memory.
        off_device: Copies within the graph, and nodes on the CPU.
        gpu: Clocks, temperature and memory of the GPU; None if they are not readable.
        findings: Sentences on what to know about the figures.
    """

    device: str
    batch: int
    runs: int
    warm_up: WarmUp
    device_ms: Estimate
    launch_ms: Estimate
    total_ms: Estimate
    to_device: Copies
    to_host: Copies
    off_device: OffDeviceNodes
    gpu: Gpu | None
    findings: tuple[str, ...] = ()

    def sections(self) -> tuple[Section, ...]:
        """Times on the GPU and on the host, copies, and the state of the GPU, for text and pages."""
        columns = (
            Column("step"),
            Column("ms", "decimal"),
            Column("95 % interval", interval=True),
            Column("bytes", "right"),
            Column("GB/s", "right"),
        )
        rows = (
            ("run on the GPU", *_estimate(self.device_ms), "", ""),
            ("host: until the run is launched", *_estimate(self.launch_ms), "", ""),
            ("host: until the run is done", *_estimate(self.total_ms), "", ""),
            ("inputs copied to the GPU", *_copy(self.to_device)),
            ("outputs copied to the host", *_copy(self.to_host)),
        )
        off = self.off_device
        to_device, to_host, on_cpu = (
            first_names(names, _MAX_NAMES) or "none" for names in (off.to_device, off.to_host, off.on_cpu)
        )
        lines = (
            *(() if self.gpu is None else self.gpu.lines()),
            ("copies in the graph", f"to the GPU: {to_device}; to the host: {to_host}"),
            ("on the CPU", on_cpu),
        )
        method = (
            f"{self.runs:,} runs of batch {self.batch} on {self.device}; medians. Times on the GPU are "
            "between two of its own events. The host's memory of the copies is not page-locked."
        )
        return (Section("GPU", "", method, lines, (Table(columns, rows),), notes=self.findings),)


def _estimate(estimate: Estimate) -> tuple[str, str]:
    return number(estimate.value), interval(estimate)


def _copy(copies: Copies) -> tuple[str, str, str, str]:
    rate = "" if copies.gb_per_s is None else number(copies.gb_per_s)
    return *_estimate(copies.ms), size_text(copies.bytes), rate


class TimedBinding:
    """A session with inputs and outputs in fixed memory of the device; each call is a timed run.

    The host's side of all copies is ordinary memory, which the driver may page out, like the arrays that
    `Engine.run` takes and returns: page-locked memory would be copied faster.

    Attributes:
        inputs: C-contiguous inputs on the host, by name.
        outputs: Outputs of the last call on the host, by name.
    """

    def __init__(
        self, loaded: LoadedModel, device: Device, stream: CudaStream, inputs: Mapping[str, NDArray[Any]]
    ) -> None:
        options = import_onnxruntime().RunOptions()
        options.add_run_config_entry(_NO_SYNCHRONIZATION, "1")
        names = [output.name for output in loaded.session.get_outputs()]
        self._binding = Binding(loaded.session, device, inputs, names, "device", loaded.name, options=options)
        self._stream = stream
        self._timers = [stream.timer() for _ in range(3)]
        self._rows: list[list[float]] = []
        stream.wait()
        self.inputs = dict(inputs)
        self.outputs = {name: value.numpy().copy() for name, value in self._binding.output_values.items()}

    def __call__(self) -> None:
        """Copies the inputs, runs, and copies the outputs; nothing overlaps."""
        stream, (to_device, run, to_host) = self._stream, self._timers
        to_device.start()
        for name, array in self.inputs.items():
            stream.to_device(self._binding.input_values[name].data_ptr(), array)
        to_device.stop()
        stream.wait()
        run.start()
        begin = time.perf_counter_ns()
        self._binding.execute()
        launched = time.perf_counter_ns()
        run.stop()
        stream.wait()
        done = time.perf_counter_ns()
        to_host.start()
        for name, array in self.outputs.items():
            stream.to_host(array, self._binding.output_values[name].data_ptr())
        to_host.stop()
        stream.wait()
        launch_ms, total_ms = (launched - begin) / 1e6, (done - begin) / 1e6
        self._rows.append([to_device.ms(), run.ms(), launch_ms, total_ms, to_host.ms()])

    def discard_times(self) -> None:
        """Forgets the runs so far."""
        self._rows.clear()

    def times_ms(self) -> dict[str, NDArray[np.float64]]:
        """Times of all runs in milliseconds, (runs,): ``to_device``, ``device``, ``launch``, ``total``,
        ``to_host``."""
        return dict(zip(_PARTS, np.array(self._rows, dtype=np.float64).T, strict=True))


def cuda_times(workload: Workload) -> CudaTimes:
    """Measures a model in a CUDA stream of its own, first until it is steady.

    Args:
        workload: Model to measure, on a device that is CUDA, with one image per run by default; at least 20
            runs. The warm-up before takes at most half of its time, or a second.

    Raises:
        UsageError: The device is not CUDA, or the model's input has no size to try, or another batch.
        DeviceUnavailable: CUDA is not available.
        MissingDependency: cuda-bindings or nvidia-ml-py is not installed.
        CnntkError: The model can't be loaded or run there.
    """
    target = resolve_device(workload.device)
    if target.provider != _CUDA:
        raise UsageError(f"device {workload.device!r}: GPU times are measured on cuda, not on {target.name}")
    with ExitStack() as stack:
        stream = stack.enter_context(cuda_stream(int(target.name.partition(":")[2])))
        reader: GpuReader | None = None
        notes: tuple[str, ...] = ()
        try:
            reader = stack.enter_context(gpu_reader(stream.bus_id))
        except DeviceUnavailable as error:
            notes = (str(error),)
        options = {**target.options, "user_compute_stream": str(stream.handle)}
        times = measure_in_stream(workload, replace(target, options=options), stream, reader)
    return replace(times, findings=(*notes, *times.findings))


def measure_in_stream(
    workload: Workload, device: Device, stream: CudaStream, reader: GpuReader | None
) -> CudaTimes:
    """Measures a model in an open stream, in which the device's provider works."""
    model, batch, seconds = workload.model, workload.batch or 1, workload.seconds
    before = None if reader is None else reader.sample()
    loaded = open_session(model, device)
    inputs = session_inputs(loaded, batch, workload.sizes)
    run = TimedBinding(loaded, device, stream, inputs)
    warm = warm_up(run, max_seconds=warm_up_limit_s(seconds))
    run.discard_times()
    with ExitStack() as stack:
        during = () if reader is None else stack.enter_context(sampled(reader.sample))
        time_runs(run, seconds=seconds, min_runs=_MIN_RUNS, max_runs=_MAX_RUNS)
    gpu = None if reader is None or before is None else reader.gpu(before, during, reader.sample())
    _, events = run_profiled(lambda prefix: open_session(model, device, profile=prefix), inputs, 1)
    times_ms = run.times_ms()
    medians = {name: quantile_estimate(values, 0.5) for name, values in times_ms.items()}
    times = CudaTimes(
        device=device.name,
        batch=batch,
        runs=len(times_ms["device"]),
        warm_up=warm,
        device_ms=medians["device"],
        launch_ms=medians["launch"],
        total_ms=medians["total"],
        to_device=_copies(run.inputs, medians["to_device"]),
        to_host=_copies(run.outputs, medians["to_host"]),
        off_device=OffDeviceNodes.from_events(events),
        gpu=gpu,
    )
    return replace(times, findings=tuple(cuda_findings(times)))


def _copies(arrays: Mapping[str, NDArray[Any]], ms: Estimate) -> Copies:
    return Copies(tuple(arrays), sum(array.nbytes for array in arrays.values()), ms)


def cuda_findings(times: CudaTimes) -> Iterator[str]:
    """Sentences on what a reader of the figures must know."""
    if not times.warm_up.steady:
        yield times.warm_up.reason
    if times.off_device.to_host:
        yield (
            f"copies to the host within the graph: {len(times.off_device.to_host)}; the host waits for the "
            "GPU there, which is included in the launch time"
        )
    elif times.launch_ms.value > _HOST_BOUND * times.device_ms.value:
        yield (
            f"the GPU waits for the host, which takes {times.launch_ms.value:.3g} ms to launch a run; use a "
            "larger batch, or a CUDA graph (Engine.bind with the option enable_cuda_graph)"
        )
    if times.gpu is not None:
        yield from gpu_findings(times.gpu)
