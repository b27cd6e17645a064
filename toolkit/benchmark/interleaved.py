"""Which of two is faster, on a machine that is never quiet: measured in turns, judged by medians."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Race", "median_interval", "race"]

_SETTLE_S, _MEASURE_S = 0.06, 0.01
"""How long a block runs before it is measured, and is measured; at least `_SETTLE` and `_MEASURE` calls.

onnxruntime's idle threads wait busily for a while after a run: what runs next would share the cores with
them: NiN in int8 took 6 ms instead of 2.5.
"""

_SETTLE, _MEASURE = 2, 5

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
        pairs: of blocks of calls.
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

    @classmethod
    def of(cls, times_ms: ArrayLike) -> Race:
        """Of times that were measured in turn.

        Args:
            times_ms: (2, pairs): of the first, and of the second.
        """
        times = np.asarray(times_ms, dtype=np.float64)
        logs = np.log(times[0] / times[1])
        low, high = median_interval(logs)
        a, b = np.median(times, axis=1)
        return cls(math.exp(np.median(logs)), math.exp(low), math.exp(high), float(a), float(b), len(logs))

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "differs": self.differs}


def race(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    seconds: float = 2.0,
    at_least: int = 15,
    progress: Callable[[float], object] | None = None,
) -> Race:
    """Calls blocks of both in turn, each first in every other pair of blocks, and compares pair by pair.

    A slow moment of the machine meets both blocks of a pair, so that it leaves their ratio alone. A block's
    first calls are not counted: the other one's threads are still at work. The interval is that of the median
    over the pairs, without any assumption on how times are distributed.

    Args:
        first: what is compared with.
        second: what is asked about.
        seconds: to measure for.
        at_least: pairs, however long they take.
        progress: is told between pairs which share of the time is over, 0 to 1.

    Raises:
        ValueError: there is no time to measure in.
    """
    if not 0 < seconds < math.inf or at_least < 1:
        raise ValueError(f"seconds must be positive and at_least 1 or more, got {seconds} and {at_least}")
    return Race.of(_pairs(first, second, seconds, at_least, progress or (lambda _: None)) / 1e6)


def median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % confidence interval of the median of what ``values`` (N,) are drawn from.

    Its ends are order statistics: of N values, as many lie below the median as tails come of N throws of a
    coin (Conover, Practical Nonparametric Statistics, 3.2). Under six values nothing can be said: it is all
    of them. Values that are like the ones before them count for less: of 70 whose neighbors' correlation is
    0.6 it would else cover 81 %, not 95.

    Args:
        values: in the order in which they were measured.
    """
    ordered = np.sort(values)
    count = len(ordered)
    reach = _Z95 * math.sqrt(count * _alike(values)) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach))
    return float(ordered[low]), float(ordered[high])


def _alike(values: NDArray[np.float64]) -> float:
    """How many values of a row tell as much about its median as one would alone; at least 1.

    One and twice the sum of the autocorrelations of the values' sides of the median, lag by lag in twos, as
    far as their sums are positive (Geyer, Statistical Science 7 (1992) 473, 3.3).
    """
    count = len(values)
    sides = np.sign(values - np.median(values))
    products = [float(sides[lag:] @ sides[: count - lag]) for lag in range(1, count // 4 + 1)]
    twos = [sum(products[i : i + 2]) for i in range(0, len(products) - 1, 2)]
    held = sum(itertools.takewhile(lambda two: two > 0, twos))
    return 1 + 2 * held / max(float(sides @ sides), 1.0)


def _pairs(
    first: Callable[[], object],
    second: Callable[[], object],
    seconds: float,
    at_least: int,
    progress: Callable[[float], object],
) -> NDArray[np.float64]:
    """Nanoseconds of a call in each block, (2, pairs)."""
    end = time.perf_counter() + seconds
    times: tuple[list[float], list[float]] = [], []
    calls = ((first, times[0]), (second, times[1]))
    for call, _ in calls:
        _block(call)
    while time.perf_counter() < end or len(times[0]) < at_least:
        for call, taken in calls:
            taken.append(_block(call))
        calls = calls[1], calls[0]
        progress(min(1.0, 1 - (end - time.perf_counter()) / seconds))
    return np.array(times, dtype=np.float64)


def _block(call: Callable[[], object]) -> float:
    """Median of some calls one after the other, in nanoseconds."""
    _calls(call, _SETTLE_S, _SETTLE)
    return float(np.median(_calls(call, _MEASURE_S, _MEASURE)))


def _calls(call: Callable[[], object], seconds: float, at_least: int) -> list[int]:
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    taken: list[int] = []
    while clock() < end or len(taken) < at_least:
        start = clock()
        call()
        taken.append(clock() - start)
    return taken
