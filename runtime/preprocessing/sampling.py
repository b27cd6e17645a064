"""Resizing by Pillow's filters, and by sampling at points, which Pillow lacks or leaves to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["resize_filtered", "resize_interpolated", "resize_nearest"]

_A = -0.75
"""Coefficient of the cubic convolution kernel (Keys 1981), as in OpenCV and torch; -0.5 is Pillow's."""


def resize_filtered(image: NDArray[Any], size: tuple[int, int], interpolation: str) -> NDArray[Any]:
    """Resizes uint8 or float32 (H, W, C) with Pillow's filter ``bilinear``, ``bicubic`` or ``lanczos``.

    The width is resized first, by a separate call: Pillow 13 begins with the height if that shrinks more, and
    earlier versions never do, which changes values by up to 20 if a bicubic filter overshoots.
    """
    if image.shape[2] == 1 or image.dtype != np.uint8:
        planes = [_plane(image[:, :, c], size, interpolation) for c in range(image.shape[2])]
        return np.stack(planes, axis=2)
    return _plane(image, size, interpolation)


def _plane(pixels: NDArray[Any], size: tuple[int, int], interpolation: str) -> NDArray[Any]:
    image, resample = Image.fromarray(np.ascontiguousarray(pixels)), Image.Resampling[interpolation.upper()]
    return np.asarray(image.resize((size[1], image.height), resample).resize((size[1], size[0]), resample))


def resize_nearest(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Takes pixel ``floor((2 d + 1) * n / (2 * m))`` of n for each pixel d of m, along both axes.

    Pillow accumulates the same positions in floating point, where rounding decides between two pixels if a
    position is an integer (8 to 28 pixels, for example). The integers here are the same everywhere.
    """
    rows, columns = (
        (2 * np.arange(m) + 1) * n // (2 * m) for n, m in zip(image.shape[:2], size, strict=True)
    )
    return np.asarray(image[rows[:, None], columns])


def resize_interpolated(image: NDArray[Any], size: tuple[int, int], *, cubic: bool) -> NDArray[np.float32]:
    """Interpolates linearly or cubically between the 2 or 4 nearest pixels along each axis.

    Pixel d of m is at ``(d + 0.5) * n / m - 0.5`` of n; edge pixels are repeated outwards. This equals
    ``cv2.resize`` with INTER_LINEAR or INTER_CUBIC and torch's ``F.interpolate(antialias=False)``.

    Args:
        image: Pixels (H, W, C).
        size: Height and width of the result.
        cubic: Whether to interpolate cubically between 4 pixels instead of linearly between 2.

    Returns:
        Pixel values, float32 (height, width, C), neither rounded nor clipped.
    """
    rows, weights = _taps(image.shape[0], size[0], cubic)
    tall = sum(image[r].astype(np.float32) * w[:, None, None] for r, w in zip(rows, weights, strict=True))
    columns, weights = _taps(image.shape[1], size[1], cubic)
    resized: NDArray[np.float32] = sum(tall[:, c] * w[:, None] for c, w in zip(columns, weights, strict=True))
    return resized


def _taps(size: int, resized: int, cubic: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns indices and weights of the pixels, each (2, resized) or (4, resized)."""
    position = (np.arange(resized) + 0.5) * size / resized - 0.5
    first = np.floor(position)
    t = position - first
    offsets = np.arange(-1, 3) if cubic else np.arange(2)
    pixels = np.clip(first.astype(np.int64) + offsets[:, None], 0, size - 1)
    weights = [_cubic(np.abs(t - k)) for k in offsets] if cubic else [1 - t, t]
    return pixels, np.array(weights, dtype=np.float32)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, far)
