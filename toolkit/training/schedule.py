"""How the learning rate runs over a training, as a function of the step: no state to keep."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["SCHEDULES", "learning_rate_at"]

_WARM_UP = 0.2  # share of the steps in which one-cycle rises
_START = 1 / 25  # of the peak, where one-cycle starts
_END = 1e-5  # of the peak, where one-cycle ends


def learning_rate_at(schedule: str, peak: float, step: int, steps: int) -> float:
    """The learning rate of a step.

    Args:
        schedule: a name in `SCHEDULES`.
        peak: the highest learning rate.
        step: from 0.
        steps: how many there are, at least 1.
    """
    return peak * SCHEDULES[schedule](step / max(1, steps - 1))


def _one_cycle(done: float) -> float:
    """Up for a fifth of the way, then down to next to nothing, on cosines (Smith & Topin, 2017)."""
    if done < _WARM_UP:
        return _cosine_between(_START, 1.0, done / _WARM_UP)
    return _cosine_between(1.0, _END, (done - _WARM_UP) / (1 - _WARM_UP))


def _cosine(done: float) -> float:
    """From the peak to 0 on half a cosine (Loshchilov & Hutter, 2016)."""
    return _cosine_between(1.0, 0.0, done)


def _constant(done: float) -> float:
    return 1.0


def _cosine_between(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


SCHEDULES: dict[str, Callable[[float], float]] = {
    "one-cycle": _one_cycle,
    "cosine": _cosine,
    "constant": _constant,
}
"""Name to the share of the peak, as a function of how much is done, 0 to 1."""
