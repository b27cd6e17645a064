"""Progress of long work, on standard error: one live line on a terminal, else a line every 10 s.

Short work shows nothing. What else is printed removes the live line first (`hide_live_line`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cnntk.runtime.inert import inert
from cnntk.runtime.sections import number

__all__ = ["ProgressLine", "StageProgress", "duration_text", "hide_live_line"]

LIVE_DELAY_S, LIVE_EVERY_S = 1.0, 0.1
"""Time until a terminal shows the first line, and between its updates."""

LOG_EVERY_S = 10.0
"""Time until a log has the first line, and between its lines."""

_MIN_RATE_S = 0.5
"""Time over which a rate is measured at least."""

_ERASE = "\r\x1b[K"

_live: list[ProgressLine] = []
"""The line that the terminal shows, if there is one."""


def hide_live_line() -> None:
    """Removes the live line from the terminal until its next update: something is about to be printed."""
    for line in tuple(_live):
        line.hide()


def duration_text(seconds: float) -> str:
    """``8 s``; ``2 min 5 s``; ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, units = (whole // 60, whole % 60, ("min", "s"))
    if whole >= 3600:
        large, small, units = (whole // 3600, whole % 3600 // 60, ("h", "min"))
    return f"{large} {units[0]} {small} {units[1]}" if small else f"{large} {units[0]}"


@dataclass(frozen=True)
class _Mark:
    time_s: float
    done: int


class ProgressLine:
    """The progress of one kind of items; a context manager.

    Args:
        name: Text at the beginning of the line.
        total: Returns how many there will be; called once a line is shown. Left out, each call says it.
        unit: Name of what is counted, where ``name`` is not.
        wanted: Whether anything may be shown.
    """

    def __init__(
        self, name: str, total: Callable[[], int] | None = None, *, unit: str = "", wanted: bool = True
    ) -> None:
        self.name, self._unit = name, unit and f" {unit}"
        self._count, self._total, self._first = total, 0, None if wanted else _Mark(0, 0)
        self._wanted, self._is_live = wanted, _is_terminal()
        self._started = time.monotonic()
        self._next = self._started + (LIVE_DELAY_S if self._is_live else LOG_EVERY_S)
        self._lock = threading.RLock()

    def __call__(self, done: int, total: int | None = None) -> None:
        """Shows that ``done`` are done, if it is time for it."""
        if not self._wanted:
            return
        now = time.monotonic()
        self._total = total or self._total
        if self._first is None:
            self._first = _Mark(self._started if done <= 1 else now, 0 if done <= 1 else done)
        if now >= self._next:
            if self._count is not None and not self._total:
                self._total = self._count()
            self._show(f"{self.name}: {self._text(done, now)}")

    def show_elapsed(self) -> None:
        """Shows for how long the work goes on, if it is time for it; nothing is counted."""
        if self._wanted and (now := time.monotonic()) >= self._next:
            self._show(f"{self.name}, {duration_text(now - self._started)}")

    def show_now(self) -> None:
        """Shows the name alone."""
        if self._wanted:
            self._show(f"{self.name} ...")

    def hide(self) -> None:
        """Removes the line from a terminal until the next call."""
        with self._lock:
            if self in _live:
                _live.remove(self)
                _write(_ERASE)

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def _show(self, text: str) -> None:
        with self._lock:
            self._next = time.monotonic() + (LIVE_EVERY_S if self._is_live else LOG_EVERY_S)
            if not self._is_live:
                _write(f"{inert(text)}\n")
                return
            if self not in _live:
                hide_live_line()
                _live.append(self)
            _write(f"{_ERASE}{inert(text)[: _columns() - 1]}")

    def _text(self, done: int, now: float) -> str:
        """``1,200 of 5,000 (24 %), 118/s, 32 s left``."""
        parts = [f"{done:,}{self._unit}"]
        if self._total:
            parts = [f"{done:,} of {self._total:,}{self._unit} ({100 * done // self._total} %)"]
        first = self._first
        if first is not None and now - first.time_s >= _MIN_RATE_S and done > first.done:
            rate = (done - first.done) / (now - first.time_s)
            parts.append(f"{number(rate)}/s" if rate >= 1 else f"{number(1 / rate)} s each")
            if self._total:
                parts.append(f"{duration_text((self._total - done) / rate)} left")
        return ", ".join(parts)


class StageProgress:
    """The progress of work that has several stages; a context manager.

    Stages that count nothing show for how long they go on, from a thread that wakes up once a second on a
    terminal and every 10 s elsewhere.

    Args:
        wanted: Whether anything may be shown.
        ticks: Whether a terminal shows the elapsed time; without it only the stage, and no thread wakes up.
    """

    def __init__(self, *, wanted: bool = True, ticks: bool = True) -> None:
        self._wanted, self._ticks = wanted, ticks or not _is_terminal()
        self._line: ProgressLine | None = None
        self._counts = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True, name="progress")

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Shows that ``done`` of ``total`` are done, or only the stage where the total is not known (0)."""
        if self._line is None or stage != self._line.name:
            self.hide()
            self._line = ProgressLine(stage, wanted=self._wanted)
        self._counts = total > 0
        if self._counts:
            self._line(done, total)
        elif not self._ticks:
            self._line.show_now()

    def hide(self) -> None:
        """Removes the line of the current stage."""
        if self._line is not None:
            self._line.hide()

    def __enter__(self) -> StageProgress:
        if self._wanted and self._ticks:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.hide()

    def _tick(self) -> None:
        while not self._ended.wait(LIVE_DELAY_S if _is_terminal() else LOG_EVERY_S):
            if self._line is not None and not self._counts:
                self._line.show_elapsed()


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # closed or full: nobody can be told
        sys.stderr.write(text)
        sys.stderr.flush()
