"""`measure_latency`: how long a run takes, once it is steady; and the sessions that a baseline is made of."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnntk.benchmark.case import Case, case_of
from cnntk.benchmark.inputs import batch_inputs, runs_on
from cnntk.benchmark.isolated import apart
from cnntk.benchmark.patience import runs_at_least
from cnntk.benchmark.statistics.findings import Finding, findings
from cnntk.benchmark.statistics.intervals import Estimate, mean_estimate, percentiles
from cnntk.benchmark.statistics.samples import LatencySamples, WarmUp, time_runs, warm_up, warm_up_limit_s
from cnntk.benchmark.statistics.system_load import load_between, read_counters
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError

__all__ = ["PERCENTS", "SESSIONS", "Latency", "measure_case", "measure_latency"]

PERCENTS = (50, 90, 99, 99.9)

SESSIONS = 10
"""Of a baseline: few of them would be left where a third was disturbed."""

_SESSION_LEAST_S = 0.25
_LEAST_RUNS, _LEAST_SLOW_RUNS, _MOST_RUNS = 20, 3, 200_000
_CASE_RUNS = 10
_SERIES = 300
"""Points of the series and of the histogram's data that go into JSON."""


@dataclass(frozen=True)
class Latency:
    """How long a run takes.

    Attributes:
        device: that ran it.
        threads: on the CPU.
        batch: images a run.
        warm_up: before it.
        percentiles_ms: by "50", "90", "99" and "99.9"; None where fewer than ten runs lie beyond.
        mean_ms: of all runs.
        images_per_second: batch by mean; one image after the other, nothing at the same time.
        trace: all runs, the warm-up's left out.
        findings: what disturbed it.
    """

    device: str
    threads: int
    batch: int
    warm_up: WarmUp
    percentiles_ms: dict[str, Estimate | None]
    mean_ms: Estimate
    images_per_second: Estimate
    trace: LatencySamples
    findings: tuple[Finding, ...]

    @property
    def runs(self) -> int:
        """That were counted."""
        return len(self.trace)

    @property
    def median_ms(self) -> Estimate:
        """Half of the runs take less."""
        found = self.percentiles_ms["50"]
        if found is None:
            raise ValueError("there are fewer runs than a median needs")
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON data; of the runs, how they changed and how they are distributed."""
        return {
            "device": self.device,
            "threads": self.threads,
            "batch": self.batch,
            "runs": self.runs,
            "warm_up": as_json(self.warm_up),
            "percentiles_ms": {k: v and as_json(v) for k, v in self.percentiles_ms.items()},
            "mean_ms": as_json(self.mean_ms),
            "images_per_second": as_json(self.images_per_second),
            "series": _series(self.trace),
            "quantiles_ms": np.quantile(self.trace.latencies_ms, np.linspace(0, 1, 101)).round(6).tolist(),
            "findings": as_json(self.findings),
        }


def measure_latency(
    model: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int = 1,
    seconds: float = 3.0,
    slow_runs: int = _LEAST_SLOW_RUNS,
) -> Latency:
    """Warms a model up until it is steady, then times its runs.

    Args:
        model: an ``.onnx`` file.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.
        batch: images a run.
        seconds: to time for; at least 20 runs. The warm-up comes before, half as long at most, or a second.
        slow_runs: at least, instead of 20, where a run takes over a second; 2 or more.

    Raises:
        UsageError: the model's input has no size to try, or another batch than this.
        CnntkError: the model can't be loaded or run there.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError(f"seconds {seconds}: expected a positive number")
    engine = Engine(model, device, threads=threads)
    call = runs_on(engine, batch_inputs(engine, batch))
    warm = warm_up(call, max_seconds=warm_up_limit_s(seconds))
    before = read_counters()
    at_least = runs_at_least(_LEAST_RUNS, warm.seconds / warm.runs, slow=slow_runs)
    trace = time_runs(call, seconds=seconds, min_runs=at_least, max_runs=_MOST_RUNS)
    after = read_counters()
    mean = mean_estimate(trace.latencies_ms)
    return Latency(
        device=engine.device,
        threads=engine.threads,
        batch=batch,
        warm_up=warm,
        percentiles_ms={f"{p:g}": found for p, found in percentiles(trace.latencies_ms, PERCENTS).items()},
        mean_ms=mean,
        images_per_second=Estimate(*(1000 * batch / ms for ms in (mean.value, mean.high, mean.low))),
        trace=trace,
        findings=findings(trace, before, after),
    )


def measure_case(
    model: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | None = None,
    batch: int = 1,
    seconds: float = 3.0,
    sessions: int = SESSIONS,
) -> Case:
    """Latency in several processes, one after the other: what differs between them is part of the answer.

    Args:
        model: an ``.onnx`` file.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.
        batch: images a run.
        seconds: in all, but a quarter of a second in each at least; a process takes some 0.5 s more to start
            and to warm up.
        sessions: processes, two or more.

    Raises:
        UsageError, CnntkError: as `measure_latency`.
    """
    if sessions < 2:
        raise UsageError(f"sessions {sessions}: expected two or more, which alone show what differs")
    each_s = max(seconds / sessions, _SESSION_LEAST_S)
    request = {
        "model": os.fspath(model),
        "device": device,
        "threads": threads,
        "batch": batch,
        "seconds": each_s,
        "slow_runs": max(_LEAST_SLOW_RUNS, math.ceil(_CASE_RUNS / sessions)),
    }
    found = [apart("cnntk.benchmark.latency:_session", request) for _ in range(sessions)]
    traces = [LatencySamples(np.array(s["starts_s"]), np.array(s["latencies_ms"])) for s in found]
    settings = {"device": found[0]["device"], "threads": found[0]["threads"], "batch": batch}
    busy = [session["others"] for session in found if session["others"] is not None]
    return case_of(
        traces,
        settings=settings,
        model_sha256=sha256_of(model),
        others=float(np.mean(busy)) if busy else None,
        session_seconds=each_s,
    )


def _session(**request: Any) -> dict[str, Any]:
    before = read_counters()
    found = measure_latency(**request)
    return {
        "others": load_between(before, read_counters()).other_cpu_share,
        "device": found.device,
        "threads": found.threads,
        "starts_s": found.trace.starts_s.tolist(),
        "latencies_ms": found.trace.latencies_ms.tolist(),
    }


def _series(trace: LatencySamples) -> list[list[float]]:
    """Up to 300 stretches of time, each with its begin (s) and its least, median and largest latency (ms)."""
    parts = np.array_split(np.arange(len(trace)), min(_SERIES, len(trace)))
    rows = []
    for part in parts:
        ms = trace.latencies_ms[part]
        row = (trace.starts_s[part[0]], ms.min(), np.median(ms), ms.max())
        rows.append([round(float(v), 6) for v in row])
    return rows
