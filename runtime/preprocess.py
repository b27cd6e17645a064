"""From decoded images to the network's input, on the host: the steps of `Preprocessing`, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnntk.runtime.images import Pixels
from cnntk.runtime.spec import Preprocessing

__all__ = ["fit", "normalise", "preprocess"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# ITU-R BT.601 luma in 16-bit fixed point, as Pillow converts RGB to L.
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)


def preprocess(images: list[Pixels], p: Preprocessing) -> NDArray[np.float32]:
    """Images of any sizes to one batch: float32 (N, C, height, width)."""
    return normalise(np.stack([fit(image, p) for image in images]), p)


def fit(image: Pixels, p: Preprocessing) -> Pixels:
    """Colour, inversion, resize and crop.

    Args:
        image: uint8 (H, W, 3) RGB or (H, W, 1) grey, at least 1x1.
        p: what to do.

    Returns:
        uint8 (height, width, C) in the network's channel order.
    """
    image = _invert(_recolor(image, p), p)
    if image.shape[:2] == (p.height, p.width) and p.crop_ratio == 1.0:
        return image
    return {"stretch": _stretch, "shortest": _shortest, "longest": _longest}[p.resize](image, p)


def normalise(pixels: Pixels, p: Preprocessing) -> NDArray[np.float32]:
    """``(v * scale - mean) / std``, from uint8 (N, H, W, C) to float32 (N, C, H, W)."""
    factor = np.array([p.scale / s for s in p.std], dtype=np.float32)
    offset = np.array([-m / s for m, s in zip(p.mean, p.std, strict=True)], dtype=np.float32)
    return np.ascontiguousarray((pixels.astype(np.float32) * factor + offset).transpose(0, 3, 1, 2))


def _recolor(image: Pixels, p: Preprocessing) -> Pixels:
    grey = image.shape[2] == 1
    if p.color == "grey":
        return image if grey else _luma(image)
    if grey:
        return np.repeat(image, 3, axis=2)
    return image[:, :, ::-1] if p.color == "bgr" else image


def _luma(rgb: Pixels) -> Pixels:
    return ((rgb @ _LUMA + 0x8000) >> 16).astype(np.uint8)[:, :, None]


def _invert(image: Pixels, p: Preprocessing) -> Pixels:
    light = p.invert == "light-background" and _border_mean(image) > 127.5
    return 255 - image if light or p.invert == "always" else image


def _border_mean(image: Pixels) -> float:
    """Mean of the outermost pixels, corners counted once."""
    border = np.ones(image.shape[:2], dtype=bool)
    border[1:-1, 1:-1] = False
    return float(image[border].mean())


def _stretch(image: Pixels, p: Preprocessing) -> Pixels:
    return _resize(image, p.height, p.width, p)


def _shortest(image: Pixels, p: Preprocessing) -> Pixels:
    """The shorter side, relative to the target, to ``size / crop_ratio``; then the centre."""
    h, w = image.shape[:2]
    scale = max(p.height / h, p.width / w) / p.crop_ratio
    resized = _resize(image, max(p.height, round(h * scale)), max(p.width, round(w * scale)), p)
    top, left = (resized.shape[0] - p.height) // 2, (resized.shape[1] - p.width) // 2
    return resized[top : top + p.height, left : left + p.width]


def _longest(image: Pixels, p: Preprocessing) -> Pixels:
    """The longer side, relative to the target, to the size; black on both sides of the other."""
    h, w = image.shape[:2]
    scale = min(p.height / h, p.width / w)
    resized = _resize(image, max(1, round(h * scale)), max(1, round(w * scale)), p)
    canvas = np.zeros((p.height, p.width, image.shape[2]), dtype=np.uint8)
    top, left = (p.height - resized.shape[0]) // 2, (p.width - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return canvas


def _resize(image: Pixels, height: int, width: int, p: Preprocessing) -> Pixels:
    if image.shape[:2] == (height, width):
        return image
    plane: Any = image[:, :, 0] if image.shape[2] == 1 else np.ascontiguousarray(image)
    resized = np.asarray(Image.fromarray(plane).resize((width, height), _FILTERS[p.interpolation]))
    return resized[:, :, None] if image.shape[2] == 1 else resized
