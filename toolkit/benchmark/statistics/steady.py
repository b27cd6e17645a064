"""`warm_up`: a call is made until its latencies are steady; `steady_from`: from which run on they are.

What comes before the steady part is cut where the error of what is left is smallest, in medians of 5 runs or
more: the marginal standard error rule, MSER-5, ``min over d <= M/2 of sum (y_i - mean)² / (M - d)²`` (White,
Simulation 69 (1997) 323). What is left is steady if no step and no drift is to be seen in it (`changes`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.changepoints import LEAST_TOLD, block_medians, changes
from cnntk.benchmark.statistics.samples import Trace, record

__all__ = ["WarmUp", "steady_from", "warm_up", "warm_up_limit_s"]

_FIRST_LOOK_S = 0.25
_RUNS_A_BLOCK, _LEAST_BLOCKS, _MOST_BLOCKS = 5, 40, 1000


@dataclass(frozen=True)
class WarmUp:
    """What happened before latencies were steady.

    Attributes:
        runs: that were made.
        seconds: that they took, all of them.
        steady: whether latencies came to be steady; None where there were too few runs to tell.
        steady_after_s: when they did; None where that is not known.
        reason: why the warm-up ended.
        first_ms: the first run.
    """

    runs: int
    seconds: float
    steady: bool | None
    steady_after_s: float | None
    reason: str
    first_ms: float

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def warm_up(call: Callable[[], object], *, seconds_at_most: float = 5.0) -> WarmUp:
    """Calls until latencies are steady, or the time is over.

    Looks after a quarter of a second, a half, one, two, and so on: what gets slower only after longer than
    that, as a CPU that gets hot does, is found in the measurement itself (`findings` of `disturbance`).

    Args:
        call: what is warmed up.
        seconds_at_most: a run that has begun is ended, and one is always made.

    Raises:
        ValueError: ``seconds_at_most`` is not a positive number.
    """
    if not 0 < seconds_at_most < math.inf:
        raise ValueError(f"seconds_at_most must be a positive number, got {seconds_at_most}")
    begin = time.perf_counter()
    trace, look = _no_runs(), _FIRST_LOOK_S
    while True:
        passed = time.perf_counter() - begin
        part = record(call, seconds=max(min(look, seconds_at_most) - passed, 1e-9))
        trace = _joined(trace, part, passed)
        found, seconds = steady_from(trace), time.perf_counter() - begin
        if found < len(trace) or seconds >= seconds_at_most:
            return _ended(trace, found, seconds)
        look *= 2


def warm_up_limit_s(seconds: float) -> float:
    """How long to warm up at most before so many seconds of measuring: half of them, or one."""
    return max(1.0, 0.5 * seconds)


def steady_from(trace: Trace) -> int:
    """The run from which on latencies are steady; ``len(trace)`` where they are not, or are too few to tell.

    At most the first half of the trace is given up, and never so much that nothing can be told of the rest:
    if what comes then still changes, it is not steady.
    """
    values = trace.latencies_ms
    if len(values) < LEAST_TOLD:
        return len(values)
    size = max(1, min(_RUNS_A_BLOCK, len(values) // _LEAST_BLOCKS))
    medians = block_medians(values, _MOST_BLOCKS, size)
    ends = np.cumsum([len(block) for block in np.array_split(values, len(medians))])
    cut = _cut(medians, (len(values) - LEAST_TOLD) // size)
    start = int(ends[cut - 1]) if cut else 0
    return len(values) if changes(values[start:]) else start


def _cut(levels: NDArray[np.float64], most: int) -> int:
    """How many of the first are left out, so that the mean of the others is known best."""
    rest = len(levels) - np.arange(min(len(levels) // 2, most) + 1)
    centered = (levels - np.median(levels))[::-1]
    sums, squares = np.cumsum(centered)[rest - 1], np.cumsum(centered**2)[rest - 1]
    return int(np.argmin((squares - sums**2 / rest) / rest**2))


def _ended(trace: Trace, found: int, seconds: float) -> WarmUp:
    runs, first = len(trace), float(trace.latencies_ms[0])
    if found < runs:
        after = float(trace.starts_s[found]) if found else 0.0
        reason = f"steady after {after:.2g} s, {found} runs" if found else "steady from the first run on"
        return WarmUp(runs, seconds, True, after, reason, first)
    if runs < LEAST_TOLD:
        reason = f"runs in {seconds:.2g} s: {runs}, too few to tell whether latencies are steady"
        return WarmUp(runs, seconds, None, None, reason, first)
    reason = f"latencies were not steady after {seconds:.2g} s, {runs} runs"
    return WarmUp(runs, seconds, False, None, reason, first)


def _no_runs() -> Trace:
    return Trace(np.empty(0), np.empty(0))


def _joined(first: Trace, second: Trace, offset_s: float) -> Trace:
    starts = np.concatenate((first.starts_s, second.starts_s + offset_s))
    return Trace(starts, np.concatenate((first.latencies_ms, second.latencies_ms)))
