"""Time limits of runs."""

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

LONGEST_TIMEOUT_S = 1e8
"""Longest time limit, three years: timers accept it without overflow."""

_CLEANUP_SIZE = 256


@dataclass(order=True)
class _TimedRun:
    """A run with a deadline, in seconds of the monotonic clock."""

    deadline_s: float
    options: Any = field(compare=False)
    finished: bool = field(default=False, compare=False)


class _Watchdog:
    """A thread for all runs of the process that have a deadline; the first of them starts it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._runs: list[_TimedRun] = []
        self._cleanup_size = _CLEANUP_SIZE
        self._thread: threading.Thread | None = None

    def watch(self, run: _TimedRun) -> None:
        with self._changed:
            if len(self._runs) >= self._cleanup_size:  # most runs end long before their deadline
                self._runs = [r for r in self._runs if not r.finished]
                heapq.heapify(self._runs)
                self._cleanup_size = max(_CLEANUP_SIZE, 2 * len(self._runs))
            heapq.heappush(self._runs, run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cnntk-deadlines", daemon=True)
                self._thread.start()
            elif self._runs[0] is run:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                while self._runs and (self._runs[0].finished or self._runs[0].deadline_s <= time.monotonic()):
                    run = heapq.heappop(self._runs)
                    if not run.finished:
                        run.options.terminate = True
                first = self._runs[0].deadline_s - time.monotonic() if self._runs else None
                self._changed.wait(first)


_watchdog = _Watchdog()


def clamp_timeout(seconds: float) -> float:
    """Returns a time limit within the range of timers, 0 to `LONGEST_TIMEOUT_S` seconds; NaN raises."""
    if math.isnan(seconds):
        raise ValueError("timeout: expected seconds, got NaN")
    return min(max(seconds, 0.0), LONGEST_TIMEOUT_S)


@contextmanager
def deadline(options: Any, seconds: float) -> Iterator[None]:
    """Sets ``terminate`` of onnxruntime's RunOptions when the block takes longer than ``seconds``.

    onnxruntime checks it between nodes, so a run ends after the current node.
    """
    run = _TimedRun(time.monotonic() + clamp_timeout(seconds), options)
    _watchdog.watch(run)
    try:
        yield
    finally:
        run.finished = True


def _reset_after_fork() -> None:
    """Replaces the watchdog in a forked child, which has no thread and perhaps a held lock."""
    global _watchdog
    _watchdog = _Watchdog()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
