"""How fast a model answers: latency and throughput of `Engine.run`."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError
from cnntk.runtime.trial import example_inputs

__all__ = ["BenchResult", "bench"]

_P99_NEEDS = 1000
"""A 99th percentile of fewer runs rests on fewer than ten of them."""

_MAX_RUNS = 100_000


@dataclass(frozen=True)
class BenchResult:
    """What a bench measured.

    Attributes:
        model: file.
        device: that ran it.
        threads: on the CPU.
        batch: images a run.
        warm_up_runs: not counted.
        runs: counted.
        first_run_ms: the first of all, with its allocations.
        p50_ms: median latency of a run.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile; None under 1,000 runs, where it would mean nothing.
        mean_ms: of all counted runs.
        images_per_second: batch / mean.
    """

    model: str
    device: str
    threads: int
    batch: int
    warm_up_runs: int
    runs: int
    first_run_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float | None
    mean_ms: float
    images_per_second: float

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def bench(
    model: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int = 1,
    seconds: float = 3.0,
) -> BenchResult:
    """Measures one model.

    Args:
        model: an ``.onnx`` file.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.
        batch: images a run.
        seconds: how long to count, after a warm-up of a fifth of it; at least 10 runs.

    Raises:
        UsageError: batch or seconds are not positive, or the model's input has no size to try.
    """
    if batch < 1 or not 0 < seconds < float("inf"):
        raise UsageError(f"batch {batch} and seconds {seconds} must be positive numbers")
    engine = Engine(model, device, threads=threads)
    inputs = example_inputs(engine.inputs, batch, engine.image_sizes)
    warm_up = _time_runs(engine, inputs, seconds / 5, at_least=3)
    counted = _time_runs(engine, inputs, seconds, at_least=10)
    p50, p90, p99 = (float(v) for v in np.percentile(counted, [50, 90, 99]))
    mean = float(counted.mean())
    return BenchResult(
        model=os.fspath(model),
        device=engine.device,
        threads=engine.threads,
        batch=batch,
        warm_up_runs=len(warm_up),
        runs=len(counted),
        first_run_ms=float(warm_up[0]),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99 if len(counted) >= _P99_NEEDS else None,
        mean_ms=mean,
        images_per_second=batch * 1000 / mean,
    )


def _time_runs(
    engine: Engine, inputs: dict[str, NDArray[Any]], seconds: float, at_least: int
) -> NDArray[np.float64]:
    """Latency of each run in ms."""
    clock, run = time.perf_counter_ns, engine.run
    latencies: list[int] = []
    end = clock() + int(seconds * 1e9)
    while (clock() < end or len(latencies) < at_least) and len(latencies) < _MAX_RUNS:
        start = clock()
        run(inputs)
        latencies.append(clock() - start)
    return np.array(latencies) / 1e6
