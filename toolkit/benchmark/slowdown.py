"""How much longer a run takes than it did: sessions of then against sessions of now.

A session is one process's runs, and its median is one figure. What others on the machine do makes a session
only slower, often twice as slow: sessions that took over 15 % longer than the second fastest are left out,
as far as two remain (the fastest alone may have been lucky). The others' logarithms are compared by Welch's
test (Biometrika 34 (1947) 28), ``apart ± hypot(t sqrt(s²/n + s'²/n'), 1.96 * 1 %)`` with ``apart`` the
difference of their means. The 1 % is between any two loadings of a model, and is in no session; so the
interval is never narrower than ± 2 %.

Simulated with 10 sessions then and now, which differ by 2 % (standard deviation), 0, 10, 30 and 50 % of them
twice as slow: without a slowdown "slower" comes in 0.1, 0.2, 0.2 and 1.2 of 100 cases; 5 % are found in 99,
98, 92 and 73. Yuen's test (Biometrika 61 (1974) 165) on the faster half finds 92, 90, 72 and 28, as over 30 %
slow sessions are no rare thing among ten; Welch's on all of them 15 with 10 % slow ones.

A model that became slow in most of its sessions, not in all, looks like a disturbed machine. So where most of
now's sessions are left out, and more than of then's, what remains may show that it is slower, nothing else.
Without a slowdown 0, 0.1, 4 and 25 of 100 of the cases above are such; where 6, 7 or 8 of 10 sessions got
25 % slower, 98.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnntk.benchmark.case import Case
from cnntk.benchmark.statistics.intervals import Estimate, t_quantile

__all__ = ["DISTURBED", "Calm", "calm", "left_out", "mostly_left_out", "slowdown_percent"]

_LOADINGS = 0.01
"""Two engines on one LeNet, measured in turns, were apart by 1 % (standard deviation of 15; the most was 2
%)."""

DISTURBED = 1.15
"""10 % would cut into sessions that differ by 5 % of themselves (6 of 100 found slower that are not), 20 %
keeps more that were disturbed a little."""


@dataclass(frozen=True)
class Calm:
    """What undisturbed sessions have in common.

    Attributes:
        level: mean of the natural logarithms of their medians in ms.
        error: variance of that mean.
        sessions: how many they are, two or more.
    """

    level: float
    error: float
    sessions: int

    @property
    def ms(self) -> float:
        """Of a run."""
        return math.exp(self.level)


def calm(sessions: Sequence[Sequence[float]]) -> Calm:
    """Sums up those of the sessions that nothing disturbed.

    Args:
        sessions: two or more; in each, latencies or medians of some, in ms.
    """
    medians = np.sort([np.median(session) for session in sessions])
    kept = np.log(medians[medians <= DISTURBED * medians[1]])
    return Calm(float(kept.mean()), float(np.var(kept, ddof=1)) / len(kept), len(kept))


def left_out(sessions: Sequence[Sequence[float]]) -> int:
    """How many of them `calm` doesn't look at."""
    return len(sessions) - calm(sessions).sessions


def mostly_left_out(base: Case, now: Case) -> bool:
    """Whether over half of now's sessions are left out, and a larger share than of the base's."""
    then, later = (left_out(case.sessions) / len(case.sessions) for case in (base, now))
    return later > max(0.5, then)


def slowdown_percent(base: Case, now: Case) -> Estimate:
    """How much longer a run takes now: 5 for 5 %."""
    then, later = calm(base.sessions), calm(now.sessions)
    error = then.error + later.error
    freedoms = sum(one.error**2 / (one.sessions - 1) for one in (then, later))
    freedom = error**2 / freedoms if freedoms else math.inf
    apart = later.level - then.level
    reach = math.hypot(t_quantile(freedom) * math.sqrt(error), t_quantile(math.inf) * _LOADINGS)
    low, value, high = (math.expm1(end) * 100 for end in (apart - reach, apart, apart + reach))
    return Estimate(value, low, high)
