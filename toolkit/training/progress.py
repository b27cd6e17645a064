"""What training says while it works, on standard error."""

from __future__ import annotations

import sys
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cnntk.training.report import EpochResult

__all__ = ["EpochBar", "Lines", "Silent", "TrainProgress", "for_stderr"]


class TrainProgress(Protocol):
    """Hears of a training what there is to show."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """It starts: ``epochs`` of ``steps`` each, ``done`` of them already."""

    def step(self, step: int, loss: float, accuracy: float) -> None:
        """``step`` steps of the epoch are done; mean loss and share of right answers so far."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def end(self) -> None:
        """It is over, for good or ill."""


def for_stderr() -> TrainProgress:
    """A bar where standard error is a terminal, else a line an epoch."""
    return EpochBar() if sys.stderr.isatty() else Lines()


class Silent:
    """Says nothing."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Nothing."""

    def step(self, step: int, loss: float, accuracy: float) -> None:
        """Nothing."""

    def epoch(self, result: EpochResult) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Lines(Silent):
    """A line an epoch."""

    _epochs = 0

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Keeps how many there will be."""
        self._epochs = epochs

    def epoch(self, result: EpochResult) -> None:
        """The line."""
        print(
            f"epoch {result.epoch}/{self._epochs}  loss {result.loss:.4f}  "
            f"training {result.train_accuracy:.2%}  test {result.accuracy:.2%}  {result.seconds:.1f} s",
            file=sys.stderr,
            flush=True,
        )

    def note(self, text: str) -> None:
        """A line of its own."""
        print(text, file=sys.stderr, flush=True)


class EpochBar(Silent):
    """A bar over all steps, with epoch, loss and accuracy."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("training")
        self._epochs = self._steps = self._done = 0
        self._test = ""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Draws the bar."""
        self._epochs, self._steps, self._done = epochs, steps, done
        self._bar.start()
        self._bar.update(self._task, total=epochs * steps, completed=done * steps)

    def step(self, step: int, loss: float, accuracy: float) -> None:
        """Moves the bar."""
        self._show(self._done + 1, self._done * self._steps + step, loss, accuracy)

    def epoch(self, result: EpochResult) -> None:
        """Keeps the accuracy on the test images, for the description."""
        self._done, self._test = result.epoch, f"  test {result.accuracy:.2%}"
        self._show(result.epoch, self._done * self._steps, result.loss, result.train_accuracy)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.stop()

    def _show(self, epoch: int, steps: int, loss: float, accuracy: float) -> None:
        text = f"epoch {epoch}/{self._epochs}  loss {loss:.4f}  training {accuracy:.2%}{self._test}"
        self._bar.update(self._task, completed=steps, description=text)
