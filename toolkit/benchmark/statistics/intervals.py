"""95 % confidence intervals of percentiles, means, medians and shares, of a slowdown, of paired answers.

Successive latencies are correlated: a slow moment of the machine affects many of them. So percentiles and
means resample whole blocks of them, which preserves the correlation: the circular block bootstrap.

- The bootstrap: Politis and Romano, A circular block-resampling procedure for stationary data (1992).
- Block length: Politis and White, Econometric Reviews 23 (2004) 53, as corrected by Patton, Politis and
  White, ibid. 28 (2009) 372: ``(2 G^2 / D)^(1/3) N^(1/3)`` with ``G = sum |k| R(k)``, ``D = 4/3 (sum
  R(k))^2``, the autocovariances R weighted by a flat-top window that ends where they do. Computed from ranks,
  which are robust to outliers, and half as long again: what is best for a variance is a little short for an
  interval.
- A percentile's interval: that of the share of runs below it, read off the sorted runs (Woodruff, J. Am.
  Stat. Assoc. 47 (1952) 635), so that one short sum per draw suffices.
- Widened by Student's t over the normal's quantile, with one degree of freedom less than there are blocks.

At most 250 blocks are drawn, 1,000 times: beyond 250 runs, blocks are longer than necessary, which costs
nothing, and 100,000 runs take little longer than 250. Of 1,000 simulated series 92 to 98 % are covered, if a
series is some 50 times as long as its correlation: of 1,000 runs whose neighbors' correlation is 0.9, the
99th percentile's interval covers 88 %.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DISTURBED_RATIO",
    "Estimate",
    "UndisturbedSessions",
    "independent_mean",
    "mean_estimate",
    "median_estimate",
    "mostly_disturbed",
    "paired_interval",
    "percentiles",
    "quantile_estimate",
    "runs_needed",
    "share_estimate",
    "slowdown_percent",
]

Float64 = NDArray[np.float64]
Sessions = Sequence[Sequence[float]]

_RUNS_BEYOND = 10
_BLOCKS, _DRAWS, _SEED = 250, 1000, 0
_LENGTH_FACTOR = 1.5
_Z95 = 1.959964
_T95_OF_FEW = (12.7062, 4.3027)

DISTURBED_RATIO = 1.15
"""Time of a disturbed session relative to that of the second fastest one, at least.

10 % would cut into sessions whose standard deviation is 5 % (6 of 100 would be called slower that are not),
20 % keeps more that were disturbed a little.
"""

_LOADING_SPREAD = 0.01
"""Standard deviation between two loadings of a model: of 15 pairs of engines on one LeNet, timed in turns;
the largest difference was 2 %."""


@dataclass(frozen=True)
class Estimate:
    """A number with the 95 % confidence interval of what it estimates.

    Attributes:
        value: Estimated value.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def runs_needed(q: float) -> int:
    """Number of runs of which ten lie beyond a quantile, 0.5 to under 1: 20 for 0.5, 1,000 for 0.99."""
    if not 0.5 <= q < 1:
        raise ValueError(f"q must be 0.5 or more and under 1, got {q}")
    return math.ceil(round(_RUNS_BEYOND / (1 - q), 6))


def percentiles(
    latencies: ArrayLike, percents: Iterable[float] = (50, 90, 99, 99.9)
) -> dict[float, Estimate | None]:
    """Percentiles of latencies, in their unit; None where there are fewer runs than `runs_needed`.

    Args:
        latencies: Latencies in the order in which they were measured, (N,), two or more.
        percents: Percentages, 50 to under 100.
    """
    values = _checked(latencies)
    needed = {percent: runs_needed(percent / 100) for percent in percents}
    return {
        p: quantile_estimate(values, p / 100) if len(values) >= runs else None for p, runs in needed.items()
    }


def quantile_estimate(latencies: ArrayLike, q: float) -> Estimate:
    """A quantile of latencies, however few they are.

    Args:
        latencies: Latencies in the order in which they were measured, (N,), two or more.
        q: Quantile, 0 to 1.
    """
    values = _checked(latencies)
    if not 0 <= q <= 1:
        raise ValueError(f"q must lie between 0 and 1, got {q}")
    value = float(np.quantile(values, q))
    low, high = _mean_interval((values <= value).astype(np.float64), block_length(values))
    ordered, positions = np.sort(values), np.arange(len(values)) + 0.5
    ends = np.interp(np.array([q + low, q + high]) * len(values), positions, ordered)
    return Estimate(value, min(value, float(ends[0])), max(value, float(ends[1])))


def mean_estimate(latencies: ArrayLike) -> Estimate:
    """The mean of latencies.

    Args:
        latencies: Latencies in the order in which they were measured, (N,), two or more.
    """
    values = _checked(latencies)
    low, high = _mean_interval(values, block_length(values))
    mean = float(values.mean())
    return Estimate(mean, mean + low, mean + high)


def median_estimate(values: Float64) -> Estimate:
    """The median of values of any distribution, with its interval by the sign test.

    Its ends are order statistics: of N values, the number below the median is distributed as the tails of N
    throws of a coin (Conover, Practical Nonparametric Statistics, 3.2). Fewer than six values have no such
    interval, and get their range. Correlated values count for less than independent ones: of 70 values whose
    neighbors have a correlation of 0.6, the plain interval covered 81 %, not 95.

    Args:
        values: Values in the order in which they were measured, (N,).
    """
    ordered = np.sort(values)
    count = len(ordered)
    reach = _Z95 * math.sqrt(count * _correlation_time(values)) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach))
    return Estimate(float(np.median(values)), float(ordered[low]), float(ordered[high]))


@dataclass(frozen=True)
class UndisturbedSessions:
    """Summary of the sessions that nothing disturbed, each of one process.

    Other work on a machine makes a session only slower, often twice as slow. Sessions that took over 15 %
    longer than the second fastest are left out, as far as two remain (the fastest alone may have been lucky).

    Attributes:
        log_mean: Mean of the natural logarithms of the sessions' medians in milliseconds.
        log_variance: Variance of that mean.
        sessions: Number of undisturbed sessions, two or more.
        disturbed: Number of sessions that were left out.
    """

    log_mean: float
    log_variance: float
    sessions: int
    disturbed: int

    @property
    def ms(self) -> float:
        """Geometric mean of the sessions' medians in milliseconds."""
        return math.exp(self.log_mean)

    @property
    def disturbed_share(self) -> float:
        """Share of the sessions that were left out, 0 to 1."""
        return self.disturbed / (self.disturbed + self.sessions)

    @classmethod
    def of(cls, sessions: Sessions) -> UndisturbedSessions:
        """Summarizes two or more sessions; of each, latencies or medians of some, in milliseconds."""
        medians = np.sort([np.median(session) for session in sessions])
        logs = np.log(medians[medians <= DISTURBED_RATIO * medians[1]])
        return cls(
            float(logs.mean()), float(np.var(logs, ddof=1)) / len(logs), len(logs), len(medians) - len(logs)
        )


def slowdown_percent(base: Sessions, current: Sessions) -> Estimate:
    """How much longer a run takes in the current sessions than in the base's: 5 for 5 %.

    Welch's test on the logarithms of the medians of undisturbed sessions (Biometrika 34 (1947) 28):
    ``difference +- hypot(t sqrt(s^2/n + s'^2/n'), 1.96 * 1 %)``. The 1 % is between any two loadings of a
    model, and not within a session, so the interval is never narrower than +- 2 %.

    Simulated with 10 sessions each that differ by 2 % (standard deviation), 0, 10, 30 and 50 % of them twice
    as slow: without a slowdown "slower" comes in 0.1, 0.2, 0.2 and 1.2 of 100 cases; 5 % are found in 99, 98,
    92 and 73. Yuen's test (Biometrika 61 (1974) 165) on the faster half finds 92, 90, 72 and 28; Welch's on
    all sessions 15 with 10 % slow ones.
    """
    first, second = UndisturbedSessions.of(base), UndisturbedSessions.of(current)
    variance = first.log_variance + second.log_variance
    weights = sum(one.log_variance**2 / (one.sessions - 1) for one in (first, second))
    freedom = variance**2 / weights if weights else math.inf
    difference = second.log_mean - first.log_mean
    reach = math.hypot(t_quantile(freedom) * math.sqrt(variance), t_quantile(math.inf) * _LOADING_SPREAD)
    ends = (math.expm1(end) * 100 for end in (difference, difference - reach, difference + reach))
    return Estimate(*ends)


def mostly_disturbed(base: Sessions, current: Sessions) -> bool:
    """Whether over half of the current sessions are left out as disturbed, and a larger share than of the
    base's.

    A model that became slow in most of its sessions, not in all, looks like a disturbed machine: the sessions
    that remain may show that it is slower, and nothing else. In the simulations of `slowdown_percent` 0, 0.1,
    4 and 25 of 100 cases without a slowdown are such; where 6, 7 or 8 of 10 sessions became 25 % slower, 98.
    """
    first, second = (UndisturbedSessions.of(sessions).disturbed_share for sessions in (base, current))
    return second > max(0.5, first)


def paired_interval(lost: int, gained: int, pairs: int) -> tuple[float, float]:
    """The interval of ``(lost - gained) / pairs``, of paired answers.

    Wald's interval after half an observation is added to each of the four cells of the table (A. Agresti and
    Y. Min, Simple improved confidence intervals for comparing matched proportions, Statistics in Medicine 24
    (2005) 729): with ``m = n + 2`` and ``d = lost - gained``, ``d/m +- z sqrt(lost + gained + 1 - d^2/m) /
    m``.

    Args:
        lost: Number of pairs of which only the first is right.
        gained: Number of pairs of which only the second is right.
        pairs: Number of all pairs.
    """
    count, difference = pairs + 2, lost - gained
    reach = _Z95 * math.sqrt(lost + gained + 1 - difference**2 / count) / count
    return max(difference / count - reach, -1.0), min(difference / count + reach, 1.0)


def share_estimate(successes: int, count: int) -> Estimate:
    """The share of successes among independent trials, 0 to 1, with Wilson's interval.

    ``(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)`` (E. B. Wilson, J. Am. Stat. Assoc. 22
    (1927) 209), which holds for few trials and for shares near 0 and 1.

    Args:
        successes: Number of successes.
        count: Number of trials, 1 or more.
    """
    if not 0 <= successes <= count or count < 1:
        raise ValueError(f"{successes} successes of {count} trials: expected 0 to all of 1 or more")
    share, z = successes / count, _Z95**2 / count
    reach = _Z95 * math.sqrt(share * (1 - share) / count + z / (4 * count))
    low, high = ((share + z / 2 + sign * reach) / (1 + z) for sign in (-1, 1))
    return Estimate(share, min(max(low, 0.0), share), max(min(high, 1.0), share))


def independent_mean(values: Float64) -> Estimate:
    """The mean of independent values, with Student's interval; infinite for a single value.

    Args:
        values: Values, (N,), one or more.
    """
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, -math.inf, math.inf)
    reach = t_quantile(count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - reach, mean + reach)


def block_length(values: Float64) -> int:
    """Number of neighbors that are drawn together; 1 if they are uncorrelated."""
    count = len(values)
    ranks = np.empty(count)
    ranks[np.argsort(values, kind="stable")] = np.arange(count)
    correlations = autocorrelation(ranks)
    longest = min(3 * math.sqrt(count), count / 3)
    last_lag = _last_correlated_lag(correlations)
    if last_lag == 0 or longest <= 1:
        return 1
    lags = np.arange(1, min(2 * last_lag, count - 1) + 1)
    weighted = np.minimum(1, 2 * (1 - lags / (2 * last_lag))) * correlations[lags]
    spread, total = 2 * float((lags * weighted).sum()), 1 + 2 * float(weighted.sum())
    if total <= 0:  # negatively correlated neighbors
        return 1
    length = _LENGTH_FACTOR * math.cbrt(1.5 * (spread / total) ** 2 * count)
    return math.ceil(min(max(length, 1), longest))


def autocorrelation(values: Float64) -> Float64:
    """Autocorrelation at each lag from 0 (where it is 1) to N - 1; zeros if all values are the same."""
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


def _checked(latencies: ArrayLike) -> Float64:
    values = np.asarray(latencies, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"needs a row of at least 2 finite latencies, got shape {values.shape}")
    return values


def _mean_interval(values: Float64, block: int) -> tuple[float, float]:
    """Ends of the mean's interval, relative to the mean."""
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


def _last_correlated_lag(correlations: Float64) -> int:
    """Lag after which several in a row could be those of noise."""
    count = len(correlations)
    digits = math.log10(count)
    row = max(5, math.ceil(math.sqrt(digits)))
    small = np.abs(correlations[1:]) < 2 * math.sqrt(digits / count)
    limit = min(math.ceil(math.sqrt(count)) + row, count - 1)
    quiet = np.convolve(small, np.ones(row))[row - 1 : row - 1 + limit] > row - 0.5
    return int(np.argmax(quiet)) if quiet.any() else limit


def _correlation_time(values: Float64) -> float:
    """Number of values that tell as much about the median as one independent value would; at least 1.

    One and twice the sum of the autocorrelations of the values' signs about the median, lag by lag in pairs,
    as far as their sums are positive (Geyer, Statistical Science 7 (1992) 473, 3.3).
    """
    count = len(values)
    signs = np.sign(values - np.median(values))
    products = [float(signs[lag:] @ signs[: count - lag]) for lag in range(1, count // 4 + 1)]
    pairs = [sum(products[i : i + 2]) for i in range(0, len(products) - 1, 2)]
    total = sum(itertools.takewhile(lambda pair: pair > 0, pairs))
    return 1 + 2 * total / max(float(signs @ signs), 1.0)
