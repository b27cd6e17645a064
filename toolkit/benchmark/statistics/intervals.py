"""Percentiles and means of latencies, with 95 % confidence intervals.

Latencies that follow each other are alike: a slow moment of the machine meets many of them. So whole blocks
of them are drawn, which keeps what they have in common: the circular block bootstrap.

- The bootstrap: Politis and Romano, A circular block-resampling procedure for stationary data (1992).
- Blocks' length: Politis and White, Econometric Reviews 23 (2004) 53, as corrected by Patton, Politis and
  White, ibid. 28 (2009) 372: ``(2 G² / D)^(1/3) N^(1/3)`` with ``G = sum |k| R(k)``, ``D = 4/3 (sum R(k))²``,
  the autocovariances R weighted by a flat top that ends where they do. Taken of ranks, which outliers leave
  alone, and half as long again: what is best for a variance is a little short for an interval.
- A percentile's interval: that of the share of runs below it, read off the sorted runs. Woodruff, J. Am.
  Stat. Assoc. 47 (1952) 635. So one short sum a draw does for it, not a sort.
- Stretched by Student's t over the normal's quantile, with one degree of freedom less than there are blocks.

Of any number of runs at most 250 blocks are drawn, 1,000 times: over 250 runs, blocks are longer than they
need be, which costs nothing, and 100,000 runs take little longer than 250.

Of 1,000 simulated benches 92 to 98 % are covered, if a trace is some 50 times as long as it remembers: of
1,000 runs whose neighbors' correlation is 0.9, the 99th percentile's interval covers 88 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.samples import Trace

__all__ = [
    "Estimate",
    "Latencies",
    "autocorrelation",
    "block_length",
    "mean_estimate",
    "percentiles",
    "quantile_estimate",
    "runs_needed",
    "t_quantile",
]

Float64 = NDArray[np.float64]
Latencies = Trace | Float64 | Sequence[float]

_BEYOND = 10
_BLOCKS, _DRAWS, _SEED = 250, 1000, 0
_LONGER = 1.5
_Z95 = 1.959964
_T95_OF_FEW = (12.7062, 4.3027)


@dataclass(frozen=True)
class Estimate:
    """A number, and the 95 % confidence interval of what it estimates."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def runs_needed(q: float) -> int:
    """Runs of which ten lie beyond a quantile: 20 for the median, 1,000 for the 99th percentile.

    Args:
        q: 0.5 to under 1.
    """
    if not 0.5 <= q < 1:
        raise ValueError(f"q must be 0.5 or more and under 1, got {q}")
    return math.ceil(round(_BEYOND / (1 - q), 6))


def percentiles(
    runs: Latencies, percents: Iterable[float] = (50, 90, 99, 99.9)
) -> dict[float, Estimate | None]:
    """Each percentile of the latencies, in their unit; None where there are fewer than `runs_needed`."""
    values = _values(runs)
    block = block_length(values)
    return {
        percent: _quantile(values, percent / 100, block)
        if len(values) >= runs_needed(percent / 100)
        else None
        for percent in percents
    }


def quantile_estimate(runs: Latencies, q: float) -> Estimate:
    """A quantile of the latencies, however few they are.

    Args:
        runs: in the order in which they were measured; at least 2.
        q: 0 to 1.
    """
    values = _values(runs)
    if not 0 <= q <= 1:
        raise ValueError(f"q must lie between 0 and 1, got {q}")
    return _quantile(values, q, block_length(values))


def mean_estimate(runs: Latencies) -> Estimate:
    """The mean of the latencies.

    Args:
        runs: in the order in which they were measured; at least 2.
    """
    values = _values(runs)
    low, high = _reach_of_mean(values, block_length(values))
    mean = float(values.mean())
    return Estimate(mean, mean + low, mean + high)


def block_length(values: Float64) -> int:
    """How many neighbors are drawn together; 1 where they have nothing in common."""
    count = len(values)
    ranks = np.empty(count)
    ranks[np.argsort(values, kind="stable")] = np.arange(count)
    found = autocorrelation(ranks)
    longest = min(3 * math.sqrt(count), count / 3)
    reach = _last_lag(found)
    if reach == 0 or longest <= 1:
        return 1
    lags = np.arange(1, min(2 * reach, count - 1) + 1)
    weighted = np.minimum(1, 2 * (1 - lags / (2 * reach))) * found[lags]
    spread, total = 2 * float((lags * weighted).sum()), 1 + 2 * float(weighted.sum())
    if total <= 0:  # neighbors that differ more than strangers
        return 1
    length = _LONGER * math.cbrt(1.5 * (spread / total) ** 2 * count)
    return math.ceil(min(max(length, 1), longest))


def autocorrelation(values: Float64) -> Float64:
    """At each lag from 0 (where it is 1) to N - 1; zeros for values that are all the same."""
    centered = values - values.mean()
    size = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(centered, size)
    sums = np.fft.irfft(spectrum * spectrum.conj(), size)[: len(values)]
    return np.zeros_like(sums) if sums[0] <= 0 else sums / sums[0]


def t_quantile(freedom: float) -> float:
    """97.5th percentile of Student's t with 1 or more degrees of freedom, to 1 % and better.

    Hill's expansion around the normal's (Abramowitz and Stegun, 26.7.5); of 1 and 2, by table.
    """
    if freedom < 3:
        return _T95_OF_FEW[int(freedom) - 1]
    z = _Z95
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _values(runs: Latencies) -> Float64:
    values = np.asarray(runs.latencies_ms if isinstance(runs, Trace) else runs, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"needs a row of at least 2 finite latencies, got shape {values.shape}")
    return values


def _quantile(values: Float64, q: float, block: int) -> Estimate:
    value = float(np.quantile(values, q))
    low, high = _reach_of_mean((values <= value).astype(np.float64), block)
    ordered, places = np.sort(values), np.arange(len(values)) + 0.5
    ends = np.interp(np.array([q + low, q + high]) * len(values), places, ordered)
    return Estimate(value, min(value, float(ends[0])), max(value, float(ends[1])))


def _reach_of_mean(values: Float64, block: int) -> tuple[float, float]:
    """How far under and over the mean its interval goes."""
    count = len(values)
    block = max(block, -(-count // _BLOCKS))
    blocks = -(-count // block)
    sums = np.concatenate(([0.0], np.cumsum(np.concatenate((values, values[:block])))))
    totals = sums[block : block + count] - sums[:count]
    drawn = np.random.default_rng(_SEED).integers(0, count, (_DRAWS, blocks))
    means = totals[drawn].sum(axis=1) / (blocks * block)
    low, high = np.quantile(means - totals.mean() / block, [0.025, 0.975])
    stretch = t_quantile(blocks - 1) / _Z95 * math.sqrt(blocks / (blocks - 1))
    return float(low * stretch), float(high * stretch)


def _last_lag(found: Float64) -> int:
    """After which some lags in a row tell nothing: their autocorrelations could be those of noise."""
    count = len(found)
    digits = math.log10(count)
    row = max(5, math.ceil(math.sqrt(digits)))
    small = np.abs(found[1:]) < 2 * math.sqrt(digits / count)
    most = min(math.ceil(math.sqrt(count)) + row, count - 1)
    quiet = np.convolve(small, np.ones(row))[row - 1 : row - 1 + most]
    return int(np.argmax(quiet > row - 0.5)) if (quiet > row - 0.5).any() else most
