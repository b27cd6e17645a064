"""Latency of a model once it is steady, in one process or, for baselines, in several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from cnntk.benchmark._inputs import batch_inputs, choose_batch, engine_call, min_runs
from cnntk.benchmark._isolated import run_isolated
from cnntk.benchmark.statistics.changepoints import block_medians
from cnntk.benchmark.statistics.findings import Finding, findings
from cnntk.benchmark.statistics.intervals import (
    Estimate,
    mean_estimate,
    percentiles,
    quantile_estimate,
    runs_needed,
)
from cnntk.benchmark.statistics.samples import LatencySamples, WarmUp, time_runs, warm_up, warm_up_limit_s
from cnntk.benchmark.statistics.system_load import load_between, read_counters
from cnntk.benchmark.workload import Workload
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.codec import NOT_IN_JSON
from cnntk.runtime.errors import UsageError
from cnntk.runtime.sections import (
    Chart,
    Column,
    Section,
    Table,
    Timeline,
    Value,
    interval,
    number,
    threads_text,
)  # fmt: skip

__all__ = [
    "PERCENTS",
    "Case",
    "Latency",
    "Setting",
    "measure_case",
    "measure_latency",
    "summarize_sessions",
]

PERCENTS = (50, 90, 99, 99.9)

Setting = str | int | float | bool | None

_MIN_SESSION_S = 0.25
_MIN_RUNS, _MIN_SLOW_RUNS, _MAX_RUNS = 20, 3, 200_000
_MIN_CASE_RUNS = 10
_SERIES_POINTS = 300


@dataclass(frozen=True)
class Latency:
    """Latency of a run after a warm-up.

    Attributes:
        device: Device that ran the model.
        threads: Number of CPU threads.
        batch: Images per run.
        warm_up: Warm-up before the measurement.
        percentiles_ms: Percentiles by "50", "90", "99" and "99.9"; None if fewer than ten runs lie beyond.
        mean_ms: Mean of all runs.
        images_per_second: Batch size divided by the mean, one run after the other.
        samples: All runs after the warm-up.
        findings: What disturbed the measurement.
    """

    JSON_PROPERTIES: ClassVar = ("runs", "series", "quantiles_ms")

    device: str
    threads: int
    batch: int
    warm_up: WarmUp
    percentiles_ms: Mapping[str, Estimate | None]
    mean_ms: Estimate
    images_per_second: Estimate
    samples: LatencySamples = field(metadata=NOT_IN_JSON)
    findings: tuple[Finding, ...]

    @property
    def runs(self) -> int:
        """Number of runs after the warm-up."""
        return len(self.samples)

    @property
    def median_ms(self) -> Estimate:
        """Median of all runs."""
        median = self.percentiles_ms["50"]
        if median is None:
            raise ValueError("fewer than 20 runs have no median")
        return median

    @property
    def series(self) -> list[list[float]]:
        """Up to 300 periods: start (s), minimum, median and maximum latency (ms) of each."""
        rows = []
        for part in np.array_split(np.arange(len(self.samples)), min(_SERIES_POINTS, len(self.samples))):
            ms = self.samples.latencies_ms[part]
            row = (self.samples.starts_s[part[0]], ms.min(), np.median(ms), ms.max())
            rows.append([round(float(v), 6) for v in row])
        return rows

    @property
    def quantiles_ms(self) -> list[float]:
        """The 0, 1, ..., 100 % quantiles of all runs."""
        quantiles: list[float] = (
            np.quantile(self.samples.latencies_ms, np.linspace(0, 1, 101)).round(6).tolist()
        )
        return quantiles

    @property
    def where(self) -> str:
        """``1 thread``; ``cuda:0``."""
        return self.device if self.device != "cpu" else threads_text(self.threads)

    @property
    def typical_text(self) -> str:
        """``p50 0.0521 ms``; the mean where there are too few runs for a median."""
        p50 = self.percentiles_ms.get("50")
        return f"p50 {number(p50.value)} ms" if p50 else f"mean {number(self.mean_ms.value)} ms"

    def sections(self) -> tuple[Section, ...]:
        """Percentiles, throughput and how they were measured, for text and pages."""
        warm, rate = self.warm_up, self.images_per_second
        lines = (
            ("throughput", f"{number(rate.value)} images/s ({interval(rate)}), by the mean"),
            ("runs", f"{self.runs:,} of batch {self.batch} on {self.where}"),
            ("warm-up", f"{warm.runs:,} runs in {number(warm.seconds)} s: {warm.reason}"),
            ("first run", f"{number(warm.first_ms)} ms"),
            ("intervals", "95 %, of this process alone; a baseline (--save) has several processes"),
        )
        columns = (
            Column("latency"),
            Column("ms", "decimal"),
            Column("95 % interval", interval=True),
            Column("", wrap=True),
        )
        rows = (*(self._row(p) for p in self.percentiles_ms), _cells("mean", self.mean_ms))
        known = ((p, estimate) for p, estimate in self.percentiles_ms.items() if estimate is not None)
        marks = tuple((f"p{p}", _mark(f"p{p}", estimate)) for p, estimate in known)
        data = Timeline(self.samples.starts_s, self.samples.latencies_ms, marks)
        charts = (
            Chart("latency-over-time", "timeline", self._headline(), data),
            Chart("latency-histogram", "histogram", self._spread(), data),
        )
        return (Section("Latency", self._headline(), "", lines, (Table(columns, rows),), charts),)

    def _row(self, percent: str) -> tuple[str, ...]:
        estimate = self.percentiles_ms[percent]
        if estimate is None:
            needed = runs_needed(float(percent) / 100)
            return f"p{percent}", "", "", f"needs {needed:,} runs, had {self.runs:,}"
        return _cells(f"p{percent}", estimate)

    def _headline(self) -> str:
        """The median and the last percentile that can be estimated."""
        known = [(percent, e.value) for percent, e in self.percentiles_ms.items() if e is not None]
        if not known:
            return f"A run takes {number(self.mean_ms.value)} ms on average"
        first = f"{known[0][0]} % of the runs take at most {number(known[0][1])} ms"
        return first if len(known) == 1 else f"{first}, {known[-1][0]} % at most {number(known[-1][1])} ms"

    def _spread(self) -> str:
        """How far the longest run is from the median."""
        values = self.samples.latencies_ms
        longest, middle = float(values.max()), sorted(values.tolist())[len(values) // 2]
        times = f", {number(longest / middle)} times the median" if middle > 0 else ""
        return f"{len(values):,} runs; the longest took {number(longest)} ms{times}"


def _cells(name: str, estimate: Estimate) -> tuple[str, ...]:
    return name, number(estimate.value), interval(estimate), ""


def _mark(name: str, estimate: Estimate) -> Value:
    hint = f"{name}: {number(estimate.value)} ms ({interval(estimate)})"
    return Value(estimate.value, estimate.low, estimate.high, hint)


@dataclass(frozen=True)
class Case:
    """Summary of the sessions of one benchmark, as a baseline stores it.

    Attributes:
        settings: Settings of the measurement: ``device``, ``threads`` and ``batch``.
        model_sha256: SHA-256 of the model's file; None if there is none.
        runs: Number of runs in all sessions.
        median_ms: Median of all runs.
        mean_ms: Mean of all runs.
        percentiles_ms: Percentiles by "90", "99" and "99.9"; None if fewer than ten runs lie beyond.
        other_cpu_share: Share of the cores' time that other processes used, 0 to 1; None if not known.
        sessions: Medians of up to 50 blocks of runs in ms, for each session; two sessions or more.
        session_seconds: Planned duration of each session; None if not known.
    """

    settings: Mapping[str, Setting]
    model_sha256: str | None
    runs: int
    median_ms: Estimate
    mean_ms: Estimate
    percentiles_ms: Mapping[str, Estimate | None]
    other_cpu_share: float | None
    sessions: tuple[tuple[float, ...], ...]
    session_seconds: float | None = None

    def __post_init__(self) -> None:
        if len(self.sessions) < 2 or not all(self.sessions):
            raise ValueError("two sessions or more are needed, none of them empty")
        if not all(0 < median < float("inf") for session in self.sessions for median in session):
            raise ValueError("latencies must be positive and finite")
        if self.other_cpu_share is not None and not 0 <= self.other_cpu_share <= 1:
            raise ValueError(f"other_cpu_share must be from 0 to 1, got {self.other_cpu_share}")

    def differences(self, baseline: Case) -> tuple[str, ...]:
        """Settings that differ from those of a baseline, like "threads: 2 in the baseline, 1 now"."""
        names = dict.fromkeys((*self.settings, *baseline.settings))
        return tuple(
            f"{name}: {baseline.settings.get(name)} in the baseline, {self.settings.get(name)} now"
            for name in names
            if self.settings.get(name) != baseline.settings.get(name)
        )


def measure_latency(workload: Workload, *, slow_runs: int = _MIN_SLOW_RUNS) -> Latency:
    """Warms a model up until its latency is steady, then times 20 runs or more.

    Args:
        workload: Model to measure. The warm-up takes at most half of its time, or a second.
        slow_runs: Least number of runs instead of 20, if a run takes over a second; 2 or more.

    Raises:
        UsageError: The batch size or an image size is not possible for the model.
        CnntkError: The model can't be loaded or run on the device.
    """
    engine, seconds = workload.engine(), workload.seconds
    batch = choose_batch(engine, workload.batch)
    call = engine_call(engine, batch_inputs(engine, batch, workload.sizes))
    warm = warm_up(call, max_seconds=warm_up_limit_s(seconds))
    before = read_counters()
    at_least = min_runs(_MIN_RUNS, warm.seconds / warm.runs, slow=slow_runs)
    samples = time_runs(call, seconds=seconds, min_runs=at_least, max_runs=_MAX_RUNS)
    after = read_counters()
    mean = mean_estimate(samples.latencies_ms)
    estimates = percentiles(samples.latencies_ms, PERCENTS)
    return Latency(
        device=engine.device,
        threads=engine.threads,
        batch=batch,
        warm_up=warm,
        percentiles_ms={f"{percent:g}": estimate for percent, estimate in estimates.items()},
        mean_ms=mean,
        images_per_second=Estimate(*(1000 * batch / ms for ms in (mean.value, mean.high, mean.low))),
        samples=samples,
        findings=findings(samples, before, after),
    )


def measure_case(workload: Workload, *, sessions: int) -> Case:
    """Measures the latency in several processes, one after the other, because it differs between processes.

    Args:
        workload: Model to measure. Its time is for all sessions together, but at least 0.25 s each; starting
            a process and warming up takes another 0.5 s or so each.
        sessions: Number of processes, two or more.

    Raises:
        UsageError: There are fewer than two sessions; else as `measure_latency`.
        CnntkError: As `measure_latency`.
    """
    if sessions < 2:
        raise UsageError(f"sessions {sessions}: expected 2 or more, which alone show how processes differ")
    session_s = max(workload.seconds / sessions, _MIN_SESSION_S)
    arguments = {
        "workload": replace(workload, seconds=session_s),
        "slow_runs": max(_MIN_SLOW_RUNS, math.ceil(_MIN_CASE_RUNS / sessions)),
    }
    results = [run_isolated("cnntk.benchmark.latency:measure_session", arguments) for _ in range(sessions)]
    latencies: list[Latency] = [latency for latency, _ in results]
    shares = [share for _, share in results if share is not None]
    first = latencies[0]
    settings: dict[str, Setting] = {"device": first.device, "threads": first.threads, "batch": first.batch}
    return replace(
        summarize_sessions([latency.samples for latency in latencies], settings),
        model_sha256=sha256_of(workload.model),
        other_cpu_share=float(np.mean(shares)) if shares else None,
        session_seconds=session_s,
    )


def measure_session(workload: Workload, slow_runs: int) -> tuple[Latency, float | None]:
    """In a fresh process: the latency, and the share of the cores' time that other processes used."""
    before = read_counters()
    latency = measure_latency(workload, slow_runs=slow_runs)
    return latency, load_between(before, read_counters()).other_cpu_share


def summarize_sessions(sessions: Sequence[LatencySamples], settings: Mapping[str, Setting]) -> Case:
    """Summarizes sessions as a baseline stores them.

    Args:
        sessions: Runs of two sessions or more, best in a process each and at different times.
        settings: Settings of all of them.

    Raises:
        ValueError: There are fewer than two sessions or 10 runs in all, or a session without runs.
    """
    values = np.concatenate([session.latencies_ms for session in sessions])
    if len(values) < _MIN_CASE_RUNS:
        raise ValueError(f"a baseline needs {_MIN_CASE_RUNS} runs or more, got {len(values)}")
    return Case(
        settings=dict(settings),
        model_sha256=None,
        runs=len(values),
        median_ms=quantile_estimate(values, 0.5),
        mean_ms=mean_estimate(values),
        percentiles_ms={f"{p:g}": estimate for p, estimate in percentiles(values, (90, 99, 99.9)).items()},
        other_cpu_share=None,
        sessions=tuple(tuple(block_medians(session.latencies_ms).round(6).tolist()) for session in sessions),
    )
