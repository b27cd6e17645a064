"""Whether latencies gather around two values, as those of a model do that is now fast, now slow.

Their density is estimated on a logarithmic scale, with Gaussian kernels of Silverman's width (Density
Estimation for Statistics and Data Analysis, 1986, 3.31), wider where neighbors are alike, because there are
fewer of them in truth. Two of its peaks are modes where the valley between them is at most half as high as
the lower one, and each holds a share of the runs that could not be some outliers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.intervals import block_length

__all__ = ["Modes", "modes"]

Float64 = NDArray[np.float64]

_LEAST_RUNS, _LEAST_SHARE, _APART, _VALLEY = 100, 0.1, 0.05, 0.5
_CELLS = 512
_NARROWEST = 0.005  # relative; modes that are closer decide nothing


@dataclass(frozen=True)
class Modes:
    """Two values around which latencies gather.

    Attributes:
        fast_ms: median of the faster runs.
        slow_ms: median of the slower ones.
        slow_share: of the runs that are slow, 0.1 to 0.9.
    """

    fast_ms: float
    slow_ms: float
    slow_share: float


def modes(latencies_ms: Float64) -> Modes | None:
    """The two modes, if there are two that can be told; of more, those around the deepest valley.

    Args:
        latencies_ms: (N,), positive, in the order in which they were measured; under 100 nothing is told.
    """
    if len(latencies_ms) < _LEAST_RUNS:
        return None
    logs = np.log(np.maximum(latencies_ms, 1e-9))
    found = [split for split in _valleys(*_density(logs)) if _apart(logs, split)]
    if not found:
        return None
    slow = logs > found[0]
    fast_ms, slow_ms = np.median(latencies_ms[~slow]), np.median(latencies_ms[slow])
    return Modes(float(fast_ms), float(slow_ms), float(slow.mean()))


def _apart(logs: Float64, split: float) -> bool:
    slow = logs > split
    if not _LEAST_SHARE <= slow.mean() <= 1 - _LEAST_SHARE:
        return False
    return bool(np.median(logs[slow]) - np.median(logs[~slow]) >= _APART)


def _density(logs: Float64) -> tuple[Float64, Float64]:
    """Places and heights, from the 1st to the 99th percentile and some widths beyond."""
    low, first, third, high = np.quantile(logs, [0.01, 0.25, 0.75, 0.99])
    inner = logs[(logs >= low) & (logs <= high)]
    spread = min(float(inner.std()), float(third - first) / 1.34) or float(inner.std())
    count = max(len(logs) / block_length(logs), 10.0)
    width = max(0.9 * spread * count**-0.2, _NARROWEST)
    edges = np.linspace(low - 4 * width, high + 4 * width, _CELLS + 1)
    cell = edges[1] - edges[0]
    reach = math.ceil(4 * width / cell)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * cell / width) ** 2)
    heights = np.convolve(np.histogram(inner, edges)[0], kernel, mode="same")
    return (edges[1:] + edges[:-1]) / 2, heights


def _valleys(places: Float64, heights: Float64) -> list[float]:
    """Places that are low enough between peaks, the deepest first."""
    left, right = np.maximum.accumulate(heights), np.maximum.accumulate(heights[::-1])[::-1]
    lower = np.minimum(left, right)
    depth = np.divide(heights, lower, out=np.ones_like(lower), where=lower > 0)
    bottoms = np.flatnonzero((depth[1:-1] <= depth[:-2]) & (depth[1:-1] <= depth[2:])) + 1
    deep = bottoms[depth[bottoms] <= _VALLEY]
    return [float(places[i]) for i in deep[np.argsort(depth[deep], kind="stable")]]
