"""Resizing by points rather than areas: what Pillow does not have, or leaves to its rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["resize_interpolated", "resize_nearest"]

_A = -0.75
"""Coefficient of the cubic convolution kernel (Keys 1981), as in OpenCV and torch; -0.5 is Pillow's."""


def resize_nearest(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The pixel ``floor((2 d + 1) * n / (2 * m))`` of n for each pixel d of m, along both axes.

    Pillow adds up the same positions in floating point, so that where one is a whole number its rounding
    decides between two pixels (8 to 28, for one); the whole numbers here are the same everywhere.
    """
    rows, columns = (
        (2 * np.arange(m) + 1) * n // (2 * m) for n, m in zip(image.shape[:2], size, strict=True)
    )
    return np.asarray(image[rows[:, None], columns])


def resize_interpolated(image: NDArray[Any], size: tuple[int, int], *, cubic: bool) -> NDArray[np.float32]:
    """Linear or cubic interpolation between the 2 or 4 nearest pixels, along each axis.

    Pixel d of m lies at ``(d + 0.5) * n / m - 0.5`` of n; beyond the edges the outermost pixels go on. It is
    ``cv2.resize`` with INTER_LINEAR or INTER_CUBIC, and torch's ``F.interpolate(antialias=False)``.

    Args:
        image: (H, W, C).
        size: height and width of the result.
        cubic: by 4 pixels, else by 2.

    Returns:
        float32 (height, width, C), neither rounded nor clipped.
    """
    rows, weights = _taps(image.shape[0], size[0], cubic)
    tall = sum(image[r].astype(np.float32) * w[:, None, None] for r, w in zip(rows, weights, strict=True))
    columns, weights = _taps(image.shape[1], size[1], cubic)
    resized: NDArray[np.float32] = sum(tall[:, c] * w[:, None] for c, w in zip(columns, weights, strict=True))
    return resized


def _taps(size: int, resized: int, cubic: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which pixels, and how much of each: (2, resized) or (4, resized)."""
    place = (np.arange(resized) + 0.5) * size / resized - 0.5
    first = np.floor(place)
    t = place - first
    offsets = np.arange(-1, 3) if cubic else np.arange(2)
    pixels = np.clip(first.astype(np.int64) + offsets[:, None], 0, size - 1)
    weights = [_cubic(np.abs(t - k)) for k in offsets] if cubic else [1 - t, t]
    return pixels, np.array(weights, dtype=np.float32)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, far)
