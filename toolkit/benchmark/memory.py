"""Memory that a model takes: the resident memory of a fresh process, step by step."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnntk.benchmark._isolated import run_isolated
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import UsageError
from cnntk.runtime.sections import Bar, Bars, Chart, Column, Part, Section, Table, size_text

__all__ = ["Memory", "measure_memory"]

_MEGABYTE = 1e6
_STATUS = Path("/proc/self/status")
_RUNS = 10
_STATUS_FIELDS = {
    "resident": "VmRSS",
    "peak": "VmHWM",
    "private": "RssAnon",
    "file": "RssFile",
    "shared": "RssShmem",
}

_ONE_NODE_MODEL = (
    b'\x08\x08::\n\x12\n\x01x\x12\x01y"\x08Identity:\x00\x12\x02id'
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x12"
)
"""``id (float[1] x) => (float[1] y) { y = Identity(x) }`` in ONNX; its memory belongs to the runtime."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process that only runs this model.

    The first three figures are the increase of each step and add up to what is resident in the end. The peak
    is higher, because loading a model takes memory that is freed again. With getrusage all figures are peaks.

    Attributes:
        interpreter_bytes: Memory of Python alone.
        runtime_bytes: Memory that numpy, onnxruntime and `cnntk.runtime` add, with a model of one node,
            loaded and run: 10 MB of onnxruntime 1.32 are first used then, whatever the model.
        model_bytes: Memory that the model adds, loaded and run: weights in the form of the kernels, the
            graph, the arena of its activations, one batch of inputs, and pages of onnxruntime that it is the
            first to use.
        peak_bytes: Largest resident memory at any time.
        private_bytes: Memory that belongs to this process alone in the end: a second process takes as much
            again. None with getrusage.
        mapped_bytes: Memory mapped from files: libraries, and external weights. Processes that map the same
            files share it, and it is counted in each of them. None with getrusage.
        file_bytes: Size of the model's file and its external data.
        batch: Images per run.
        source: Source of the figures: ``/proc/self/status`` or ``getrusage``.
    """

    interpreter_bytes: int
    runtime_bytes: int
    model_bytes: int
    peak_bytes: int
    private_bytes: int | None
    mapped_bytes: int | None
    file_bytes: int
    batch: int
    source: str

    def sections(self) -> tuple[Section, ...]:
        """The parts of the resident memory, for text and pages."""
        parts = (
            ("Python", "Python alone", self.interpreter_bytes),
            ("runtime", "runtime: numpy, onnxruntime, cnntk", self.runtime_bytes),
            ("model", "model, loaded and run", self.model_bytes),
        )
        rest = (
            ("peak", self.peak_bytes),
            ("private to this process", self.private_bytes),
            ("mapped files, which processes share", self.mapped_bytes),
            ("model file and its external data", self.file_bytes),
        )
        rows = (
            *((title, size_text(size)) for _, title, size in parts),
            *((title, size_text(size)) for title, size in rest if size is not None),
        )
        peak = Part("peak", self.peak_bytes / _MEGABYTE, size_text(self.peak_bytes))
        bar = Bar(
            f"resident: {size_text(sum(size for _, _, size in parts))}",
            tuple(Part(name, size / _MEGABYTE, size_text(size)) for name, _, size in parts),
            peak,
        )
        headline = f"The model takes {size_text(self.model_bytes)}; the process peaks at {peak.text}"
        return (
            Section(
                "Memory",
                headline,
                f"Resident memory of a process that only runs the model, batch {self.batch} ({self.source}).",
                tables=(Table((Column("part"), Column("size", "right")), rows),),
                charts=(Chart("memory", "bars", headline, Bars("MB", (bar,))),),
                half=True,
            ),
        )


def measure_memory(workload: Workload) -> Memory:
    """Loads a model in a fresh process and runs it ten times, or twice if a run takes over a second.

    On a GPU the figures are the host's memory only. The workload's time is not used.

    Raises:
        UsageError: There is no such model or device, the batch size is not possible, or the system doesn't
            report the memory of a process.
        InferenceError: The process ended without a result, most likely because memory ran out.
    """
    memory: Memory = run_isolated("cnntk.benchmark.memory:measure_in_process", {"workload": workload})
    return memory


def measure_in_process(workload: Workload) -> Memory:
    """In a fresh process: the figures of a model."""
    read = _memory_reader()
    start = read()
    import numpy as np

    from cnntk.benchmark._inputs import batch_inputs, choose_batch, min_runs
    from cnntk.runtime.artifact.external import find_external_tensors
    from cnntk.runtime.engine import Engine

    np.random.default_rng(0)  # loads its library, which is not part of a model
    empty = Engine(_ONE_NODE_MODEL, workload.device, threads=workload.threads)
    empty.run(batch_inputs(empty, 1))
    del empty
    runtime = read()
    engine = workload.engine(allow_nonfinite=True)
    batch = choose_batch(engine, workload.batch)
    inputs = batch_inputs(engine, batch, workload.sizes)
    start_s = time.perf_counter()
    engine.run(inputs)
    for _ in range(min_runs(_RUNS, time.perf_counter() - start_s, slow=2) - 1):
        engine.run(inputs)
    gc.collect()
    end = read()
    external = {tensor.locations[-1] for tensor in find_external_tensors(engine.name, engine.name)}
    files = (Path(engine.name), *(Path(engine.name).parent / name for name in external))
    return Memory(
        interpreter_bytes=start["resident"],
        runtime_bytes=runtime["resident"] - start["resident"],
        model_bytes=end["resident"] - runtime["resident"],
        peak_bytes=end["peak"],
        private_bytes=end.get("private"),
        mapped_bytes=end["file"] + end["shared"] if "file" in end else None,
        file_bytes=sum(file.stat().st_size for file in files),
        batch=batch,
        source=str(_STATUS) if read is read_status else "getrusage",
    )


def _memory_reader() -> Callable[[], dict[str, int]]:
    """A function that reads the memory of this process on this system."""
    if _STATUS.exists():
        return read_status
    try:
        import resource
    except ImportError:
        raise UsageError(
            f"memory: {sys.platform} does not report the memory of a process; measure on Linux or macOS"
        ) from None
    unit = 1 if sys.platform == "darwin" else 1024

    def read_usage() -> dict[str, int]:
        peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"resident": peak, "peak": peak}

    return read_usage


def read_status() -> dict[str, int]:
    """Bytes, as the kernel counts them (proc(5)); the peak of getrusage would start at the parent's."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return {key: 1024 * int(lines[field].split()[0]) for key, field in _STATUS_FIELDS.items()}
