"""Statistics of one tensor's values, gathered in one pass and in fixed memory.

`Histogram` counts all values, `ChannelStats` has the range and mean of each channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.errors import DataError

__all__ = ["BINS", "HALF", "ChannelStats", "Histogram", "HistogramRecord", "Vector"]

Vector = NDArray[np.float64]

HALF = 2048
"""Number of bins on either side of zero. The larger side uses at least half: 4 for each 8-bit step."""

BINS = 2 * HALF

_MIN_EXPONENT = -126
"""Smallest exponent of the width; the inverse of the width stays within float32."""

_CHUNK = 1 << 16
"""Number of values that are counted at once: their indices take 512 KiB, which the cache holds."""


def _zero_counts() -> NDArray[np.int64]:
    return np.zeros(BINS, dtype=np.int64)


@dataclass(frozen=True)
class HistogramRecord:
    """A histogram as a calibration file stores it; empty bins at both ends are left out.

    Attributes:
        tensor: Name of the tensor.
        exponent: Exponent of the bins' width to base 2.
        first_bin: Index of the first bin in ``counts``.
        counts: Counts from that bin on.
        minimum: Smallest value; None without values.
        maximum: Largest value; None without values.
        zeros: Number of values that are exactly zero.
    """

    tensor: str
    exponent: int
    first_bin: int
    counts: tuple[int, ...]
    minimum: float | None
    maximum: float | None
    zeros: int


@dataclass(eq=False)
class Histogram:
    """Counts of a tensor's values in bins of equal width around zero.

    A value ``v`` is in bin ``floor(v / width) + HALF``. The width is the smallest power of two of which HALF
    exceed every magnitude so far: it doubles, and pairs of bins merge, when a value falls outside. Division
    by a power of two is exact, and ``floor(v / 2w) = floor(floor(v / w) / 2)``, so the counts depend neither
    on the order of the values nor on how they were split into calls.

    Attributes:
        tensor: Name of the tensor.
        exponent: Exponent of the width to base 2.
        counts: Counts, int64 (BINS,).
        minimum: Smallest value; infinity without values.
        maximum: Largest value; minus infinity without values.
        count: Number of values.
        zeros: Number of values that are exactly zero, which any scale represents without error.
    """

    tensor: str
    exponent: int = _MIN_EXPONENT
    counts: NDArray[np.int64] = field(default_factory=_zero_counts)
    minimum: float = math.inf
    maximum: float = -math.inf
    count: int = 0
    zeros: int = 0

    def add(self, values: NDArray[Any], image: str = "") -> None:
        """Counts ``values``, of any shape, as float32.

        Args:
            values: Values to count.
            image: Name of the image that they belong to, for the message.

        Raises:
            DataError: A value is NaN or infinite; the histogram is unchanged.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise self._not_finite(flat, image)
        self._widen(_exponent(max(-low, high)))
        for start in range(0, flat.size, _CHUNK):
            self.counts += np.bincount(self._bins(flat[start : start + _CHUNK]), minlength=BINS)
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.count += flat.size
        self.zeros += flat.size - int(np.count_nonzero(flat))

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def positive(self) -> NDArray[np.int64]:
        """Counts from zero up, (HALF,): bin j has values in [j, j + 1) widths, without exact zeros."""
        counts = self.counts[HALF:].copy()
        counts[0] -= self.zeros
        return counts

    @property
    def negative(self) -> NDArray[np.int64]:
        """Counts from zero down, (HALF,): bin j has values in [-j - 1, -j) widths."""
        return self.counts[HALF - 1 :: -1].copy()

    def record(self) -> HistogramRecord:
        """The histogram for a calibration file."""
        used = np.flatnonzero(self.counts)
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, -1)
        counts = tuple(self.counts[first : last + 1].tolist())
        low, high = (self.minimum, self.maximum) if self.count else (None, None)
        return HistogramRecord(self.tensor, self.exponent, first, counts, low, high, self.zeros)

    @classmethod
    def from_record(cls, record: HistogramRecord) -> Histogram:
        """The histogram that `record` returned.

        Raises:
            ValueError: Counts are negative or outside of the bins, or do not fit the other fields.
        """
        counts, first = np.array(record.counts, dtype=np.int64), record.first_bin
        histogram = cls(record.tensor, record.exponent)
        if first < 0 or first + counts.size > BINS or (counts < 0).any():
            raise ValueError(f"{record.tensor}: expected counts of at least 0 in {BINS} bins")
        histogram.counts[first : first + counts.size] = counts
        histogram.count, histogram.zeros = int(counts.sum()), record.zeros
        if not 0 <= record.zeros <= histogram.counts[HALF]:
            raise ValueError(f"{record.tensor}: {record.zeros} zeros, {histogram.counts[HALF]} in their bin")
        if histogram.count:
            if record.minimum is None or record.maximum is None:
                raise ValueError(f"{record.tensor}: has counts, but no minimum or maximum")
            histogram.minimum, histogram.maximum = record.minimum, record.maximum
        return histogram

    def _bins(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Bins of ``values``; exact, because scaling up in float32 and down in float64 loses no digit."""
        dtype = np.float64 if self.exponent > 0 else np.float32
        scaled: NDArray[Any] = np.floor(values * dtype(1 / self.width)) + HALF
        return scaled.astype(np.int64)

    def _widen(self, exponent: int) -> None:
        """Merges bins until their width is 2 to the ``exponent``."""
        if exponent <= self.exponent:
            return
        steps = min(exponent - self.exponent, 63)
        merged = _zero_counts()
        np.add.at(merged, (np.arange(-HALF, HALF) >> steps) + HALF, self.counts)
        self.counts, self.exponent = merged, exponent

    def _not_finite(self, flat: NDArray[np.float32], image: str) -> DataError:
        wrong = ~np.isfinite(flat)
        where = f" for image {image}" if image else ""
        return DataError(
            f"{self.tensor}: contains {flat[wrong.argmax()]}{where} ({int(wrong.sum())} of {flat.size} "
            "values are not finite). Remove the image; if others fail, too, look for NaN among the weights"
        )


def _exponent(magnitude: float) -> int:
    """The smallest e with ``magnitude < HALF * 2^e``, at least `_MIN_EXPONENT`."""
    if not magnitude:
        return _MIN_EXPONENT
    return max(math.frexp(magnitude)[1] - (HALF.bit_length() - 1), _MIN_EXPONENT)


@dataclass(frozen=True)
class ChannelStats:
    """Range and mean of each of C channels of one tensor.

    Attributes:
        minimum: Smallest value of each channel.
        maximum: Largest value of each channel.
        total: Sum of each channel's values: float64 sums of the images, added in their order.
        count: Number of values in a channel.

    Raises:
        ValueError: The numbers of channels differ.
    """

    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    total: tuple[float, ...]
    count: int

    def __post_init__(self) -> None:
        lengths = len(self.minimum), len(self.maximum), len(self.total)
        if len(set(lengths)) > 1:
            raise ValueError("channels: {} minima, {} maxima and {} sums".format(*lengths))

    @classmethod
    def of(cls, values: NDArray[Any], axis: int) -> ChannelStats:
        """Statistics of one image's values, with channels along ``axis``."""
        rows = np.ascontiguousarray(np.moveaxis(values, axis, 0)).reshape(values.shape[axis], -1)
        return cls._of(rows.min(axis=1), rows.max(axis=1), rows.sum(axis=1, dtype=np.float64), rows.shape[1])

    def merge(self, later: ChannelStats) -> ChannelStats:
        """Statistics that include those of later images."""
        return self._of(
            np.minimum(self.minimum, later.minimum),
            np.maximum(self.maximum, later.maximum),
            np.add(self.total, later.total),
            self.count + later.count,
        )

    @property
    def mean(self) -> Vector:
        """Mean of each channel, (C,)."""
        return np.array(self.total) / self.count

    @classmethod
    def _of(cls, minimum: Any, maximum: Any, total: Any, count: int) -> ChannelStats:
        return cls(tuple(minimum.tolist()), tuple(maximum.tolist()), tuple(total.tolist()), count)
