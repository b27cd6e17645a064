"""`TrainProgress`: what a training tells about its progress."""

from __future__ import annotations

from cnntk.training.report import EpochResult

__all__ = ["TrainProgress"]


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
