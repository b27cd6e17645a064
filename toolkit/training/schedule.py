"""Schedules of the learning rate, as functions of the step, so that there is no state to save."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["SCHEDULES", "learning_rate_at"]

_WARM_UP = 0.2  # share of the steps in which the rate of one-cycle rises
_START = 1 / 25  # first rate of one-cycle, as a share of the peak
_END = 1e-5  # last rate of one-cycle, as a share of the peak


def learning_rate_at(schedule: str, peak: float, step: int, steps: int) -> float:
    """Returns the learning rate of a step.

    Args:
        schedule: Name in `SCHEDULES`.
        peak: Highest learning rate.
        step: Number of the step, from 0.
        steps: Number of steps, at least 1.
    """
    return peak * SCHEDULES[schedule](step / max(1, steps - 1))


def _one_cycle(progress: float) -> float:
    """Rises for a fifth of the steps, then falls to 1e-5 of the peak, along cosines (Smith & Topin, 2017)."""
    if progress < _WARM_UP:
        return _cosine_between(_START, 1.0, progress / _WARM_UP)
    return _cosine_between(1.0, _END, (progress - _WARM_UP) / (1 - _WARM_UP))


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, Callable[[float], float]] = {
    "one-cycle": _one_cycle,
    "cosine": lambda progress: _cosine_between(1.0, 0.0, progress),  # Loshchilov & Hutter, 2016
    "constant": lambda progress: 1.0,
}
"""Schedules by name: functions from the finished share of the steps, 0 to 1, to the share of the peak."""
