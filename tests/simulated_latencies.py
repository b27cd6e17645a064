"""Simulated latencies whose distribution is known."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.samples import LatencySamples

Float64 = NDArray[np.float64]


def normals(rng: np.random.Generator, rows: int, count: int, alike: float = 0.0) -> Float64:
    """Standard normal numbers, (rows, count); of neighbors in a row the correlation is ``alike``: AR(1)."""
    values = rng.normal(size=(rows, count))
    for i in range(1, count if alike else 0):
        values[:, i] = alike * values[:, i - 1] + math.sqrt(1 - alike**2) * values[:, i]
    return values


def lognormals(rows: int, count: int, *, spread: float = 0.1, alike: float = 0.0) -> Float64:
    """Latencies in ms whose median is 1; (rows, count)."""
    return np.asarray(np.exp(spread * _normals(rows, count, alike)))


def lognormal(count: int, *, spread: float = 0.1) -> Float64:
    """One row, without likeness of neighbors."""
    return np.asarray(np.exp(spread * np.random.default_rng(3).normal(size=count)))


@lru_cache(maxsize=8)
def _normals(rows: int, count: int, alike: float) -> Float64:
    return normals(np.random.default_rng(7), rows, count, alike)


def quantile_of_lognormal(q: float, spread: float) -> float:
    return math.exp(spread * NormalDist().inv_cdf(q))


def mean_of_lognormal(spread: float) -> float:
    return math.exp(spread**2 / 2)


def samples(latencies_ms: Float64) -> LatencySamples:
    """Runs without pauses between them."""
    starts = np.concatenate(([0.0], np.cumsum(latencies_ms)[:-1])) / 1e3
    return LatencySamples(starts, np.asarray(latencies_ms, dtype=np.float64))
