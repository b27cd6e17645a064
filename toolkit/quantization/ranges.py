"""Which range of a tensor's values the integers shall cover, and the scale and zero point of that range.

Four ways to choose it, each from the histogram alone. What they leave outside is clipped to its ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.quantization.histogram import HALF, Histogram

__all__ = [
    "METHODS",
    "PERCENT",
    "Dtype",
    "Method",
    "Range",
    "Scaling",
    "divergences",
    "entropy",
    "find_range",
    "minmax",
    "mse",
    "percentile",
    "scale_and_zero_point",
    "squared_error",
]

Dtype = Literal["uint8", "int8"]
Method = Literal["minmax", "percentile", "entropy", "mse"]
Vector = NDArray[np.float64]

PERCENT = 99.99
_GRID = 257
"""Ends that `mse` tries on either side, where there are two: 66,049 pairs."""

_LIMITS: dict[Dtype, tuple[int, int]] = {"uint8": (0, 255), "int8": (-128, 127)}
_LEAST_SCALE = float(np.finfo(np.float32).tiny)
"""The inverse of a smaller one is infinite in float32."""


@dataclass(frozen=True)
class Range:
    """The values from ``low`` to ``high``, both finite.

    Raises:
        ValueError: they are not, or in the wrong order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"range: expected finite low <= high, got {self.low} and {self.high}")


@dataclass(frozen=True)
class Scaling:
    """Integers for real numbers: ``v = scale * (q - zero_point)``.

    Attributes:
        scale: a float32, above 0.
        zero_point: the integer of 0.
        dtype: of the integers.
    """

    scale: float
    zero_point: int
    dtype: Dtype

    @property
    def range(self) -> Range:
        """What the integers represent; a symmetric int8 leaves -128 out in use, but it is there."""
        least, most = _LIMITS[self.dtype]
        return Range(self.scale * (least - self.zero_point), self.scale * (most - self.zero_point))


def scale_and_zero_point(chosen: Range, dtype: Dtype, *, symmetric: bool = False) -> Scaling:
    """The scale and zero point of a range, widened so that it holds 0, which is represented exactly.

    Affine: ``scale = (high - low) / 255`` and ``zero_point = least - round(low / scale)``, which moves the
    range by at most half a step. Symmetric: ``scale = max(|low|, |high|) / 127``, zero point 0 in int8 and
    128 in uint8. A range of nothing but 0 has scale 1.

    Args:
        chosen: the range.
        dtype: of the integers.
        symmetric: as many steps below 0 as above.
    """
    least, most = _LIMITS[dtype]
    low, high = min(chosen.low, 0.0), max(chosen.high, 0.0)
    if low == high:
        return Scaling(1.0, (least + most + 1) // 2 if symmetric else least, dtype)
    if symmetric:
        return Scaling(_float32(max(-low, high) / 127), (least + most + 1) // 2, dtype)
    scale = _float32(high / 255 - low / 255)
    return Scaling(scale, min(max(least - round(low / scale), least), most), dtype)


def find_range(histogram: Histogram, method: Method, *, symmetric: bool = False) -> Range:
    """The range by one of `METHODS`; ``symmetric`` tells for which kind of scale.

    Raises:
        ValueError: there is no such method, or the histogram is empty.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    return METHODS[method](histogram, symmetric)


def minmax(histogram: Histogram) -> Range:
    """``[min v, max v]``: nothing is clipped, and one outlier makes all steps coarse."""
    _require_values(histogram)
    return Range(histogram.minimum, histogram.maximum)


def percentile(histogram: Histogram, percent: float = PERCENT) -> Range:
    """``[Q((1 - p) / 2), Q((1 + p) / 2)]`` for ``p = percent / 100`` and the quantiles Q of all values.

    Q is linear within a bin.

    Args:
        histogram: of the values.
        percent: of the values that are not clipped; 99.9, 99.99 and 99.999 are usual.

    Raises:
        ValueError: ``percent`` is not above 0 and at most 100.
    """
    _require_values(histogram)
    if not 0 < percent <= 100:
        raise ValueError(f"percent: expected above 0 and at most 100, got {percent}")
    p = percent / 100
    below = np.concatenate(([0], np.cumsum(histogram.counts))).astype(np.float64)
    ends = [_quantile(histogram, below, (1 - p) / 2), _quantile(histogram, below, (1 + p) / 2)]
    low, high = (min(max(v, histogram.minimum), histogram.maximum) for v in ends)
    return Range(low, high)


def entropy(histogram: Histogram, *, symmetric: bool = False) -> Range:
    """The threshold T that loses the least information: ``[max(min v, -T), min(max v, T)]``.

    It minimizes ``KL(P || Q) = sum P log(P / Q)`` over T, from as many bins of ``|v|`` as there are levels up
    to all. P has the bins below T, what lies above put into the last of them. Q has the bins below T, merged
    into the levels and spread evenly over those that are not empty. S. Migacz, *8-bit inference with
    TensorRT*, GTC 2017. There are 128 levels, or 256 where all values have one sign and the scale may be
    affine. Exact zeros are left out, as every scale has them: otherwise those of a ReLU decide alone.

    KL splits into sums over bins, which running sums give for all T at once, and sums over levels.
    """
    _require_values(histogram)
    levels = 256 if not symmetric and histogram.minimum * histogram.maximum >= 0 else 128
    counts = (histogram.positive + histogram.negative).astype(np.float64)
    used = np.flatnonzero(counts)
    if not used.size or used[-1] < levels:
        return minmax(histogram)
    divergence = divergences(counts[: used[-1] + 1], levels)
    threshold = (levels + int(divergence.argmin())) * histogram.width
    return _clipped(histogram, threshold, threshold)


def mse(histogram: Histogram, *, symmetric: bool = False) -> Range:
    """The range with the least expected squared error of 8 bits: `squared_error` at its minimum.

    Every end of a bin is tried where one threshold decides, that is where the scale is symmetric or all
    values have one sign; else all pairs of 257 ends on either side.
    """
    _require_values(histogram)
    if symmetric:
        side = _Side.of(histogram.positive + histogram.negative, histogram.width, _largest(histogram))
        error = side.clipping + (side.ends / 127) ** 2 / 12 * side.inside
        end = float(side.ends[error.argmin()])
        return _clipped(histogram, end, end)
    below, above = _sides(histogram)
    if len(below.ends) > 1 and len(above.ends) > 1:
        below, above = below.thinned(), above.thinned()
    errors = _affine_errors(below, above)
    i, j = np.unravel_index(int(errors.argmin()), errors.shape)
    return _clipped(histogram, float(below.ends[i]), float(above.ends[j]))


def squared_error(histogram: Histogram, chosen: Range, *, symmetric: bool = False) -> float:
    """The expected squared error of a value, quantized to 8 bits over a range that is widened to hold 0.

    ``(sum over clipped v of (v - end)^2 + step^2 / 12 * n) / N``, with n values inside that are not 0, and
    step ``(high - low) / 255``, or ``max(|low|, |high|) / 127`` where symmetric. Values are taken to lie in
    the middle of their bins (or at the largest value, where that is less), and evenly within a step; 0 has no
    error.
    """
    _require_values(histogram)
    low, high = max(-chosen.low, 0.0), max(chosen.high, 0.0)
    if symmetric:
        low = high = max(low, high)
    step = high / 127 if symmetric else (low + high) / 255
    clipped, inside = 0.0, 0.0
    sides = ((histogram.negative, low, -histogram.minimum), (histogram.positive, high, histogram.maximum))
    for counts, end, largest in sides:
        middles = np.minimum((np.arange(HALF) + 0.5) * histogram.width, max(largest, 0.0))
        over = middles > end
        clipped += float((counts[over] * (middles[over] - end) ** 2).sum())
        inside += float(counts[~over].sum())
    return (clipped + step**2 / 12 * inside) / histogram.count


METHODS: dict[Method, Callable[[Histogram, bool], Range]] = {
    "minmax": lambda histogram, symmetric: minmax(histogram),
    "percentile": lambda histogram, symmetric: percentile(histogram),
    "entropy": lambda histogram, symmetric: entropy(histogram, symmetric=symmetric),
    "mse": lambda histogram, symmetric: mse(histogram, symmetric=symmetric),
}


@dataclass(frozen=True, eq=False)
class _Side:
    """The values on one side of zero, and where they may be clipped.

    Attributes:
        ends: (T,), rising from 0 to the largest value.
        clipping: for each end, the squared error of what lies beyond it.
        inside: for each end, how many values don't, exact zeros left out.
    """

    ends: Vector
    clipping: Vector
    inside: Vector

    @classmethod
    def of(cls, counts: NDArray[np.int64], width: float, largest: float) -> _Side:
        """From counts outwards, (HALF,)."""
        used = np.flatnonzero(counts)
        bins = int(used[-1]) + 1 if used.size else 0
        c = counts[:bins].astype(np.float64)
        middles = np.minimum(np.arange(bins) + 0.5, largest / width)
        s0, s1, s2 = (_beyond(c * middles**power) for power in (0, 1, 2))
        t = np.arange(bins + 1, dtype=np.float64)
        clipping = np.maximum(s2 - 2 * t * s1 + t**2 * s0, 0) * width**2
        ends = np.minimum(t * width, largest)
        return cls(ends, clipping, c.sum() - s0)

    def thinned(self) -> _Side:
        """With `_GRID` of the ends at most."""
        kept = np.unique(np.linspace(0, len(self.ends) - 1, _GRID).round().astype(np.int64))
        return _Side(self.ends[kept], self.clipping[kept], self.inside[kept])


def _beyond(values: Vector) -> Vector:
    """For each place and the one behind the last, the sum from there on: (n,) to (n + 1,)."""
    return np.concatenate((np.cumsum(values[::-1])[::-1], [0.0]))


def _sides(histogram: Histogram) -> tuple[_Side, _Side]:
    width = histogram.width
    below = _Side.of(histogram.negative, width, max(-histogram.minimum, 0.0))
    return below, _Side.of(histogram.positive, width, max(histogram.maximum, 0.0))


def _affine_errors(below: _Side, above: _Side) -> Vector:
    """For each pair of ends, (T below, T above)."""
    step = (below.ends[:, None] + above.ends) / 255
    inside = below.inside[:, None] + above.inside
    return np.asarray(below.clipping[:, None] + above.clipping + step**2 / 12 * inside)


def divergences(counts: Vector, levels: int) -> Vector:
    """``KL(P || Q)`` for thresholds of ``levels`` bins, one more, ..., all n: (n - levels + 1,).

    With N values in all, M below the threshold, and c of them in a bin; with C of a level's bins in Q, D of
    them in P, and z that P does not have empty:
    ``KL = (sum c' log c' - sum D log(C / z)) / N - log N + log M``, where c' is c, in the last bin with what
    lies above.

    Args:
        counts: of bins from zero up, (n,), the last one not empty.
        levels: n at most.
    """
    n = len(counts)
    thresholds = np.arange(levels, n + 1)
    edges = np.arange(levels + 1) * thresholds[:, None] // levels
    mass, filled = _running(counts), _running((counts > 0).astype(np.float64))
    below = mass[thresholds]
    above = mass[-1] - below
    last = counts[thresholds - 1]
    in_q, not_empty = np.diff(mass[edges], axis=1), np.diff(filled[edges], axis=1)
    in_p = in_q.copy()
    in_p[:, -1] += above
    not_empty[:, -1] += (last == 0) & (above > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = np.where(in_p > 0, in_p * np.log(in_q / not_empty), 0.0).sum(axis=1)
        own = _running(_xlogx(counts))[thresholds - 1] + _xlogx(last + above)
        divergence = (own - cross) / mass[-1] - np.log(mass[-1]) + np.log(below)
    return np.where(np.isfinite(divergence), divergence, np.inf)


def _running(values: Vector) -> Vector:
    """Sums of what lies before each place and behind the last: (n,) to (n + 1,)."""
    return np.concatenate(([0.0], np.cumsum(values)))


def _xlogx(values: Vector) -> Vector:
    return values * np.log(np.where(values > 0, values, 1.0))


def _quantile(histogram: Histogram, below: Vector, share: float) -> float:
    """The value that ``share`` of all lie below."""
    wanted = share * histogram.count
    place = min(max(int(np.searchsorted(below, wanted, side="left")) - 1, 0), len(histogram.counts) - 1)
    part = (wanted - below[place]) / max(float(histogram.counts[place]), 1.0)
    return (place - HALF + min(float(part), 1.0)) * histogram.width


def _clipped(histogram: Histogram, below: float, above: float) -> Range:
    """From ``-below`` to ``above``, as far as there are values."""
    low, high = max(histogram.minimum, -below), min(histogram.maximum, above)
    return Range(min(low, high), max(low, high))


def _largest(histogram: Histogram) -> float:
    return max(-histogram.minimum, histogram.maximum)


def _float32(scale: float) -> float:
    return max(float(np.float32(scale)), _LEAST_SCALE)


def _require_values(histogram: Histogram) -> None:
    if not histogram.count:
        raise ValueError(f"{histogram.tensor}: its histogram is empty; calibrate with at least one image")
