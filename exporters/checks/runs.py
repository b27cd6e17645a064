"""The exported model's answers to the trials: each run is made once, and every check reads it."""

from __future__ import annotations

from collections.abc import Callable

from cnntk.exporters.checks.inputs import Trials
from cnntk.exporters.checks.reference import Arrays

__all__ = ["Run", "Runs"]

Run = Callable[[Arrays], Arrays]


class Runs:
    """Runs of the exported model, kept.

    Args:
        run: the exported model.
        trials: its inputs.
    """

    def __init__(self, run: Run, trials: Trials) -> None:
        self.trials = trials
        self._run = run
        self._known: dict[tuple[int, int], Arrays] = {}

    def __call__(self, size: int, start: int = 0) -> Arrays:
        """Answers to ``size`` images from number ``start`` on."""
        key = size, start % len(self.trials.kinds)
        if key not in self._known:
            self._known[key] = self.again(*key)
        return self._known[key]

    def again(self, size: int, start: int = 0) -> Arrays:
        """Answers to the same images, from a run of their own."""
        return self._run(self.trials.feed(size, start))
