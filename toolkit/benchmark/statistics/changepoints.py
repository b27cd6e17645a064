"""Whether the level of latencies changed while they were measured, at once or gradually.

The runs are cut into up to 50 blocks, and the logarithms of the blocks' medians are looked at: outliers leave
them alone. Their best description is chosen among a constant, a line (Theil and Sen's) and up to five steps
(the best positions, by dynamic programming: Fisher, J. Am. Stat. Assoc. 53 (1958) 789), by Schwarz' criterion
with a higher price of a step. A change must then be significant: with ``C_k = S_k - k/M S_M`` of the sums S
of M medians, ``(max C - min C) / (sigma sqrt(M))`` is large, the CUSUM test in Kuiper's form (Ploberger and
Krämer, Econometrica 60 (1992) 271). The residuals give ``sigma^2 = var (1 + rho) / (1 - rho)``, with rho the
correlation of neighbors, because slow moments of the machine last longer than a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_RUNS", "block_medians", "fitted_levels"]

Float64 = NDArray[np.float64]

_BLOCKS, _MIN_BLOCKS, _MIN_BLOCK_RUNS = 50, 20, 5

MIN_RUNS = _MIN_BLOCKS * _MIN_BLOCK_RUNS
"""Number of runs below which no change is reported.

Of 50 runs, 4 of 100 steady series seemed to change, and of 100 that drifted by a third 15 were found.
"""

_CRITICAL = 2.2
"""Kuiper's distribution exceeds it 2 times in 1,000 (Stephens, Biometrika 52 (1965) 309)."""

_MIN_CHANGE = 0.03
"""Relative change that counts: smaller ones decide nothing, and machines are never steadier."""

_STEP_PRICE = 3.4
"""Price of a step or a line, times the root of the number of blocks.

Of 1,000 noisy series whose neighbors have a correlation of 0.7, fewer than 1 in 100 then has a change.
"""

_MIN_STEP_BLOCKS, _MAX_STEPS = 3, 5

_MIN_SIGMA = 1e-4  # relative; simulated latencies may have no noise


@dataclass(frozen=True)
class _Fit:
    """A description of M block medians: fitted logarithms (M,), edges, and number of changes."""

    levels: Float64
    edges: tuple[int, ...]
    changes: int


def block_medians(
    latencies_ms: Float64, max_blocks: int = _BLOCKS, min_runs: int = _MIN_BLOCK_RUNS
) -> Float64:
    """Medians (M,) of up to ``max_blocks`` blocks of consecutive latencies, each of ``min_runs`` or more."""
    if not len(latencies_ms):
        return np.empty(0)
    blocks = max(1, min(max_blocks, len(latencies_ms) // min_runs))
    return np.array([np.median(block) for block in np.array_split(latencies_ms, blocks)])


def fitted_levels(latencies_ms: Float64) -> Float64 | None:
    """Level of each latency (N,), where levels changed; None where they are steady, or fewer than `MIN_RUNS`.

    Latencies (N,) are positive, and in the order in which they were measured.
    """
    values = np.asarray(latencies_ms, dtype=np.float64)
    medians = block_medians(values)
    if len(medians) < _MIN_BLOCKS:
        return None
    logs = np.log(np.maximum(medians, 1e-9))
    fit = min(_fits(logs), key=lambda fit: _schwarz_criterion(logs, fit))
    if math.expm1(float(np.ptp(fit.levels))) < _MIN_CHANGE or _kuiper_statistic(logs, fit) < _CRITICAL:
        return None
    if not fit.edges:
        return np.asarray(np.exp(np.linspace(fit.levels[0], fit.levels[-1], len(values))))
    starts = np.cumsum([0, *(len(block) for block in np.array_split(values, len(medians)))])
    parts = np.split(values, [int(starts[edge]) for edge in fit.edges])
    return np.repeat([np.median(part) for part in parts], [len(part) for part in parts])


def _fits(logs: Float64) -> Iterator[_Fit]:
    """A constant, a line, and the best of one step, two, and so on."""
    yield _Fit(np.full(len(logs), logs.mean()), (), 0)
    yield _Fit(_theil_sen_line(logs), (), 1)
    for edges in _best_edges(logs):
        parts = np.split(logs, edges)
        levels = np.repeat([part.mean() for part in parts], [len(part) for part in parts])
        yield _Fit(levels, edges, len(edges))


def _schwarz_criterion(logs: Float64, fit: _Fit) -> float:
    variance = max(float(((logs - fit.levels) ** 2).mean()), _MIN_SIGMA**2)
    return len(logs) * math.log(variance) + _STEP_PRICE * math.sqrt(len(logs)) * fit.changes


def _theil_sen_line(logs: Float64) -> Float64:
    positions = np.arange(len(logs))
    first, second = np.triu_indices(len(logs), 1)
    slope = float(np.median((logs[second] - logs[first]) / (second - first)))
    return np.asarray(slope * positions + np.median(logs - slope * positions))


def _best_edges(logs: Float64) -> Iterator[tuple[int, ...]]:
    """The blocks before which 1, 2, ... steps leave the least squares."""
    costs = _segment_costs(logs)
    best = costs[0]  # least squares of any description up to each block
    paths: list[tuple[int, ...]] = [()] * len(best)
    for _ in range(_MAX_STEPS):
        totals = best[:, None] + costs  # [last edge, end]
        last = totals.argmin(axis=0)
        best, paths = totals.min(axis=0), [(*paths[edge], int(edge)) for edge in last]
        if not math.isfinite(best[-1]):
            return
        yield paths[-1]


def _segment_costs(logs: Float64) -> Float64:
    """Squares that the mean of blocks i to j - 1 leaves, (M + 1, M + 1); infinite for segments too short."""
    sums = np.concatenate(([0.0], np.cumsum(logs)))
    squares = np.concatenate(([0.0], np.cumsum(logs**2)))
    lengths = np.arange(len(sums)) - np.arange(len(sums))[:, None]
    valid = lengths >= _MIN_STEP_BLOCKS
    total = np.subtract.outer(sums, sums).T
    costs = np.subtract.outer(squares, squares).T - total**2 / np.where(valid, lengths, 1)
    return np.where(valid, np.maximum(costs, 0), np.inf)


def _kuiper_statistic(logs: Float64, fit: _Fit) -> float:
    residuals = logs - fit.levels
    residuals -= residuals.mean()
    power = float(residuals @ residuals)
    rho = 0.0 if power == 0 else float(residuals[1:] @ residuals[:-1]) / power
    rho = min(max(rho + (1 + 3 * rho) / len(logs), 0.0), 0.95)  # the estimate is too low: Kendall (1954)
    sigma = math.sqrt(power / (len(logs) - 2) * (1 + rho) / (1 - rho))
    sums = np.cumsum(logs - logs.mean())
    return float(np.ptp(sums)) / (max(sigma, _MIN_SIGMA) * math.sqrt(len(logs)))
