"""The progress bar of a command, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar"]

_PATIENCE_S = 1.0
_EVERY_S = 0.1


class Bar:
    """A bar that appears when work takes longer than a second, on a terminal only; a context manager.

    Args:
        what: is being counted.
        total: how many there will be; asked once the bar appears.
        wanted: whether there may be one at all.
    """

    def __init__(self, what: str, total: Callable[[], int], *, wanted: bool = True) -> None:
        self._what, self._total = what, total
        self._next = time.monotonic() + _PATIENCE_S if wanted and sys.stderr.isatty() else float("inf")
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int) -> None:
        """Says that ``done`` are done."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        if self._bar is None:
            self._show()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
            self._bar.start()

    def hide(self) -> None:
        """Until the next call: something is about to be printed."""
        if self._bar is not None:
            self._bar.stop()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn(self._what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        # What is printed meanwhile goes where it was to go: rich would turn it to standard error.
        self._bar = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=self._total())
