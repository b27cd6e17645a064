"""`Histogram`: how the values of one tensor are spread, counted in one pass and in fixed memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.errors import DataError

__all__ = ["BINS", "HALF", "Histogram"]

HALF = 2048
"""Bins on either side of zero. The larger side uses at least half of them: four for each level of a byte."""

BINS = 2 * HALF

_LEAST_EXPONENT = -126
"""Of the width; scaling by its inverse stays within float32."""

_CHUNK = 1 << 16
"""Values that are counted at once: their places take 512 KiB, which the cache holds."""


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(BINS, dtype=np.int64)


@dataclass(eq=False)
class Histogram:
    """Counts of a tensor's values, in bins of equal width that lie evenly around zero.

    A value ``v`` is in bin ``floor(v / width) + HALF``. The width is the smallest power of two of which HALF
    exceed every magnitude so far: it doubles, and pairs of bins merge, when a value falls outside. Division
    by a power of two is exact, and ``floor(v / 2w) = floor(floor(v / w) / 2)``, so the counts are those of
    the values alone: neither their order nor how they were split into calls makes a difference.

    Attributes:
        tensor: its name.
        exponent: of the width, to base 2.
        counts: int64 (BINS,).
        minimum: the least value; infinity while there is none.
        maximum: the greatest value; minus infinity while there is none.
        count: how many values there are.
        zeros: how many of them are exactly zero: any scale represents those without an error.
        total: the sum of the calls' sums in float64.
    """

    tensor: str
    exponent: int = _LEAST_EXPONENT
    counts: NDArray[np.int64] = field(default_factory=_no_counts)
    minimum: float = math.inf
    maximum: float = -math.inf
    count: int = 0
    zeros: int = 0
    total: float = 0.0

    def add(self, values: NDArray[Any], image: str = "") -> None:
        """Counts ``values``, of any shape, as float32.

        Args:
            values: of one image, so that ``total`` does not depend on how images were put into batches.
            image: whose they are, for the message.

        Raises:
            DataError: they hold NaN or infinity; the histogram is as it was.
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
            self.counts += np.bincount(self._places(flat[start : start + _CHUNK]), minlength=BINS)
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.count += flat.size
        self.zeros += flat.size - int(np.count_nonzero(flat))
        self.total += float(flat.sum(dtype=np.float64))

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def mean(self) -> float:
        """Of all values."""
        return self.total / self.count

    @property
    def positive(self) -> NDArray[np.int64]:
        """Counts from zero up, (HALF,): bin j has values in [j, j + 1) widths, but for exact zeros."""
        counts = self.counts[HALF:].copy()
        counts[0] -= self.zeros
        return counts

    @property
    def negative(self) -> NDArray[np.int64]:
        """Counts from zero down, (HALF,): bin j has values in [-j - 1, -j) widths."""
        return self.counts[HALF - 1 :: -1].copy()

    def to_json(self) -> dict[str, Any]:
        """As JSON data; empty bins at both ends are left out."""
        used = np.flatnonzero(self.counts)
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, -1)
        return {
            "tensor": self.tensor,
            "exponent": self.exponent,
            "first": first,
            "counts": self.counts[first : last + 1].tolist(),
            "minimum": self.minimum if self.count else None,
            "maximum": self.maximum if self.count else None,
            "zeros": self.zeros,
            "total": self.total,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Histogram:
        """Reads what `to_json` gave.

        Raises:
            KeyError: a field is missing.
            TypeError: a field is of another type.
            ValueError: the counts are negative or leave the bins.
        """
        given = np.array(data["counts"], dtype=np.int64).reshape(-1)
        first, found = int(data["first"]), cls(str(data["tensor"]), int(data["exponent"]))
        if first < 0 or first + given.size > BINS or (given < 0).any():
            raise ValueError(f"{found.tensor}: expected counts of at least 0 in {BINS} bins")
        found.counts[first : first + given.size] = given
        found.count, found.zeros = int(given.sum()), int(data["zeros"])
        if not 0 <= found.zeros <= found.counts[HALF]:
            raise ValueError(f"{found.tensor}: {found.zeros} zeros, {found.counts[HALF]} in their bin")
        found.total = float(data["total"])
        if found.count:
            found.minimum, found.maximum = float(data["minimum"]), float(data["maximum"])
        return found

    def _places(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """The bins of ``values``; exact, as scaling up in float32 and down in float64 loses no digit."""
        if self.exponent > 0:
            scaled = np.floor(values * np.float64(1 / self.width)) + HALF
        else:
            scaled = np.floor(values * np.float32(1 / self.width)) + HALF
        return scaled.astype(np.int64)

    def _widen(self, exponent: int) -> None:
        """Merges bins until their width is 2 to the ``exponent``."""
        if exponent <= self.exponent:
            return
        steps = min(exponent - self.exponent, 63)
        merged = _no_counts()
        np.add.at(merged, (np.arange(-HALF, HALF) >> steps) + HALF, self.counts)
        self.counts, self.exponent = merged, exponent

    def _not_finite(self, flat: NDArray[np.float32], image: str) -> DataError:
        wrong = ~np.isfinite(flat)
        whose = f" for image {image}" if image else ""
        return DataError(
            f"{self.tensor}: holds {flat[wrong.argmax()]}{whose} ({int(wrong.sum())} of {flat.size} values "
            "are not finite). Leave the image out; if others do the same, look for NaN among the weights"
        )


def _exponent(magnitude: float) -> int:
    """The least e with ``magnitude < HALF * 2^e``, from `_LEAST_EXPONENT` on."""
    if not magnitude:
        return _LEAST_EXPONENT
    return max(math.frexp(magnitude)[1] - (HALF.bit_length() - 1), _LEAST_EXPONENT)
