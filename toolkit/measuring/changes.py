"""Whether latencies changed for good while they were measured: at once, or bit by bit.

The trace is cut into blocks, and the blocks' medians are looked at: outliers leave them alone. A change is one
where their sums run further from the mean's than chance takes them: the CUSUM test, ``max |S_k - k/M S_M| /
(sigma sqrt(M))``. What is left over after the change, a line or a step, whichever fits better, says what chance
does: ``sigma² = var (1 + rho) / (1 - rho)``, with rho the correlation of neighbours, because slow moments of the
machine last longer than a block. Ploberger and Krämer, Econometrica 60 (1992) 271; the line is by Theil and Sen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Change", "block_medians", "changes"]

Float64 = NDArray[np.float64]

_BLOCKS, _LEAST_BLOCKS, _LEAST_RUNS = 50, 10, 5
_CRITICAL = 2.2
"""Kolmogorov's distribution goes beyond it once in 8,000; but chance chooses the step's place, too."""

_SMALLEST = 0.03
"""A change of under 3 % is none: it decides nothing, and machines are never steadier."""

_FLOOR = 1e-4  # of sigma, relative; traces that are made up may have no noise


@dataclass(frozen=True)
class Change:
    """Of the level of a trace.

    Attributes:
        kind: "step" at once, "drift" bit by bit.
        at: run before which the step is; of a drift, the first.
        before_ms: level before the step, or where the drift begins.
        after_ms: level after it, or where it ends.
    """

    kind: Literal["drift", "step"]
    at: int
    before_ms: float
    after_ms: float

    @property
    def percent(self) -> float:
        """By how much it grew."""
        return (self.after_ms / self.before_ms - 1) * 100


@dataclass(frozen=True)
class _Fit:
    kind: Literal["drift", "step"]
    levels: Float64  # (M,), logarithms
    at: int


def block_medians(latencies_ms: Float64, most: int = _BLOCKS) -> Float64:
    """Medians of up to ``most`` blocks of neighbours, of 5 runs at least; (M,)."""
    blocks = max(1, min(most, len(latencies_ms) // _LEAST_RUNS))
    return np.array([np.median(block) for block in np.array_split(latencies_ms, blocks)])


def changes(latencies_ms: Float64) -> tuple[Change, ...]:
    """All that can be told from noise, in their order: one drift, or steps.

    Args:
        latencies_ms: (N,), positive, in the order in which they were measured; under 50 nothing is told.
    """
    return _changes(np.asarray(latencies_ms, dtype=np.float64), 0)


def _changes(values: Float64, offset: int) -> tuple[Change, ...]:
    found = _change(values)
    if found is None:
        return ()
    here = Change(found.kind, found.at + offset, found.before_ms, found.after_ms)
    if found.kind == "drift":
        return (here,)
    before = _changes(values[: found.at], offset)
    after = _changes(values[found.at :], offset + found.at)
    return (*_steps(before), here, *_steps(after))


def _steps(found: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(change for change in found if change.kind == "step")


def _change(values: Float64) -> Change | None:
    levels = np.log(np.maximum(block_medians(values), 1e-9))
    if len(levels) < _LEAST_BLOCKS:
        return None
    fit = _fit(levels)
    first, last = fit.levels[0], fit.levels[-1]
    if abs(math.expm1(last - first)) < _SMALLEST or _distance(levels, fit) < _CRITICAL:
        return None
    edges = np.cumsum([0, *(len(block) for block in np.array_split(values, len(levels)))])
    return Change(fit.kind, int(edges[fit.at]), math.exp(first), math.exp(last))


def _fit(levels: Float64) -> _Fit:
    line, step = _line(levels), _step(levels)
    return min(line, step, key=lambda fit: float(np.abs(levels - fit.levels).sum()))


def _line(levels: Float64) -> _Fit:
    places = np.arange(len(levels))
    first, second = np.triu_indices(len(levels), 1)
    slope = float(np.median((levels[second] - levels[first]) / (second - first)))
    return _Fit("drift", slope * places + float(np.median(levels - slope * places)), 0)


def _step(levels: Float64) -> _Fit:
    at = int(np.argmax(np.abs(_sums(levels))[:-1])) + 1
    sides = np.median(levels[:at]), np.median(levels[at:])
    return _Fit("step", np.repeat(sides, (at, len(levels) - at)), at)


def _distance(levels: Float64, fit: _Fit) -> float:
    """The test's figure."""
    left = levels - fit.levels
    left -= left.mean()
    power = float(left @ left)
    alike = 0.0 if power == 0 else float(left[1:] @ left[:-1]) / power
    alike = min(max(alike + (1 + 3 * alike) / len(left), 0.0), 0.95)  # it comes out too low: Kendall (1954)
    sigma = math.sqrt(power / (len(left) - 2) * (1 + alike) / (1 - alike))
    return float(np.abs(_sums(levels)).max()) / (max(sigma, _FLOOR) * math.sqrt(len(levels)))


def _sums(levels: Float64) -> Float64:
    return np.cumsum(levels - levels.mean())
