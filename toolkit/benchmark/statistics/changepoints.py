"""Whether latencies changed for good while they were measured: at once, or bit by bit.

The trace is cut into up to 50 blocks, and the blocks' medians are looked at, on a logarithmic scale: outliers
leave them alone. What describes them best is chosen among no change, a line (Theil and Sen's) and up to five
steps (the best of all places, by dynamic programming: Fisher, J. Am. Stat. Assoc. 53 (1958) 789), by Schwarz'
criterion with a higher price of a step. Then it must be told from chance: with ``C_k = S_k - k/M S_M`` of the
sums S of M medians, ``(max C - min C) / (sigma sqrt(M))`` is large, the CUSUM test in Kuiper's form
(Ploberger and Krämer, Econometrica 60 (1992) 271). What the description leaves over says what chance does:
``sigma² = var (1 + rho) / (1 - rho)``, with rho the correlation of neighbors, because slow moments of the
machine last longer than a block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_TOLD", "Change", "block_medians", "changes"]

Float64 = NDArray[np.float64]

_BLOCKS, _LEAST_BLOCKS, _LEAST_RUNS = 50, 20, 5

LEAST_TOLD = _LEAST_BLOCKS * _LEAST_RUNS
"""Of fewer runs nothing is told: of 50, 4 of 100 sound traces seemed to change, and of 100 that drifted by a
third 15 were found."""

_CRITICAL = 2.2
"""Kuiper's distribution goes beyond it 2 times in 1,000 (Stephens, Biometrika 52 (1965) 309)."""

_SMALLEST = 0.03
"""A change of under 3 % is none: it decides nothing, and machines are never steadier."""

_PRICE = 3.4
"""Of a step or a line, times the root of the number of blocks.

Chosen so that of 1,000 noisy traces whose neighbors' correlation is 0.7 less than 1 in 100 has a change.
"""

_SHORTEST, _MOST_STEPS = 3, 5

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
    edges: tuple[int, ...]  # blocks before which steps are


def block_medians(latencies_ms: Float64, most: int = _BLOCKS, least_runs: int = _LEAST_RUNS) -> Float64:
    """Medians of up to ``most`` blocks of neighbors, each of ``least_runs`` or more; (M,)."""
    if not len(latencies_ms):
        return np.empty(0)
    blocks = max(1, min(most, len(latencies_ms) // least_runs))
    return np.array([np.median(block) for block in np.array_split(latencies_ms, blocks)])


def changes(latencies_ms: Float64) -> tuple[Change, ...]:
    """All that can be told from noise, in their order: one drift, or steps.

    Args:
        latencies_ms: (N,), positive, in their order; of fewer than `LEAST_TOLD` nothing is told.
    """
    values = np.asarray(latencies_ms, dtype=np.float64)
    medians = block_medians(values)
    if len(medians) < _LEAST_BLOCKS:
        return ()
    levels = np.log(np.maximum(medians, 1e-9))
    fit = min(_fits(levels), key=lambda fit: _misfit(levels, fit))
    if math.expm1(float(np.ptp(fit.levels))) < _SMALLEST or _distance(levels, fit) < _CRITICAL:
        return ()
    if fit.kind == "drift":
        first, last = np.exp(fit.levels[[0, -1]])
        return (Change("drift", 0, float(first), float(last)),)
    starts = np.cumsum([0, *(len(block) for block in np.array_split(values, len(medians)))])
    return tuple(_steps(values, [int(starts[edge]) for edge in fit.edges]))


def _steps(values: Float64, edges: list[int]) -> Iterator[Change]:
    levels = [float(np.median(part)) for part in np.split(values, edges)]
    for at, (before, after) in zip(edges, itertools.pairwise(levels), strict=True):
        step = Change("step", at, before, after)
        if abs(step.percent) >= _SMALLEST * 100:
            yield step


def _fits(levels: Float64) -> Iterator[_Fit]:
    """No change, a line, and the best of one step, two, and so on."""
    yield _Fit("step", np.full(len(levels), levels.mean()), ())
    yield _line(levels)
    for edges in _best_edges(levels):
        parts = np.split(levels, edges)
        yield _Fit("step", np.repeat([part.mean() for part in parts], [len(part) for part in parts]), edges)


def _misfit(levels: Float64, fit: _Fit) -> float:
    """Schwarz' criterion; neighbors that are alike must not pay for a step."""
    left = max(float(((levels - fit.levels) ** 2).mean()), _FLOOR**2)
    edges = 1 if fit.kind == "drift" else len(fit.edges)
    return len(levels) * math.log(left) + _PRICE * math.sqrt(len(levels)) * edges


def _line(levels: Float64) -> _Fit:
    places = np.arange(len(levels))
    first, second = np.triu_indices(len(levels), 1)
    slope = float(np.median((levels[second] - levels[first]) / (second - first)))
    line: Float64 = slope * places + np.median(levels - slope * places)
    return _Fit("drift", line, ())


def _best_edges(levels: Float64) -> Iterator[tuple[int, ...]]:
    """Before which blocks 1, 2, ... steps leave the least squares over, none of them close to another."""
    count = len(levels)
    costs = _costs(levels)
    best = costs[0]  # of all descriptions that end before a block
    paths: list[tuple[int, ...]] = [()] * (count + 1)
    for _ in range(_MOST_STEPS):
        totals = best[:, None] + costs  # [last edge, end]
        last = totals.argmin(axis=0)
        best, paths = totals.min(axis=0), [(*paths[edge], int(edge)) for edge in last]
        if not math.isfinite(best[-1]):
            return
        yield paths[-1]


def _costs(levels: Float64) -> Float64:
    """Of the blocks from one to before another, the squares that their mean leaves over; (M + 1, M + 1)."""
    sums = np.concatenate(([0.0], np.cumsum(levels)))
    squares = np.concatenate(([0.0], np.cumsum(levels**2)))
    lengths = np.arange(len(sums)) - np.arange(len(sums))[:, None]
    apart = lengths >= _SHORTEST
    total = np.subtract.outer(sums, sums).T
    left = np.subtract.outer(squares, squares).T - total**2 / np.where(apart, lengths, 1)
    return np.where(apart, np.maximum(left, 0), np.inf)


def _distance(levels: Float64, fit: _Fit) -> float:
    """The test's figure."""
    left = levels - fit.levels
    left -= left.mean()
    power = float(left @ left)
    alike = 0.0 if power == 0 else float(left[1:] @ left[:-1]) / power
    alike = min(max(alike + (1 + 3 * alike) / len(left), 0.0), 0.95)  # it comes out too low: Kendall (1954)
    sigma = math.sqrt(power / (len(left) - 2) * (1 + alike) / (1 - alike))
    sums = np.cumsum(levels - levels.mean())
    return float(np.ptp(sums)) / (max(sigma, _FLOOR) * math.sqrt(len(levels)))
