"""The usual mistakes of preprocessing, as changes of what a spec says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Interpolation, Invert, Preprocessing, Resize
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.preprocess import luma, resize_and_crop

__all__ = ["Variant", "variants_of"]

Array = NDArray[Any]

_BYTE = 1 / 255
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MNIST = (0.1307,), (0.3081,)
_CAFFE = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Variant:
    """A way to prepare images that a network may have been trained with.

    Attributes:
        name: short.
        change: what the network then was trained on, to go behind "trained on".
        preprocessing: of that network.
        before: what is done to a decoded image before, which no field of `Preprocessing` says.
        behind: the same, to levels (height, width, C).
    """

    name: str
    change: str
    preprocessing: Preprocessing
    before: Callable[[Pixels], Pixels] | None = None
    behind: Callable[[Array], Array] | None = None

    def options(self, p: Preprocessing) -> tuple[str, ...]:
        """Of ``--preprocessing``, that make this of ``p``; none where no field says it."""
        if self.before or self.behind:
            return ()
        pairs = ((f.name, getattr(self.preprocessing, f.name)) for f in fields(p))
        return tuple(f"{name}={_text(value)}" for name, value in pairs if value != getattr(p, name))

    @property
    def pixels(self) -> tuple[Any, ...]:
        """The same for two where they make the same levels."""
        return _without_range(self.preprocessing), self.before, self.behind

    def levels(self, image: Pixels) -> Array:
        """A decoded image's levels (height, width, C), before they are scaled."""
        found = resize_and_crop(image if self.before is None else self.before(image), self.preprocessing)
        return found if self.behind is None else self.behind(found)


def variants_of(p: Preprocessing) -> tuple[Variant, ...]:
    """What may have been meant instead of ``p``; nothing twice, and nothing that is ``p``."""
    spec = Variant("spec", "", p)
    found = {_key(spec): spec}
    for part in (_colors, _ranges, _sizes, _filters, _inversions):
        for mistake in part(p):
            found.setdefault(_key(mistake), mistake)
    return tuple(found.values())[1:]


def _key(mistake: Variant) -> tuple[Any, ...]:
    """The same for two with one result: of the range, ``scale / std`` and ``mean / std`` matter."""
    p = mistake.preprocessing
    factors = tuple(f"{p.scale / s:.7g} {m / s:.7g}" for m, s in zip(p.mean, p.std, strict=True))
    return *mistake.pixels, factors


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
        yield Variant(
            "reshaped", "pixels reshaped to planes where they are to be transposed", p, behind=_reshaped
        )


def _ranges(p: Preprocessing) -> Iterator[Variant]:
    c = p.channels
    none, one = (0.0,) * c, (1.0,) * c
    yield Variant("no /255", "levels not divided by 255", replace(p, scale=1.0))
    yield Variant("/255", "levels divided by 255 once", replace(p, scale=_BYTE))
    yield Variant("twice /255", "levels divided by 255 twice", replace(p, scale=1 / 65025))
    yield Variant("0..1", "0..1, no mean and std", replace(p, scale=_BYTE, mean=none, std=one))
    yield Variant("0..255", "0..255, no mean and std", replace(p, scale=1.0, mean=none, std=one))
    half = (0.5,) * c
    yield Variant("0.5/0.5", "-1..1, mean and std 0.5", replace(p, scale=_BYTE, mean=half, std=half))
    if c == 1:
        yield Variant("MNIST", "MNIST's mean and std", replace(p, scale=_BYTE, mean=_MNIST[0], std=_MNIST[1]))
        return
    mean, std = (v[::-1] if p.color == "bgr" else v for v in _IMAGENET)
    yield Variant("ImageNet", "ImageNet's mean and std", replace(p, scale=_BYTE, mean=mean, std=std))
    caffe = replace(p, color="bgr", scale=1.0, mean=_CAFFE, std=one)
    yield Variant("Caffe", "BGR, 0..255, less Caffe's mean", caffe)


def _sizes(p: Preprocessing) -> Iterator[Variant]:
    ways: tuple[tuple[Resize, float, str, str], ...] = (
        ("stretch", p.crop_ratio, "stretch", "images stretched to the size"),
        ("shortest", 1.0, "crop", "the center of images whose shorter side fills the size"),
        ("shortest", 0.875, "crop 0.875", "the center of images, cropped to 0.875"),
        ("longest", p.crop_ratio, "letterbox", "whole images padded with black"),
    )
    for resize, ratio, name, change in ways:
        if resize != p.resize or ratio != p.crop_ratio:
            yield Variant(name, change, replace(p, resize=resize, crop_ratio=ratio))


def _filters(p: Preprocessing) -> Iterator[Variant]:
    kinds: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic")
    for kind in kinds:
        if kind != p.interpolation:
            yield Variant(kind, f"images resized by {kind}", replace(p, interpolation=kind))
    if p.interpolation in ("bilinear", "bicubic"):
        name, change = ("no antialias", "without") if p.antialias else ("antialias", "with")
        yield Variant(name, f"images resized {change} antialias", replace(p, antialias=not p.antialias))


def _inversions(p: Preprocessing) -> Iterator[Variant]:
    ways: tuple[tuple[Invert, str, str], ...] = (
        ("always", "inverted", "inverted colors"),
        ("never", "not inverted", "colors as they are"),
        ("light-background", "dark ground", "dark backgrounds, light ones inverted"),
    )
    for invert, name, change in ways:
        if invert != p.invert:
            yield Variant(name, change, replace(p, invert=invert))


def _gray(image: Pixels) -> Pixels:
    return luma(image) if image.shape[2] == 3 else image


def _transposed(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image.transpose(1, 0, 2))


def _reshaped(levels: Array) -> Array:
    """The bytes of (height, width, C) read as (C, height, width)."""
    height, width, channels = levels.shape
    planes = np.ascontiguousarray(levels).reshape(channels, height, width)
    return planes.transpose(1, 2, 0)


def _text(value: object) -> str:
    """As ``--preprocessing`` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        whole = next((n for n in (255, 65025) if value == 1 / n), None)
        return f"1/{whole}" if whole else f"{value!r}".removesuffix(".0")
    return str(value)
