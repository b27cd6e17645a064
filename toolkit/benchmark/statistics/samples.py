"""Latencies in the order of measurement, how they are recorded, and from where on they are steady."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.changepoints import MIN_RUNS, block_medians, fitted_levels

__all__ = ["LatencySamples", "WarmUp", "steady_from", "time_runs", "warm_up", "warm_up_limit_s"]

_FIRST_CHECK_S = 0.25
_RUNS_PER_BLOCK, _MIN_BLOCKS, _MAX_BLOCKS = 5, 40, 1000


@dataclass(frozen=True)
class LatencySamples:
    """Latencies in the order in which they were measured.

    Attributes:
        starts_s: Start of each run in seconds since the first one, float64 (N,).
        latencies_ms: Duration of each run in milliseconds, float64 (N,).
    """

    starts_s: NDArray[np.float64]
    latencies_ms: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.latencies_ms)

    @property
    def median_ms(self) -> float:
        """Median duration of a run in milliseconds."""
        return float(np.median(self.latencies_ms))


@dataclass(frozen=True)
class WarmUp:
    """What happened before latencies were steady.

    Attributes:
        runs: Number of warm-up runs.
        seconds: Duration of the warm-up in seconds.
        steady: Whether latencies became steady; None if there were too few runs to tell.
        steady_after_s: Seconds until they were steady; None if they were not, or that is not known.
        reason: Sentence that says why the warm-up ended.
        first_ms: Duration of the first run in milliseconds.
    """

    runs: int
    seconds: float
    steady: bool | None
    steady_after_s: float | None
    reason: str
    first_ms: float


def time_runs(
    call: Callable[[], object], *, seconds: float, min_runs: int = 1, max_runs: float = math.inf
) -> LatencySamples:
    """Times a call again and again.

    Args:
        call: Call to time.
        seconds: Duration in seconds; a run that has begun is completed.
        min_runs: Number of runs at least, however long they take.
        max_runs: Number of runs at most.

    Raises:
        ValueError: The duration is not a positive number, or the limits allow no run.
    """
    if not 0 < seconds < math.inf or not 1 <= min_runs <= max_runs:
        raise ValueError(f"nothing to time: seconds {seconds}, min_runs {min_runs}, max_runs {max_runs}")
    clock: Callable[[], int] = time.perf_counter_ns
    intervals: list[tuple[int, int]] = []
    end = clock() + int(seconds * 1e9)
    while (clock() < end or len(intervals) < min_runs) and len(intervals) < max_runs:
        start = clock()
        call()
        intervals.append((start, clock()))
    times = np.array(intervals, dtype=np.int64)
    return LatencySamples((times[:, 0] - times[0, 0]) / 1e9, (times[:, 1] - times[:, 0]) / 1e6)


def warm_up(call: Callable[[], object], *, max_seconds: float = 5.0) -> WarmUp:
    """Runs a call until its latencies are steady, or the time is over.

    Checks after a quarter of a second, a half, one, two, and so on. What slows down only later, as a CPU that
    gets hot does, is found in the measurement itself, by `cnntk.benchmark.statistics.findings.findings`.

    Args:
        call: Call to warm up; it runs at least once.
        max_seconds: Duration in seconds at most; a run that has begun is completed.

    Raises:
        ValueError: The duration is not a positive number.
    """
    if not 0 < max_seconds < math.inf:
        raise ValueError(f"max_seconds must be a positive number, got {max_seconds}")
    begin = time.perf_counter()
    samples, next_check_s = LatencySamples(np.empty(0), np.empty(0)), _FIRST_CHECK_S
    while True:
        elapsed = time.perf_counter() - begin
        more = time_runs(call, seconds=max(min(next_check_s, max_seconds) - elapsed, 1e-9))
        samples = LatencySamples(
            np.concatenate((samples.starts_s, more.starts_s + elapsed)),
            np.concatenate((samples.latencies_ms, more.latencies_ms)),
        )
        start, seconds = steady_from(samples), time.perf_counter() - begin
        if start < len(samples) or seconds >= max_seconds:
            return _warm_up_result(samples, start, seconds)
        next_check_s *= 2


def warm_up_limit_s(seconds: float) -> float:
    """Longest warm-up in seconds before a measurement of ``seconds``: half of it, or one second."""
    return max(1.0, 0.5 * seconds)


def steady_from(samples: LatencySamples) -> int:
    """Index of the run from which on latencies are steady.

    It is ``len(samples)`` if there is none, or there are too few runs to tell. The beginning is cut off where
    the standard error of the remaining mean is smallest, in medians of 5 runs or more: the marginal standard
    error rule MSER-5, ``min over d <= M/2 of sum (y_i - mean)^2 / (M - d)^2`` (White, Simulation 69 (1997)
    323). The remainder is steady if it has no change point. At most half of the runs are cut off, and never
    so many that the remainder could not be judged.
    """
    values = samples.latencies_ms
    if len(values) < MIN_RUNS:
        return len(values)
    size = max(1, min(_RUNS_PER_BLOCK, len(values) // _MIN_BLOCKS))
    medians = block_medians(values, _MAX_BLOCKS, size)
    ends = np.cumsum([len(block) for block in np.array_split(values, len(medians))])
    cut = _mser_cut(medians, (len(values) - MIN_RUNS) // size)
    start = int(ends[cut - 1]) if cut else 0
    return start if fitted_levels(values[start:]) is None else len(values)


def _mser_cut(levels: NDArray[np.float64], max_cut: int) -> int:
    remaining = len(levels) - np.arange(min(len(levels) // 2, max_cut) + 1)
    centered = (levels - np.median(levels))[::-1]
    sums, squares = np.cumsum(centered)[remaining - 1], np.cumsum(centered**2)[remaining - 1]
    return int(np.argmin((squares - sums**2 / remaining) / remaining**2))


def _warm_up_result(samples: LatencySamples, start: int, seconds: float) -> WarmUp:
    runs, first_ms = len(samples), float(samples.latencies_ms[0])
    if start < runs:
        after_s = float(samples.starts_s[start]) if start else 0.0
        reason = f"steady after {after_s:.2g} s, {start} runs" if start else "steady from the first run on"
        return WarmUp(runs, seconds, True, after_s, reason, first_ms)
    if runs < MIN_RUNS:
        reason = f"runs in {seconds:.2g} s: {runs}, too few to tell whether latencies are steady"
        return WarmUp(runs, seconds, None, None, reason, first_ms)
    reason = f"latencies were not steady after {seconds:.2g} s, {runs} runs"
    return WarmUp(runs, seconds, False, None, reason, first_ms)
