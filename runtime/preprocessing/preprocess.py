"""From decoded images to the network's input, on the host: the steps of `Preprocessing`, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.sampling import resize_interpolated, resize_nearest

__all__ = ["LIGHT_MARGIN", "luma", "normalize", "preprocess", "resize_and_crop"]

Array = NDArray[Any]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# ITU-R BT.601 luma in 16-bit fixed point, as Pillow converts RGB to L.
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)

LIGHT_MARGIN = 0.25
"""A background is light where the outermost pixels' levels less 127.5 sum to more than this. For whole levels
that is a mean above 127.5; for others it keeps rounding from deciding where the mean is 127.5."""


def preprocess(images: list[Pixels], p: Preprocessing) -> NDArray[np.float32]:
    """Images of any sizes to one batch: float32 (N, C, height, width), or (N, height, width, C)."""
    if len(images) == 1:
        return normalize(resize_and_crop(images[0], p)[None], p)
    return normalize(np.stack([resize_and_crop(image, p) for image in images]), p)


def resize_and_crop(image: Pixels, p: Preprocessing) -> Array:
    """Color, resize, crop, inversion and padding.

    Args:
        image: uint8 (H, W, 3) RGB or (H, W, 1) gray, at least 1x1.
        p: what to do.

    Returns:
        Levels, 0 to 255, in the type that ``p.levels`` says: (height, width, C) in the network's channel
        order. It may share the image's memory.
    """
    if p.color == "gray" and image.shape[2] == 3:
        image = luma(image)
    levels = _resize(image, p.resized_size(*image.shape[:2]), p)
    if p.resize == "shortest":
        levels = _center(levels, p)
    levels = _invert(_in_order(levels, p), p)
    return _padded(levels, p) if p.resize == "longest" else levels


def normalize(levels: Array, p: Preprocessing) -> NDArray[np.float32]:
    """``(v * scale - mean) / std``, from levels (N, H, W, C) to float32 in the network's layout."""
    factor = np.array([p.scale / s for s in p.std], dtype=np.float32)
    offset = np.array([-m / s for m, s in zip(p.mean, p.std, strict=True)], dtype=np.float32)
    values = np.ascontiguousarray(levels.transpose(0, 3, 1, 2)).astype(np.float32)
    values *= factor[:, None, None]
    values += offset[:, None, None]
    return values if p.layout == "NCHW" else np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def luma(rgb: Pixels) -> Pixels:
    """uint8 (H, W, 3) to (H, W, 1): ``(19595 R + 38470 G + 7471 B + 32768) >> 16``, as Pillow's ``L``."""
    return ((rgb @ _LUMA + 0x8000) >> 16).astype(np.uint8)[:, :, None]


def _in_order(levels: Array, p: Preprocessing) -> Array:
    """The network's channels; each is resized for itself, so that this costs least on the small image."""
    if levels.shape[2] < p.channels:
        return np.repeat(levels, p.channels, axis=2)
    return levels[:, :, ::-1] if p.color == "bgr" else levels


def _resize(image: Pixels, size: tuple[int, int], p: Preprocessing) -> Array:
    if image.shape[:2] == size:
        return image if p.levels == "uint8" else image.astype(np.float32)
    if p.interpolation == "nearest":
        return resize_nearest(image, size).astype(p.levels, copy=False)
    if not p.antialias:
        levels = resize_interpolated(image, size, cubic=p.interpolation == "bicubic")
        return levels if p.levels == "float32" else np.rint(levels).clip(0, 255).astype(np.uint8)
    if p.levels == "float32":
        planes = [_filtered(image[:, :, c].astype(np.float32), size, p) for c in range(image.shape[2])]
        return np.stack(planes, axis=2)
    if image.shape[2] == 1:
        return _filtered(image[:, :, 0], size, p)[:, :, None]
    return _filtered(image, size, p)


def _filtered(plane: Array, size: tuple[int, int], p: Preprocessing) -> Array:
    """Pillow's resize of uint8 (H, W) or (H, W, 3), or float32 (H, W).

    The width first, by a call of its own: left to itself Pillow 13 begins with the height where that shrinks
    more, and earlier ones never do, which moves bytes by up to 20 levels where a bicubic overshoots.
    """
    picture, kind = Image.fromarray(np.ascontiguousarray(plane)), _FILTERS[p.interpolation]
    return np.asarray(picture.resize((size[1], picture.height), kind).resize((size[1], size[0]), kind))


def _center(levels: Array, p: Preprocessing) -> Array:
    top, left = p.crop_offset(levels.shape[0] - p.height), p.crop_offset(levels.shape[1] - p.width)
    return levels[top : top + p.height, left : left + p.width]


def _invert(levels: Array, p: Preprocessing) -> Array:
    light = p.invert == "light-background" and _is_light(levels)
    return 255 - levels if light or p.invert == "always" else levels


def _is_light(levels: Array) -> bool:
    """By the outermost pixels, each counted once."""
    middle, below = levels[1:-1], levels[1:]
    edges = (levels[:1], below[-1:], middle[:, :1], middle[:, 1:][:, -1:])
    total = sum(float(edge.sum(dtype=np.float64)) for edge in edges)
    return total - 127.5 * sum(edge.size for edge in edges) > LIGHT_MARGIN


def _padded(levels: Array, p: Preprocessing) -> Array:
    """Black on both sides; where one is wider by a pixel, it is the lower or right one."""
    height, width, channels = levels.shape
    if (height, width) == (p.height, p.width):
        return levels
    canvas = np.zeros((p.height, p.width, channels), dtype=levels.dtype)
    top, left = (p.height - height) // 2, (p.width - width) // 2
    canvas[top : top + height, left : left + width] = levels
    return canvas
