"""The progress bar of a command, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

from cnntk.cli.output import shown

__all__ = ["ProgressBar", "StageProgress"]

_DELAY_S = 1.0
_EVERY_S = 0.1


class ProgressBar:
    """A bar that appears when work takes longer than a second, on a terminal only; a context manager.

    Args:
        what: Name of what is counted.
        total: Returns how many there will be; called once the bar appears. Left out, each call says it.
        wanted: Whether there may be a bar at all.
    """

    def __init__(self, what: str, total: Callable[[], int] | None = None, *, wanted: bool = True) -> None:
        self._what, self._total = what, total
        self._next = time.monotonic() + _DELAY_S if wanted and sys.stderr.isatty() else float("inf")
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int | None = None) -> None:
        """Shows that ``done`` are done."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        if self._bar is None:
            self._show(total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
            self._bar.start()

    def hide(self) -> None:
        """Hides the bar until the next call: something is about to be printed."""
        if self._bar is not None:
            self._bar.stop()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def _show(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        name = TextColumn("{task.description}", markup=False)
        columns = name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        # What is printed meanwhile goes where it was to go: rich would turn it to standard error.
        self._bar = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        total = self._total() if self._total is not None else total
        self._task = self._bar.add_task(shown(self._what, sys.stderr), total=total)


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
