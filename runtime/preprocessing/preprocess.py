"""Preprocessing of decoded images on the host: the steps of `Preprocessing`, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.images.reading import Pixels, luma
from cnntk.runtime.preprocessing.resizing import resize_by_graph, shrink
from cnntk.runtime.preprocessing.sampling import resize_filtered, resize_interpolated, resize_nearest

__all__ = ["LIGHT_MARGIN", "fit", "luma", "normalize", "preprocess", "resize_and_crop"]

Array = NDArray[Any]

LIGHT_MARGIN = 0.25
"""Threshold of a light background: the sum over the outermost pixels of value - 127.5. For integer values
that is a mean above 127.5; for others it prevents a decision by rounding if the mean is 127.5."""


def preprocess(images: list[Pixels], p: Preprocessing) -> NDArray[np.float32]:
    """Preprocesses images of any sizes to a batch, float32 (N, C, height, width) or (N, height, width, C)."""
    if len(images) == 1:
        return normalize(resize_and_crop(images[0], p)[None], p)
    return normalize(np.stack([resize_and_crop(image, p) for image in images]), p)


def resize_and_crop(image: Pixels, p: Preprocessing) -> Array:
    """Converts color, resizes, crops, inverts and pads an image.

    Args:
        image: Pixels, uint8 (H, W, 3) RGB or (H, W, 1) gray, at least 1x1.
        p: Preprocessing of the model.

    Returns:
        Pixel values, 0 to 255, of dtype ``p.levels``, (height, width, C) in the network's channel order. The
        array may share the memory of ``image``.
    """
    if p.color == "gray" and image.shape[2] == 3:
        image = luma(image)
    levels = _resize(image, p.resized_size(*image.shape[:2]), p)
    if p.resize != "longest":
        top, left = p.crop_offset(levels.shape[0] - p.height), p.crop_offset(levels.shape[1] - p.width)
        levels = levels[top : top + p.height, left : left + p.width]
    levels = _invert(_to_channels(levels, p), p)
    return _padded(levels, p) if p.resize == "longest" else levels


def fit(image: Pixels, p: Preprocessing) -> Pixels:
    """Resizes, and pads where ``p`` does, an image for a graph of one size, which does the rest.

    What is padded is black in the network. So where ``light-background`` says so, an image is inverted before
    it is padded: the graph then finds a dark edge, and leaves it as it is.

    Args:
        image: Pixels, uint8 (H, W, 3) RGB or (H, W, 1) gray.
        p: Preprocessing of the model; its levels are uint8.

    Returns:
        Pixels, uint8 ``(*p.fitted_size, p.channels)``.
    """
    if p.color == "gray" and image.shape[2] == 3:
        image = luma(image)
    if p.resize != "longest":
        pixels = shrink(image, p)
    else:
        pixels = resize_by_graph(image, p.resized_size(*image.shape[:2]), p)
        if pixels.shape[:2] != p.fitted_size:
            pixels = _invert(pixels, p)
            padded = _padded(pixels, p)
            pixels = 255 - padded if p.invert == "always" else padded
    return pixels if pixels.shape[2] == p.channels else np.repeat(pixels, p.channels, axis=2)


def normalize(levels: Array, p: Preprocessing) -> NDArray[np.float32]:
    """Computes ``(v * scale - mean) / std`` of values (N, H, W, C), float32 in the network's layout."""
    factor = np.array([p.scale / s for s in p.std], dtype=np.float32)
    offset = np.array([-m / s for m, s in zip(p.mean, p.std, strict=True)], dtype=np.float32)
    values = np.ascontiguousarray(levels.transpose(0, 3, 1, 2)).astype(np.float32)
    values *= factor[:, None, None]
    values += offset[:, None, None]
    return values if p.layout == "NCHW" else np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def _to_channels(levels: Array, p: Preprocessing) -> Array:
    """Returns the network's channels; after the resize, because that is cheaper."""
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
    return resize_filtered(image.astype(p.levels, copy=False), size, p.interpolation)


def _invert(levels: Array, p: Preprocessing) -> Array:
    light = p.invert == "light-background" and _is_light(levels)
    return 255 - levels if light or p.invert == "always" else levels


def _is_light(levels: Array) -> bool:
    """Whether the outermost pixels, each counted once, are light."""
    middle, after_first = levels[1:-1], levels[1:]
    edges = (levels[:1], after_first[-1:], middle[:, :1], middle[:, 1:][:, -1:])
    total = sum(float(edge.sum(dtype=np.float64)) for edge in edges)
    return total - 127.5 * sum(edge.size for edge in edges) > LIGHT_MARGIN


def _padded(levels: Array, p: Preprocessing) -> Array:
    """Pads with black on both sides; an odd pixel goes to the bottom or right."""
    height, width, channels = levels.shape
    if (height, width) == (p.height, p.width):
        return levels
    canvas = np.zeros((p.height, p.width, channels), dtype=levels.dtype)
    top, left = (p.height - height) // 2, (p.width - width) // 2
    canvas[top : top + height, left : left + width] = levels
    return canvas
