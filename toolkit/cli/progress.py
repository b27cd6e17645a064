"""The progress bar of a command, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

from cnntk.cli.output import note, shown

__all__ = ["ProgressBar", "StageProgress", "progress_text"]

_DELAY_S = 1.0
_EVERY_S = 0.1
_LINE_S = 10.0


class ProgressBar:
    """A bar that appears when work takes longer than a second; a context manager.

    Where standard error is no terminal, it is a line every 10 seconds, with rate and remaining time.

    Args:
        what: Name of what is counted.
        total: Returns how many there will be; called once the bar appears. Left out, each call says it.
        wanted: Whether there may be a bar at all.
    """

    def __init__(self, what: str, total: Callable[[], int] | None = None, *, wanted: bool = True) -> None:
        self._what, self._count_all = what, total
        self._total: int | None = None
        self._start = time.monotonic()
        self._as_lines = not sys.stderr.isatty()
        delay = _LINE_S if self._as_lines else _DELAY_S
        self._next = self._start + delay if wanted else float("inf")
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int | None = None) -> None:
        """Shows that ``done`` are done."""
        now = time.monotonic()
        if now < self._next:
            return
        if self._total is None:
            self._total = self._count_all() if self._count_all is not None else total
        if self._as_lines:
            self._next = now + _LINE_S
            note(f"{self._what}: {progress_text(done, self._total, now - self._start)}")
            return
        self._next = now + _EVERY_S
        if self._bar is None:
            self._show()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, rate=rate_text(done, now - self._start))
            self._bar.start()

    def hide(self) -> None:
        """Hides the bar until the next call: something is about to be printed."""
        if self._bar is not None:
            self._bar.stop()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        name = TextColumn("{task.description}", markup=False)
        rate = TextColumn("{task.fields[rate]}", markup=False)
        columns = name, BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
        # What is printed meanwhile goes where it was to go: rich would turn it to standard error.
        self._bar = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(shown(self._what, sys.stderr), total=self._total, rate="")


def progress_text(done: int, total: int | None, seconds: float) -> str:
    """``4,000 of 10,000, 812/s, 7 s left``; without a total only what is done."""
    text = f"{done:,} of {total:,}" if total else f"{done:,}"
    left = f", {duration_text((total - done) * seconds / done)} left" if total and 0 < done <= total else ""
    return f"{text}, {rate_text(done, seconds)}{left}"


def rate_text(done: int, seconds: float) -> str:
    """``812/s``; ``0.31/s``."""
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"


def duration_text(seconds: float) -> str:
    """``7 s``; ``2 min 5 s``; ``1 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class StageProgress:
    """A bar for each stage of work that has several; a context manager."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Shows that ``done`` of ``total`` are done; of a stage whose total is not known (0) nothing."""
        if stage != self._stage:
            self.hide()
            self._stage, self._bar = stage, ProgressBar(stage) if total else None
        if self._bar is not None:
            self._bar(done, total)

    def hide(self) -> None:
        """Hides the bar of the current stage."""
        if self._bar is not None:
            self._bar.hide()

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()
