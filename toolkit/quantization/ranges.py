"""Range of a tensor's values that 8-bit integers represent, and the scale and zero point of that range.

`RANGE_METHODS` lists the ways to choose it from a histogram. Values outside of the range are clipped to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.quantization.histogram import Histogram, Vector
from cnntk.quantization.options import RangeMethod

__all__ = ["RANGE_METHODS", "Range", "Scaling", "find_range", "mse", "scale_and_zero_point"]

_GRID = 257
"""Number of ends that `mse` tries on either side if there are values on both: 66,049 pairs."""

_MIN_SCALE = float(np.finfo(np.float32).tiny)
"""Smallest scale: the inverse of a smaller one is infinite in float32."""


@dataclass(frozen=True)
class Range:
    """Values from ``low`` to ``high``, both finite.

    Raises:
        ValueError: An end is not finite, or ``low`` exceeds ``high``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"range: expected finite low <= high, got {self.low} and {self.high}")


@dataclass(frozen=True)
class Scaling:
    """Scale and zero point of uint8: ``v = scale * (q - zero_point)``.

    Attributes:
        scale: Scale, a float32 greater than 0.
        zero_point: Integer that represents 0, from 0 to 255.
    """

    scale: float
    zero_point: int


def scale_and_zero_point(limits: Range) -> Scaling:
    """Scale and zero point of a range, which is extended to contain 0; 0 is represented exactly.

    ``scale = (high - low) / 255`` and ``zero_point = -round(low / scale)``, which shifts the range by at most
    half a step. A range that contains only 0 has scale 1.
    """
    low, high = min(limits.low, 0.0), max(limits.high, 0.0)
    if low == high:
        return Scaling(1.0, 0)
    scale = max(float(np.float32(high / 255 - low / 255)), _MIN_SCALE)
    return Scaling(scale, min(max(-round(low / scale), 0), 255))


def find_range(histogram: Histogram, method: RangeMethod) -> Range:
    """Chooses the range by one of `RANGE_METHODS`.

    Raises:
        ValueError: The method does not exist, or the histogram is empty.
    """
    if method not in RANGE_METHODS:
        raise ValueError(f"range method {method!r}: expected one of {', '.join(RANGE_METHODS)}")
    if not histogram.count:
        raise ValueError(f"{histogram.tensor}: its histogram is empty; calibrate with at least one image")
    return RANGE_METHODS[method](histogram)


def mse(histogram: Histogram) -> Range:
    """The range with the least expected squared error of 8 bits.

    ``(sum over clipped v of (v - end)^2 + step^2 / 12 * n) / N``, with n values inside that are not 0, and
    step ``(high - low) / 255``. Values are assumed in the middle of their bins (or at the largest value if
    that is less), and evenly distributed within a step; 0 has no error. Every end of a bin is tried if all
    values have one sign; otherwise all pairs of 257 ends on either side.
    """
    width = histogram.width
    below = _Side.of(histogram.negative, width, max(-histogram.minimum, 0.0))
    above = _Side.of(histogram.positive, width, max(histogram.maximum, 0.0))
    if len(below.ends) > 1 and len(above.ends) > 1:
        below, above = below.thinned(), above.thinned()
    step = (below.ends[:, None] + above.ends) / 255
    inside = below.inside[:, None] + above.inside
    errors = below.clipping[:, None] + above.clipping + step**2 / 12 * inside
    i, j = np.unravel_index(int(errors.argmin()), errors.shape)
    low = max(histogram.minimum, -float(below.ends[i]))
    high = min(histogram.maximum, float(above.ends[j]))
    return Range(min(low, high), max(low, high))


RANGE_METHODS: dict[RangeMethod, Callable[[Histogram], Range]] = {"mse": mse}
"""Methods that choose a range from a histogram with at least one value, by their names in the options."""


@dataclass(frozen=True, eq=False)
class _Side:
    """Values on one side of zero, and where they can be clipped.

    Attributes:
        ends: Possible ends of the range, (T,), from 0 up to the largest value.
        clipping: Sum of the squared errors of the values beyond each end, (T,).
        inside: Number of values within each end, (T,), without exact zeros.
    """

    ends: Vector
    clipping: Vector
    inside: Vector

    @classmethod
    def of(cls, counts: NDArray[np.int64], width: float, largest: float) -> _Side:
        """The side with these counts from zero outwards, (HALF,)."""
        used = np.flatnonzero(counts)
        bins = int(used[-1]) + 1 if used.size else 0
        c = counts[:bins].astype(np.float64)
        middles = np.minimum(np.arange(bins) + 0.5, largest / width)
        s0, s1, s2 = (_sums_beyond(c * middles**power) for power in (0, 1, 2))
        t = np.arange(bins + 1, dtype=np.float64)
        clipping = np.maximum(s2 - 2 * t * s1 + t**2 * s0, 0) * width**2
        ends = np.minimum(t * width, largest)
        return cls(ends, clipping, c.sum() - s0)

    def thinned(self) -> _Side:
        """The side with at most `_GRID` of its ends, evenly spaced."""
        rows = np.unique(np.linspace(0, len(self.ends) - 1, _GRID).round().astype(np.int64))
        return _Side(self.ends[rows], self.clipping[rows], self.inside[rows])


def _sums_beyond(values: Vector) -> Vector:
    """Sum of the values from each index on, and 0 behind the last: (n,) to (n + 1,)."""
    return np.concatenate((np.cumsum(values[::-1])[::-1], [0.0]))
