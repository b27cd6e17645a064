"""What a reader must know of a measurement: not steady, outliers, throttling, other processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.changepoints import MIN_RUNS, fitted_levels
from cnntk.benchmark.statistics.samples import LatencySamples
from cnntk.benchmark.statistics.system_load import SystemCounters, SystemLoad, load_between
from cnntk.runtime.codec import NOT_IN_JSON

__all__ = ["Finding", "FindingKind", "findings", "interference"]

Float64 = NDArray[np.float64]
FindingKind = Literal[
    "few_runs", "not_steady", "slower_clock", "outliers", "other_processes", "steal", "throttled"
]

_OUTLIER, _TIME_IN_OUTLIERS = 3.0, 0.05
_MIN_OTHER_CPU_SHARE, _MIN_STEAL, _MIN_THROTTLED = 0.05, 0.01, 0.01
_PREEMPTIONS_PER_SECOND = 100
_MIN_SECONDS = 0.2  # the system counts CPU time in hundredths of a second
_SLOWER_CLOCK = 0.05


@dataclass(frozen=True)
class Finding:
    """One fact that a reader of the figures must know.

    Attributes:
        kind: Name of the fact.
        message: One sentence, without a full stop.
        share: Share of the cores' time that other processes took, 0 to 1; of latency that was not steady, the
            highest level by the lowest, minus 1; None for other facts.
    """

    kind: FindingKind
    message: str
    share: float | None = field(default=None, metadata=NOT_IN_JSON)


def findings(
    samples: LatencySamples, before: SystemCounters | None = None, after: SystemCounters | None = None
) -> tuple[Finding, ...]:
    """What disturbed a measurement.

    Args:
        samples: Latencies that were measured; changes are reported from `MIN_RUNS` runs on.
        before: Counters just before the measurement.
        after: Counters just after it.
    """
    latencies = samples.latencies_ms
    levels = fitted_levels(latencies)
    flat = latencies if levels is None else latencies / levels * np.median(latencies)
    results = [*_too_few_runs(latencies), *_not_steady(levels), *_outliers(flat)]
    if before is not None and after is not None:
        load = load_between(before, after)
        if levels is not None and levels[-1] > levels[0]:
            results += _slower_clock(load)
        results += _other_load(load)
    return tuple(results)


def interference(before: SystemCounters, after: SystemCounters) -> tuple[str, ...]:
    """What else used the machine between two readings, a sentence each, where there are no latencies in which
    to see it."""
    load = load_between(before, after)
    return tuple(finding.message for finding in (*_slower_clock(load), *_other_load(load)))


def _too_few_runs(latencies_ms: Float64) -> Iterator[Finding]:
    if (runs := len(latencies_ms)) < MIN_RUNS:
        seconds = MIN_RUNS * float(latencies_ms.mean()) / 1e3
        yield Finding(
            "few_runs",
            f"{runs} runs are too few to tell drift from noise, and their intervals may be too narrow: "
            f"{MIN_RUNS} runs take about {seconds:.2g} s",
        )


def _not_steady(levels: Float64 | None) -> Iterator[Finding]:
    if levels is not None:
        low, high, last = (float(level) for level in (levels.min(), levels.max(), levels[-1]))
        growth = f"{(high / low - 1) * 100:.0f} % apart"
        yield Finding(
            "not_steady",
            f"latency was not steady: its level was between {low:.3g} and {high:.3g} ms ({growth}), "
            f"{last:.3g} ms at the end",
            high / low - 1,
        )


def _outliers(flat_ms: Float64) -> Iterator[Finding]:
    """Of latencies whose changes of level are removed."""
    slow = flat_ms > _OUTLIER * np.median(flat_ms)
    share = float(flat_ms[slow].sum() / flat_ms.sum())
    if share >= _TIME_IN_OUTLIERS:
        runs = f"{int(slow.sum())} of {len(flat_ms)} runs"
        yield Finding(
            "outliers", f"{share * 100:.0f} % of the time was spent in {runs}, each over 3 times the median"
        )


def _slower_clock(load: SystemLoad) -> Iterator[Finding]:
    if load.thermal_throttles:
        yield Finding(
            "slower_clock", f"the processor was too hot and slowed down {load.thermal_throttles} times"
        )
    elif load.clock_mhz is not None and load.clock_mhz[1] < load.clock_mhz[0] * (1 - _SLOWER_CLOCK):
        before, after = load.clock_mhz
        yield Finding(
            "slower_clock", f"the processor's clock slowed down from {before:.0f} to {after:.0f} MHz"
        )


def _other_load(load: SystemLoad) -> Iterator[Finding]:
    if load.seconds < _MIN_SECONDS:
        return
    cores = "core" if load.cores == 1 else f"{load.cores} cores"
    share = load.other_cpu_share
    if share is not None and share >= _MIN_OTHER_CPU_SHARE:
        message = f"other processes used {share * 100:.0f} % of the {cores}"
        yield Finding("other_processes", message, share)
    elif share is None and (load.preemptions or 0) > _PREEMPTIONS_PER_SECOND * load.seconds:
        yield Finding("other_processes", f"this process was moved off its core {load.preemptions} times")
    if load.steal is not None and load.steal >= _MIN_STEAL:
        yield Finding("steal", f"the virtual machine's host used {load.steal * 100:.0f} % of the {cores}")
    if load.throttled is not None and load.throttled >= _MIN_THROTTLED:
        percent = f"{load.throttled * 100:.0f} %"
        yield Finding(
            "throttled", f"the container's CPU quota stopped this process for {percent} of the time"
        )
