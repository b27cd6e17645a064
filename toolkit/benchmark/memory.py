"""How much memory a model takes: what is resident at each step of a process of its own."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnntk.benchmark.isolated import apart
from cnntk.benchmark.patience import runs_at_least
from cnntk.runtime.errors import UsageError

if TYPE_CHECKING:
    from cnntk.runtime.artifact.protobuf import ExternalTensor

__all__ = ["Memory", "memory"]

_STATUS = Path("/proc/self/status")
_RUNS = 10
_FIELDS = {"now": "VmRSS", "peak": "VmHWM", "own": "RssAnon", "file": "RssFile", "shared": "RssShmem"}


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process that did nothing but run this model.

    The three parts are what was resident more after each step than before it. They add up to what is resident
    in the end; the peak is above that, because loading a model takes memory that is given back. By getrusage
    all figures are of peaks.

    Attributes:
        interpreter_bytes: of Python alone.
        runtime_bytes: what numpy, onnxruntime and `cnntk.runtime` add, with a model of one node, loaded
            and run: 10 MB of onnxruntime 1.32 are first used then, whatever the model.
        model_bytes: what the model adds, loaded and run: weights in the form of the kernels, the graph, and
            the arena of its activations, one batch of inputs, and those pages of onnxruntime that it is the
            first to use.
        peak_bytes: most that was resident at any time.
        private_bytes: of what is resident in the end, what belongs to this process alone: a second process
            takes as much again. None by getrusage.
        mapped_bytes: of files that are mapped to memory: libraries, and weights beside the model. Processes
            that map the same files share it, and it is counted in each of them. None by getrusage.
        file_bytes: of the model's file and the data beside it.
        batch: of the runs.
        source: where the figures are from: ``/proc/self/status`` or ``getrusage``.
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

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def memory(
    model: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int | None = None,
) -> Memory:
    """Loads a model in a fresh process and runs it ten times; twice, where a run takes over a second.

    On a GPU it is the host's memory alone.

    Args:
        model: an ``.onnx`` file.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.
        batch: images a run; by default 1, or the model's fixed batch.

    Raises:
        UsageError: there is no such model or device, the batch can't be, or the system does not tell
            processes how much memory they take.
        InferenceError: the process ended without an answer, most likely for want of memory.
    """
    if batch is not None and batch < 1:
        raise UsageError(f"batch {batch} must be a positive number")
    asked = {"model": os.fspath(model), "device": device, "threads": threads, "batch": batch}
    return Memory(**apart("cnntk.benchmark.memory:occupied", asked))


def occupied(model: str, device: str, threads: int | None, batch: int | None) -> dict[str, Any]:
    """In a fresh process: the fields of `Memory`."""
    told = _teller()
    steps = [told()]
    import numpy as np

    from cnntk.benchmark.inputs import batch_inputs, fixed_batch
    from cnntk.runtime.artifact.external import find_external_tensors
    from cnntk.runtime.engine import Engine

    np.random.default_rng(0)  # loads its library, which is no part of a model
    nothing = Engine(_nothing(), device, threads=threads)
    nothing.run(batch_inputs(nothing, 1))
    del nothing
    steps.append(told())
    engine = Engine(model, device, threads=threads, allow_nonfinite=True)
    size = batch or fixed_batch(engine) or 1
    inputs = batch_inputs(engine, size)
    start_s = time.perf_counter()
    engine.run(inputs)
    for _ in range(runs_at_least(_RUNS, time.perf_counter() - start_s, slow=2) - 1):
        engine.run(inputs)
    gc.collect()
    steps.append(told())
    start, runtime, end = (step["now"] for step in steps)
    return {
        "interpreter_bytes": start,
        "runtime_bytes": runtime - start,
        "model_bytes": end - runtime,
        "peak_bytes": steps[-1]["peak"],
        "private_bytes": steps[-1].get("own"),
        "mapped_bytes": steps[-1]["file"] + steps[-1]["shared"] if "file" in steps[-1] else None,
        "file_bytes": _file_bytes(model, find_external_tensors(model, engine.name)),
        "batch": size,
        "source": str(_STATUS) if told is of_status else "getrusage",
    }


def _nothing() -> bytes:
    """A model of one node that copies a number."""
    from cnntk.benchmark.layers.small_graphs import model, node, value

    ends = [[value(name, "float32", (1,))] for name in ("x", "y")]
    return model([node("Identity", ["x"], "y")], [], *ends)


def _teller() -> Callable[[], dict[str, int]]:
    """What tells the memory of this process here."""
    if _STATUS.exists():
        return of_status
    try:
        import resource
    except ImportError:
        raise UsageError(
            f"memory: {sys.platform} does not tell a process what it takes; measure it on Linux or macOS"
        ) from None
    unit = 1 if sys.platform == "darwin" else 1024

    def of_usage() -> dict[str, int]:
        peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"now": peak, "peak": peak}

    return of_usage


def of_status() -> dict[str, int]:
    """Bytes, as the kernel counts them (proc(5)); getrusage's peak would begin at the parent's."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return {key: 1024 * int(lines[field].split()[0]) for key, field in _FIELDS.items()}


def _file_bytes(model: str, places: Iterable[ExternalTensor]) -> int:
    beside = {place.locations[-1] for place in places}
    return sum(file.stat().st_size for file in (Path(model), *(Path(model).parent / b for b in beside)))
