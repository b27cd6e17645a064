"""Common mistakes of preprocessing, as variants of the preprocessing in a spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Interpolation, Invert, Preprocessing, Resize
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.choice import IMAGENET, MNIST, field_text
from cnntk.runtime.preprocessing.preprocess import luma, resize_and_crop

__all__ = ["Variant", "variants_of"]

Array = NDArray[Any]

_BYTE = 1 / 255
_CAFFE = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Variant:
    """Preprocessing that a network may have been trained with.

    Attributes:
        name: Short name.
        change: What the network was trained on in that case, as a phrase that follows "trained on".
        preprocessing: Preprocessing of that network.
        before: Function applied to a decoded image before it, where no field of `Preprocessing` says so.
        after: Function applied to the pixel values (height, width, C) after it, where no field says so.
    """

    name: str
    change: str
    preprocessing: Preprocessing
    before: Callable[[Pixels], Pixels] | None = None
    after: Callable[[Array], Array] | None = None

    def options(self, p: Preprocessing) -> tuple[str, ...]:
        """Values of ``--preprocessing`` that turn ``p`` into the variant; empty where no field does."""
        if self.before or self.after:
            return ()
        pairs = ((f.name, getattr(self.preprocessing, f.name)) for f in fields(p))
        return tuple(f"{name}={field_text(value)}" for name, value in pairs if value != getattr(p, name))

    @property
    def pixels_key(self) -> tuple[Any, ...]:
        """Key that is equal for variants with the same pixel values before normalization."""
        return _without_range(self.preprocessing), self.before, self.after

    def pixel_values(self, image: Pixels) -> Array:
        """Pixel values (height, width, C) of a decoded image before normalization."""
        pixels = resize_and_crop(image if self.before is None else self.before(image), self.preprocessing)
        return pixels if self.after is None else self.after(pixels)


def variants_of(p: Preprocessing) -> tuple[Variant, ...]:
    """``p`` itself, called ``spec``, and its variants for the common mistakes, all as the host does them."""
    p = replace(p, resize_form="operator")  # which only graphs obey, and which not all filters have
    spec = Variant("spec", "", p)
    variants = {_key(spec): spec}
    for generate in (_colors, _ranges, _sizes, _filters, _inversions):
        for variant in generate(p):
            variants.setdefault(_key(variant), variant)
    return tuple(variants.values())


def _key(variant: Variant) -> tuple[Any, ...]:
    """Key that is equal for variants with the same result: only ``scale / std`` and ``mean / std`` matter."""
    p = variant.preprocessing
    factors = tuple(f"{p.scale / s:.7g} {m / s:.7g}" for m, s in zip(p.mean, p.std, strict=True))
    return *variant.pixels_key, factors


def _without_range(p: Preprocessing) -> Preprocessing:
    return replace(p, scale=1.0, mean=(0.0,) * p.channels, std=(1.0,) * p.channels)


def _colors(p: Preprocessing) -> Iterator[Variant]:
    if p.color == "rgb":
        yield Variant("BGR", "BGR", replace(p, color="bgr"))
    elif p.color == "bgr":
        yield Variant("RGB", "RGB", replace(p, color="rgb"))
    if p.channels == 3:
        yield Variant("gray", "gray images in three channels", p, before=_gray)
    yield Variant("transposed", "transposed images, height and width swapped", p, before=_transposed)
    if p.channels == 3 and p.layout == "NCHW":
        yield Variant("reshaped", "pixels reshaped to planes instead of transposed", p, after=_reshaped)


def _ranges(p: Preprocessing) -> Iterator[Variant]:
    c = p.channels
    none, one = (0.0,) * c, (1.0,) * c
    yield Variant("no /255", "pixel values not divided by 255", replace(p, scale=1.0))
    yield Variant("/255", "pixel values divided by 255 once", replace(p, scale=_BYTE))
    yield Variant("twice /255", "pixel values divided by 255 twice", replace(p, scale=1 / 65025))
    yield Variant("0..1", "0..1, no mean and std", replace(p, scale=_BYTE, mean=none, std=one))
    yield Variant("0..255", "0..255, no mean and std", replace(p, scale=1.0, mean=none, std=one))
    half = (0.5,) * c
    yield Variant("0.5/0.5", "-1..1, mean and std 0.5", replace(p, scale=_BYTE, mean=half, std=half))
    if c == 1:
        yield Variant("MNIST", "MNIST's mean and std", replace(p, scale=_BYTE, mean=MNIST[0], std=MNIST[1]))
        return
    mean, std = (v[::-1] if p.color == "bgr" else v for v in IMAGENET)
    yield Variant("ImageNet", "ImageNet's mean and std", replace(p, scale=_BYTE, mean=mean, std=std))
    caffe = replace(p, color="bgr", scale=1.0, mean=_CAFFE, std=one)
    yield Variant("Caffe", "BGR, 0..255, less Caffe's mean", caffe)


def _sizes(p: Preprocessing) -> Iterator[Variant]:
    changes: tuple[tuple[Resize, float, str, str], ...] = (
        ("stretch", 1.0, "stretch", "images stretched to the size"),
        ("shortest", 1.0, "crop", "the center of images whose shorter side fills the size"),
        ("shortest", 0.875, "crop 0.875", "the center of images, cropped to 0.875"),
        ("longest", p.crop_ratio, "letterbox", "whole images padded with black"),
    )
    for resize, ratio, name, change in changes:
        if resize != p.resize or ratio != p.crop_ratio:
            yield Variant(name, change, replace(p, resize=resize, crop_ratio=ratio))


def _filters(p: Preprocessing) -> Iterator[Variant]:
    filters: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic")
    for interpolation in filters:
        if interpolation != p.interpolation:
            change = f"images resized by {interpolation}"
            yield Variant(interpolation, change, replace(p, interpolation=interpolation))
    if p.interpolation in ("bilinear", "bicubic"):
        name, preposition = ("no antialias", "without") if p.antialias else ("antialias", "with")
        change = f"images resized {preposition} antialias"
        yield Variant(name, change, replace(p, antialias=not p.antialias))


def _inversions(p: Preprocessing) -> Iterator[Variant]:
    changes: tuple[tuple[Invert, str, str], ...] = (
        ("always", "inverted", "inverted colors"),
        ("never", "not inverted", "colors as they are"),
        ("light-background", "dark ground", "dark backgrounds, light ones inverted"),
    )
    for invert, name, change in changes:
        if invert != p.invert:
            yield Variant(name, change, replace(p, invert=invert))


def _gray(image: Pixels) -> Pixels:
    return luma(image) if image.shape[2] == 3 else image


def _transposed(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image.transpose(1, 0, 2))


def _reshaped(pixels: Array) -> Array:
    """The pixel values of (height, width, C) read as (C, height, width)."""
    height, width, channels = pixels.shape
    planes = np.ascontiguousarray(pixels).reshape(channels, height, width)
    return planes.transpose(1, 2, 0)
