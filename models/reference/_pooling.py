"""Pooling: the maximum or mean of each window of a sliding grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnntk.models.reference._windows import padded, windows
from cnntk.models.reference.shapes import Pair, pair

# What padding counts as: it never wins a maximum, and it lowers a mean (torch's count_include_pad=True).
_MODES: dict[str, tuple[Callable[..., Any], float]] = {"max": (np.max, -np.inf), "mean": (np.mean, 0.0)}


def pool2d(
    x: NDArray[Any],
    size: Pair,
    mode: Literal["max", "mean"] = "max",
    stride: Pair | None = None,
    padding: Pair = 0,
) -> NDArray[Any]:
    """Returns the maximum or mean of each window.

    Args:
        x: Array (..., H, W).
        size: Size of the window, one number or (height, width), as the two below.
        mode: Reduction of a window.
        stride: Step between windows; ``size`` where it is None, so that windows touch and don't overlap.
        padding: Padding, at most half of ``size``, so that no window contains padding only.

    Returns:
        Array (..., H', W'), each by `output_size`; floating point, integers become float64.

    Raises:
        ValueError: The mode is unknown, the padding too large, or no window fits.
    """
    if mode not in _MODES:
        raise ValueError(f"mode={mode!r} must be one of {', '.join(map(repr, _MODES))}")
    if any(2 * p > k for p, k in zip(pair(padding), pair(size), strict=True)):
        raise ValueError(f"padding={padding} is more than half of size={size}")
    reduce, filler = _MODES[mode]
    real = np.asarray(x, dtype=np.result_type(x, np.float32))  # integers have no -inf to pad with
    views = windows(padded(real, padding, filler), size, size if stride is None else stride)
    return np.asarray(reduce(views, axis=(-2, -1)))
