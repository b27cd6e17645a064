"""Whether answers are numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_finite"]


def is_finite(values: NDArray[Any]) -> bool:
    """Whether floating-point ``values`` hold no NaN and no infinity.

    Their scalar product with themselves is finite only if all of them are, and takes half a microsecond for
    ten. It overflows for large finite ones, too; then each is looked at. Of numpy's products this one warns
    of nothing.
    """
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())
