"""`Channels`: the range and mean of each channel, for equalization and bias correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Channels"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Channels:
    """What the channels of one tensor hold.

    Attributes:
        minimum: (C,).
        maximum: (C,).
        total: the sum of all values, (C,): of float64 sums, one an image, added in their order.
        count: values a channel.
    """

    minimum: Vector
    maximum: Vector
    total: Vector
    count: int

    @classmethod
    def of(cls, values: NDArray[Any], axis: int) -> Channels:
        """Of one image's values, whose channels lie along ``axis``."""
        rows = np.ascontiguousarray(np.moveaxis(values, axis, 0)).reshape(values.shape[axis], -1)
        least, most = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        return cls(least, most, rows.sum(axis=1, dtype=np.float64), rows.shape[1])

    def and_then(self, other: Channels) -> Channels:
        """With the values of later images."""
        return Channels(
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.total + other.total,
            self.count + other.count,
        )

    @property
    def mean(self) -> Vector:
        """(C,)."""
        return self.total / self.count

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "minimum": self.minimum.tolist(),
            "maximum": self.maximum.tolist(),
            "total": self.total.tolist(),
            "count": self.count,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Channels:
        """Reads what `to_json` gave.

        Raises:
            KeyError: a field is missing.
            TypeError: a field is of another type.
            ValueError: a field is no list of numbers, or they differ in length.
        """
        least, most, total = (
            np.array(data[k], dtype=np.float64).reshape(-1) for k in ("minimum", "maximum", "total")
        )
        if not least.shape == most.shape == total.shape:
            raise ValueError(f"channels: {len(least)} minima, {len(most)} maxima and {len(total)} sums")
        return cls(least, most, total, int(data["count"]))
