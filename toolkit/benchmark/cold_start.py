"""Cold start: the time from the start of a process to the first output of its model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, ClassVar

from cnntk.benchmark._isolated import run_isolated
from cnntk.benchmark.workload import Workload
from cnntk.runtime.errors import InferenceError, UsageError
from cnntk.runtime.sections import Bar, Bars, Chart, Column, Part, Section, Table, number, percent

__all__ = ["ColdStart", "measure_cold_start"]

_STEADY_RUNS = 20
_TIMES = ("import_ms", "session_ms", "first_run_ms", "steady_ms")


@dataclass(frozen=True)
class ColdStart:
    """Time from the start of a process to the first output; medians over processes.

    Files are in the system's cache unless the machine has just started: the first process brings them there.

    Attributes:
        total_ms: Sum of the import, the session and the first run.
        import_ms: Time to import numpy, onnxruntime and `cnntk.runtime`.
        session_ms: Time to load and optimize the model.
        first_run_ms: Time of the first run.
        next_batches: Time of the first run at each further batch size, as pairs of batch size and ms.
        steady_ms: Time of a later run: median of 20, or of 3 if a run takes over a second.
        batch: Images per run, in the first and the later runs.
        device: Device that ran the model.
        threads: Number of CPU threads.
        processes: Number of processes that were started.
    """

    JSON_PROPERTIES: ClassVar = ("total_ms",)

    import_ms: float
    session_ms: float
    first_run_ms: float
    next_batches: tuple[tuple[int, float], ...]
    steady_ms: float
    batch: int
    device: str
    threads: int
    processes: int

    @property
    def total_ms(self) -> float:
        """Time from the start of the imports to the end of the first run."""
        return self.import_ms + self.session_ms + self.first_run_ms

    def sections(self) -> tuple[Section, ...]:
        """The steps of the cold start, for text and pages."""
        parts = (
            ("import", "import of the runtime", self.import_ms),
            ("session", "session: the model is loaded and optimized", self.session_ms),
            ("first run", "first run", self.first_run_ms),
        )
        total = self.total_ms
        longest = max(parts, key=lambda part: part[2])
        share = percent(longest[2] / (total or 1.0))
        headline = f"The first output comes after {number(total)} ms, {share} of it in the {longest[0]}"
        rows = (
            *((title, number(ms)) for _, title, ms in parts),
            *((f"first run at batch {batch}", number(ms)) for batch, ms in self.next_batches),
            (f"later run, batch {self.batch}", number(self.steady_ms)),
        )
        bar = Bar(f"{number(total)} ms", tuple(Part(name, ms, f"{number(ms)} ms") for name, _, ms in parts))
        return (
            Section(
                "Cold start",
                headline,
                f"Medians of {self.processes} fresh processes; batch {self.batch}.",
                tables=(Table((Column("step"), Column("ms", "decimal")), rows),),
                charts=(Chart("cold-start", "bars", headline, Bars("ms", (bar,))),),
                half=True,
            ),
        )


def measure_cold_start(workload: Workload, *, batches: Sequence[int] = (), processes: int = 3) -> ColdStart:
    """Starts a model in fresh processes, one after the other.

    The first run of all has batch size 1, or the model's fixed one. Later first runs are timed at the
    workload's batch size and at each of ``batches``.

    Args:
        workload: Model to start; its time is not used.
        batches: Further batch sizes.
        processes: Number of processes to take the medians over.

    Raises:
        UsageError: There is no such model or device, or a batch size is not possible for the model.
        InferenceError: A process ended without a result.
    """
    if processes < 1 or any(batch < 1 for batch in batches):
        raise UsageError(f"processes {processes} and batches {list(batches)} must be positive numbers")
    arguments = {"workload": workload, "batches": batches, "zeros": False}
    starts: list[ColdStart] = []
    for _ in range(processes):
        start = run_isolated("cnntk.benchmark.cold_start:start_once", arguments)
        if start is None:
            arguments["zeros"] = True
            start = run_isolated("cnntk.benchmark.cold_start:start_once", arguments)
        starts.append(start)
    medians: dict[str, Any] = {name: median(getattr(start, name) for start in starts) for name in _TIMES}
    further = zip(*(start.next_batches for start in starts), strict=True)
    next_batches = tuple((pairs[0][0], median(ms for _, ms in pairs)) for pairs in further)
    return replace(starts[0], **medians, next_batches=next_batches, processes=processes)


def start_once(workload: Workload, batches: Sequence[int], zeros: bool) -> ColdStart | None:
    """In a fresh process: the times of one start; None to ask for another try with zeros as integers.

    No run comes before the first one that is timed, not even to see whether the model runs on noise.
    """
    marks = [time.perf_counter()]
    from cnntk.runtime.engine import Engine
    from cnntk.runtime.session.devices import import_onnxruntime

    import_onnxruntime()
    marks.append(time.perf_counter())
    engine = Engine(workload.model, workload.device, threads=workload.threads, allow_nonfinite=True)
    marks.append(time.perf_counter())
    from cnntk.benchmark._inputs import choose_batch, min_runs, seeded_inputs

    def run_ms(arrays: Any) -> float:
        start = time.perf_counter()
        engine.run(arrays)
        return 1e3 * (time.perf_counter() - start)

    first = choose_batch(engine)
    further = [batch for batch in dict.fromkeys((workload.batch or first, *batches)) if batch != first]
    inputs = [seeded_inputs(engine, batch, workload.sizes, zeros=zeros) for batch in (first, *further)]
    try:
        first_ms, *next_ms = map(run_ms, inputs)
    except InferenceError:
        if zeros or engine.spec is not None:
            raise
        return None
    steady_ms = [run_ms(inputs[0])]
    steady_ms += [run_ms(inputs[0]) for _ in range(min_runs(_STEADY_RUNS, steady_ms[0] / 1e3) - 1)]
    import_ms, session_ms = (1e3 * (after - before) for before, after in pairwise(marks))
    return ColdStart(
        import_ms=import_ms,
        session_ms=session_ms,
        first_run_ms=first_ms,
        next_batches=tuple(zip(further, next_ms, strict=True)),
        steady_ms=median(steady_ms),
        batch=first,
        device=engine.device,
        threads=engine.threads,
        processes=1,
    )
