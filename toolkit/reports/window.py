"""Where a plot of latencies ends, so that a few that are far off don't press the others flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.reports.text import count, short

__all__ = ["Window", "window_of"]

_REACH = 3.0
"""Times the way from the median to the 99th percentile, above the latter."""

_LEAST = 0.2
"""Of the median, that is seen above the 99th percentile: what is nearer is not far off."""

_ROOM = 0.06

_WIDE = 8.0
"""Upper by lower end, from which the axis is logarithmic, and shows all runs."""


@dataclass(frozen=True)
class Window:
    """What is seen of latencies.

    Attributes:
        low: its lower end, ms.
        high: its upper end, ms; over ``low``.
        beyond: how many runs took longer.
        longest: of all runs, ms.
        log: whether equal ratios are equally far apart.
    """

    low: float
    high: float
    beyond: int
    longest: float
    log: bool

    @property
    def told(self) -> str:
        """What is cut off; empty where nothing is."""
        runs = f"{count(self.beyond)} run{'s' * (self.beyond > 1)}"
        return f"{runs} beyond {short(self.high)} ms, up to {short(self.longest)} ms" if self.beyond else ""


def window_of(values: NDArray[np.float64]) -> Window:
    """All of the latencies, or, where some are far off, the others."""
    least, median, late, longest = (float(v) for v in np.quantile(values, (0, 0.5, 0.99, 1)))
    end = late + max(_REACH * (late - median), _LEAST * median)
    room = _ROOM * (min(end, longest) - least) or 0.1 * abs(longest) or 1.0
    high = longest + room if longest <= end else end
    if least > 0 and high > _WIDE * least:
        return Window(least / (1 + _ROOM), longest * (1 + _ROOM), 0, longest, True)
    return Window(max(least - room, 0.0), high, int((values > high).sum()), longest, False)
