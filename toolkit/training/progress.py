"""Progress of a training, on standard error."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cnntk.runtime.inert import inert
from cnntk.training.report import EpochResult

__all__ = ["EpochBar", "EpochLines", "TrainProgress", "for_stderr"]


class TrainProgress:
    """Receiver of the progress of a training; this one ignores it."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """The training starts: ``epochs`` of ``steps`` each, ``done`` of which are finished."""

    def step(self, step: int, loss: float, accuracy: float) -> None:
        """``step`` steps of the epoch are finished, with this mean loss and accuracy."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is finished."""

    def note(self, text: str) -> None:
        """A message for the user."""

    def end(self) -> None:
        """The training ended, whether it finished or failed."""


def for_stderr() -> TrainProgress:
    """A progress bar where standard error is a terminal, else a line per epoch."""
    return EpochBar() if sys.stderr.isatty() else EpochLines()


class EpochLines(TrainProgress):
    """Prints a line per epoch."""

    _epochs = 0

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Stores the number of epochs."""
        self._epochs = epochs

    def epoch(self, result: EpochResult) -> None:
        """Prints the line of the epoch."""
        print(
            f"epoch {result.epoch}/{self._epochs}  loss {result.loss:.4f}  "
            f"training {result.train_accuracy:.2%}  test {result.accuracy:.2%}  {result.seconds:.1f} s",
            file=sys.stderr,
            flush=True,
        )

    def note(self, text: str) -> None:
        """Prints a line."""
        print(inert(text), file=sys.stderr, flush=True)


class EpochBar(TrainProgress):
    """Shows a bar over all steps, with epoch, loss and accuracy."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
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
        """Adds the accuracy on the test images to the description."""
        self._done, self._test = result.epoch, f"  test {result.accuracy:.2%}"
        self._show(result.epoch, self._done * self._steps, result.loss, result.train_accuracy)

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.console.print(inert(text), highlight=False, markup=False, soft_wrap=True)

    def end(self) -> None:
        """Stops updating the bar."""
        self._bar.stop()

    def _show(self, epoch: int, steps: int, loss: float, accuracy: float) -> None:
        text = f"epoch {epoch}/{self._epochs}  loss {loss:.4f}  training {accuracy:.2%}{self._test}"
        self._bar.update(self._task, completed=steps, description=text)
