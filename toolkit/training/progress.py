"""Progress of a training, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from cnntk.progress import ProgressLine, duration_text, hide_live_line
from cnntk.runtime.inert import inert
from cnntk.runtime.sections import number
from cnntk.training.report import EpochResult

__all__ = ["EpochProgress", "TrainProgress"]

LONG_S = 600.0
"""Expected time in s from which a training is announced as long."""

_MEASURED_S = 2.0
"""Time over which steps are measured for that at least, after the first."""


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


def _print_note(text: str) -> None:
    hide_live_line()
    print(inert(text), file=sys.stderr, flush=True)


class EpochProgress(TrainProgress):
    """A line with the steps, their rate and the time left, and with loss and accuracy so far.

    A training that will take over `LONG_S` is announced after its first steps.

    Args:
        print_note: Function that prints a message for the user.
        warn: Function that prints a warning.
    """

    def __init__(
        self, print_note: Callable[[str], None] = _print_note, warn: Callable[[str], None] | None = None
    ) -> None:
        self._print_note = print_note
        self._warn = warn or (lambda text: print_note(f"warning: {text}"))
        self._line = ProgressLine("training", unit="steps")
        self._epochs = self._steps = self._done = 0
        self._first: tuple[int, float] | None = None
        self._is_estimated = False
        self._test = ""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Starts the line."""
        self._epochs, self._steps, self._done = epochs, steps, done
        self._line(done * steps, epochs * steps)

    def step(self, step: int, loss: float, accuracy: float) -> None:
        """Updates the line, and estimates the duration once."""
        self._show(self._done + 1, self._done * self._steps + step, loss, accuracy)
        if not self._is_estimated:
            self._estimate(step)

    def epoch(self, result: EpochResult) -> None:
        """Adds the accuracy on the test images to the line."""
        self._done, self._test = result.epoch, f"  test {result.accuracy:.2%}"
        self._show(result.epoch, self._done * self._steps, result.loss, result.train_accuracy)

    def note(self, text: str) -> None:
        """Prints a message for the user."""
        self._print_note(text)

    def end(self) -> None:
        """Removes the line."""
        self._line.hide()

    def _show(self, epoch: int, steps: int, loss: float, accuracy: float) -> None:
        text = f"epoch {epoch}/{self._epochs}  loss {loss:.4f}  training {accuracy:.2%}{self._test}"
        self._line.name = text
        self._line(steps, self._epochs * self._steps)

    def _estimate(self, step: int) -> None:
        """The first step is not measured: it also waits for memory and for kernels to be chosen."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
            return
        first, started = self._first
        if now - started < _MEASURED_S and step < self._steps:
            return
        self._is_estimated = True
        step_s = (now - started) / max(step - first, 1)
        left_s = step_s * ((self._epochs - self._done) * self._steps - step)
        if left_s > LONG_S:
            self._warn(
                f"this training takes about {duration_text(left_s)}, {number(step_s)} s for each of "
                f"{(self._epochs - self._done) * self._steps:,} steps; --epochs N, --max-images N, a smaller "
                "--image-size or --device cuda make it shorter; Ctrl-C stops it, --resume continues"
            )
