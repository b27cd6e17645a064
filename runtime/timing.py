"""Which of two is faster, on a machine that is never quiet: measured in turns, judged by medians."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Race", "median_interval", "race"]

_BLOCK = 5
"""Pairs whose median is one observation: what disturbs one call often disturbs the next ones, too."""

_Z95 = 1.959964


@dataclass(frozen=True)
class Race:
    """How the second compares with the first.

    Attributes:
        ratio: time of the first by time of the second: 2 means that the second takes half as long.
        low: lower end of the 95 % confidence interval of ``ratio``.
        high: upper end.
        first_ms: median of a call.
        second_ms: median of a call.
        pairs: how often both were called.
    """

    ratio: float
    low: float
    high: float
    first_ms: float
    second_ms: float
    pairs: int

    @property
    def differs(self) -> bool:
        """Whether a difference can be told from noise."""
        return not self.low <= 1 <= self.high

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "differs": self.differs}


def race(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    seconds: float = 2.0,
    at_least: int = 60,
) -> Race:
    """Calls both in turn, each first in every other pair, and compares pair by pair.

    A slow moment of the machine meets both calls of a pair, so that it leaves their ratio alone. The interval
    is that of the median of blocks of pairs, without any assumption on how times are distributed.

    Args:
        first: what is compared with.
        second: what is asked about.
        seconds: to measure for, after a warm-up of a tenth of it.
        at_least: pairs, however long they take.

    Raises:
        ValueError: there is no time to measure in.
    """
    if not 0 < seconds < math.inf or at_least < _BLOCK:
        raise ValueError(f"seconds must be positive and at_least {_BLOCK} or more, got {seconds}, {at_least}")
    _pairs(first, second, seconds / 10, 3)
    times = _pairs(first, second, seconds, at_least)
    logs = np.log(times[0] / times[1])
    blocks = np.median(logs[: len(logs) // _BLOCK * _BLOCK].reshape(-1, _BLOCK), axis=1)
    low, high = median_interval(blocks)
    a, b = np.median(times, axis=1) / 1e6
    return Race(math.exp(np.median(blocks)), math.exp(low), math.exp(high), float(a), float(b), len(logs))


def median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % confidence interval of the median of what ``values`` (N,) are drawn from.

    Its ends are order statistics: of N values, as many lie below the median as tails come of N throws of a
    coin (Conover, Practical Nonparametric Statistics, 3.2). Under six values nothing can be said: it is all
    of them.
    """
    ordered = np.sort(values)
    count = len(ordered)
    reach = _Z95 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach))
    return float(ordered[low]), float(ordered[high])


def _pairs(
    first: Callable[[], object], second: Callable[[], object], seconds: float, at_least: int
) -> NDArray[np.float64]:
    """Nanoseconds of each call, (2, pairs)."""
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    times: tuple[list[int], list[int]] = [], []
    calls = ((first, times[0]), (second, times[1]))
    while clock() < end or len(times[0]) < at_least:
        for call, taken in calls:
            start = clock()
            call()
            taken.append(clock() - start)
        calls = calls[1], calls[0]
    return np.array(times, dtype=np.float64)
