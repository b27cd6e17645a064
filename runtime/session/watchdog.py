"""Ends runs that take too long."""

from __future__ import annotations

import heapq
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LONGEST_TIMEOUT_S", "clamp_timeout", "deadline"]

LONGEST_TIMEOUT_S = 1e8
"""Seconds, three years: what timers take without overflowing."""

_MANY = 256


@dataclass(order=True)
class _Watched:
    due: float
    options: Any = field(compare=False)
    over: bool = field(default=False, compare=False)


class _Watchdog:
    """One thread for all runs of the process that have a deadline; it begins with the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._runs: list[_Watched] = []
        self._many = _MANY
        self._thread: threading.Thread | None = None

    def watch(self, run: _Watched) -> None:
        with self._changed:
            if len(self._runs) >= self._many:  # most of them ended long before their deadline
                self._runs = [r for r in self._runs if not r.over]
                heapq.heapify(self._runs)
                self._many = max(_MANY, 2 * len(self._runs))
            heapq.heappush(self._runs, run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._patrol, name="cnntk-deadlines", daemon=True)
                self._thread.start()
            elif self._runs[0] is run:
                self._changed.notify()

    def _patrol(self) -> None:
        with self._changed:
            while True:
                while self._runs and (self._runs[0].over or self._runs[0].due <= time.monotonic()):
                    run = heapq.heappop(self._runs)
                    if not run.over:
                        run.options.terminate = True
                first = self._runs[0].due - time.monotonic() if self._runs else None
                self._changed.wait(first)


_watchdog = _Watchdog()


def clamp_timeout(seconds: float) -> float:
    """``seconds`` as a timer takes them: from 0 to `LONGEST_TIMEOUT_S`.

    Raises:
        ValueError: they are NaN.
    """
    if math.isnan(seconds):
        raise ValueError("timeout: expected seconds, got NaN")
    return min(max(seconds, 0.0), LONGEST_TIMEOUT_S)


@contextmanager
def deadline(options: Any, seconds: float) -> Iterator[None]:
    """Sets ``options.terminate`` where the block takes longer.

    onnxruntime looks at it between nodes, so that a run ends after the node that it is in.

    Args:
        options: onnxruntime's RunOptions of the run.
        seconds: that the block may take.
    """
    run = _Watched(time.monotonic() + clamp_timeout(seconds), options)
    _watchdog.watch(run)
    try:
        yield
    finally:
        run.over = True


def _begin_anew() -> None:
    """A child made by fork inherits no thread, and perhaps a lock that nobody will open."""
    global _watchdog
    _watchdog = _Watchdog()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
