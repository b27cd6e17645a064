"""`Trace`: runs one after the other, each with its moment, so that what happened over time can be seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trace", "record"]


@dataclass(frozen=True)
class Trace:
    """Latencies in the order in which they were measured.

    Attributes:
        starts_s: float64 (N,), when each run began, in seconds from the first.
        latencies_ms: float64 (N,).
    """

    starts_s: NDArray[np.float64]
    latencies_ms: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.latencies_ms)

    def __getitem__(self, part: slice) -> Trace:
        return Trace(self.starts_s[part], self.latencies_ms[part])


def record(
    call: Callable[[], object], *, seconds: float, at_least: int = 1, at_most: int | None = None
) -> Trace:
    """Times a call again and again.

    Args:
        call: what is timed.
        seconds: for how long; a run that has begun is ended.
        at_least: runs, however long they take.
        at_most: runs.

    Raises:
        ValueError: ``seconds`` is not a positive number, or less than one run is asked for.
    """
    if not 0 < seconds < math.inf or at_least < 1 or (at_most is not None and at_most < at_least):
        raise ValueError(f"nothing to time: seconds {seconds}, at_least {at_least}, at_most {at_most}")
    clock: Callable[[], int] = time.perf_counter_ns
    moments: list[tuple[int, int]] = []
    end = clock() + int(seconds * 1e9)
    limit: Any = math.inf if at_most is None else at_most
    while (clock() < end or len(moments) < at_least) and len(moments) < limit:
        start = clock()
        call()
        moments.append((start, clock()))
    times = np.array(moments, dtype=np.int64)
    return Trace((times[:, 0] - times[0, 0]) / 1e9, (times[:, 1] - times[:, 0]) / 1e6)
