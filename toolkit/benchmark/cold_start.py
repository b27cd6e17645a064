"""Time to the first answer: what an app waits for before its model has said anything."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from cnntk.benchmark.isolated import apart
from cnntk.benchmark.patience import runs_at_least
from cnntk.runtime.errors import InferenceError, UsageError

__all__ = ["StartUp", "start_up"]

_STEADY_RUNS = 20


@dataclass(frozen=True)
class StartUp:
    """Where the time to the first answer goes; medians over processes.

    Files are in the system's cache, unless the machine has just started: the first process brings them there.

    Attributes:
        import_ms: of numpy, onnxruntime and `cnntk.runtime`.
        session_ms: until the model is loaded and optimized.
        first_run_ms: of all.
        next_shapes: the first run at each further batch, as (batch, ms).
        steady_ms: a run as the first one, later: median of 20, or of 3 where a run
            takes over a second.
        batch: of the first run and the steady ones.
        device: that ran it.
        threads: on the CPU.
        processes: that were started.
    """

    import_ms: float
    session_ms: float
    first_run_ms: float
    next_shapes: tuple[tuple[int, float], ...]
    steady_ms: float
    batch: int
    device: str
    threads: int
    processes: int

    @property
    def first_answer_ms(self) -> float:
        """From the interpreter's start of work to the first answer."""
        return self.import_ms + self.session_ms + self.first_run_ms

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "first_answer_ms": self.first_answer_ms}


def start_up(
    model: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | None = None,
    batches: Sequence[int] = (),
    processes: int = 3,
) -> StartUp:
    """Starts a model in fresh processes, one after the other.

    Args:
        model: an ``.onnx`` file.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.
        batches: further ones, for whose first runs to ask; the first of all is 1, or the model's fixed batch.
        processes: to take the medians over.

    Raises:
        UsageError: there is no such model or device, a size is open, or a batch is not the fixed one.
        InferenceError: a process ended without an answer.
    """
    if processes < 1 or any(batch < 1 for batch in batches):
        raise UsageError(f"processes {processes} and batches {list(batches)} must be positive numbers")
    asked = {"model": os.fspath(model), "device": device, "threads": threads, "batches": list(batches)}
    found = [_start(asked) for _ in range(processes)]

    def median(key: str) -> float:
        return float(statistics.median(one[key] for one in found))

    later = zip(*(one["next_shapes_ms"] for one in found), strict=True)
    return StartUp(
        import_ms=median("import_ms"),
        session_ms=median("session_ms"),
        first_run_ms=median("first_run_ms"),
        next_shapes=tuple(zip(found[0]["batches"], map(statistics.median, later), strict=True)),
        steady_ms=median("steady_ms"),
        batch=found[0]["batch"],
        device=found[0]["device"],
        threads=found[0]["threads"],
        processes=processes,
    )


def _start(asked: dict[str, Any]) -> dict[str, Any]:
    """The times of one start; ``asked`` is told to take zeros where integers of noise do not run."""
    found: dict[str, Any] | None = apart("cnntk.benchmark.cold_start:started", asked)
    if found is None:
        asked["zeros"] = True
        return _start(asked)
    return found


def started(
    model: str, device: str, threads: int | None, batches: Sequence[int], zeros: bool = False
) -> dict[str, Any] | None:
    """In a fresh process: the times of one start, in ms; None where it should be tried with zeros.

    No run comes before the first that is timed, not even to see whether the model runs on noise.
    """
    marks = [time.perf_counter()]
    from cnntk.runtime.engine import Engine
    from cnntk.runtime.session.devices import import_onnxruntime

    import_onnxruntime()
    marks.append(time.perf_counter())
    engine = Engine(model, device, threads=threads, allow_nonfinite=True)
    marks.append(time.perf_counter())
    from cnntk.benchmark.inputs import fixed_batch, plain_inputs

    first = fixed_batch(engine) or 1
    further = [batch for batch in dict.fromkeys(batches) if batch != first]
    inputs = [plain_inputs(engine, batch, zeros=zeros) for batch in (first, *further)]
    try:
        runs_ms = [_run_ms(engine, arrays) for arrays in inputs]
    except InferenceError:
        if zeros or engine.spec is not None:
            raise
        return None
    steady_ms = [_run_ms(engine, inputs[0])]
    more = runs_at_least(_STEADY_RUNS, steady_ms[0] / 1e3) - 1
    steady_ms += [_run_ms(engine, inputs[0]) for _ in range(more)]
    imported, loaded = (1e3 * (after - before) for before, after in pairwise(marks))
    return {
        "import_ms": imported,
        "session_ms": loaded,
        "first_run_ms": runs_ms[0],
        "batches": further,
        "next_shapes_ms": runs_ms[1:],
        "steady_ms": statistics.median(steady_ms),
        "batch": first,
        "device": engine.device,
        "threads": engine.threads,
    }


def _run_ms(engine: Any, inputs: Any) -> float:
    start = time.perf_counter()
    engine.run(inputs)
    return 1e3 * (time.perf_counter() - start)
