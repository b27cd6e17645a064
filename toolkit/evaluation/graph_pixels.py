"""Does a graph make of images the pixels that its spec states? Compared with those of the host."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnntk.evaluation.network_input import NoNetwork, normalization_input
from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import ArtifactError
from cnntk.runtime.images.reading import Pixels, luma
from cnntk.runtime.preprocessing.limits import ROUNDING, pixel_limit
from cnntk.runtime.preprocessing.preprocess import fit, resize_and_crop
from cnntk.runtime.sections import error_text

__all__ = ["GraphPixels", "PixelComparison", "joined"]

_MIDDLE = 127.5


@dataclass(frozen=True)
class PixelComparison:
    """How far the pixels of a graph are from those of the host, behind resize, crop and inversion.

    Attributes:
        images: Number of images that were compared.
        max_difference: Largest difference in pixel values, 0 to 255; of images beyond their limit if any.
        mean_difference: Mean of the images' mean differences in pixel values.
        limit: Largest limit of an image, which depends on its size; of `worst` if that is beyond its limit.
        worst: Image of the largest difference.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("holds", "verdict")

    images: int
    max_difference: float
    mean_difference: float
    limit: float
    worst: str

    @property
    def holds(self) -> bool:
        """Whether each image is within its limit."""
        return self.max_difference <= self.limit + ROUNDING

    @property
    def verdict(self) -> str:
        """The difference in a line."""
        limit, largest = f"limit {error_text(self.limit)} of 255", error_text(self.max_difference)
        if not self.holds:
            return (
                f"the graph's pixels differ from the host's by {largest} on {self.worst} ({limit}): the "
                "graph does not do what the spec says, or not on this device"
            )
        if self.max_difference == 0:
            return f"the graph's pixels equal the host's to the bit on {self.images:,} images ({limit})"
        mean = error_text(self.mean_difference)
        return (
            f"the graph's pixels differ from the host's by at most {largest} ({limit}), mean {mean}, on "
            f"{self.images:,} images"
        )


class GraphPixels:
    """The preprocessing nodes of a model whose graph takes images.

    Args:
        model: Path of the model.
        p: Preprocessing in the model's spec.
        device: Device as for `Engine`.

    Raises:
        ImportError: onnx is missing.
        NoNetwork: The preprocessing can't be extracted from the graph.
    """

    def __init__(self, model: str | os.PathLike[str], p: Preprocessing, device: str = "cpu") -> None:
        self._p = p
        try:
            self._nodes = Engine(_preprocessing_nodes(model), device)
        except ArtifactError as error:
            raise NoNetwork(str(error)) from error
        self._takes_one_size = isinstance(self._nodes.inputs[0].shape[1], int)

    def compare(self, image: Pixels, name: str) -> PixelComparison:
        """Compares the graph's pixels of a decoded image with the host's."""
        p = self._p
        pixels = luma(image) if p.color == "gray" and image.shape[2] == 3 else image
        prepared = fit(pixels, p) if self._takes_one_size else pixels
        (actual,) = self._nodes.run({IMAGE_INPUT: prepared[None]}).values()
        size = (image.shape[0], image.shape[1])
        limit = pixel_limit(size, p, exact=p.resize_form == "exact") - ROUNDING
        planes = p.layout == "NCHW" and actual.dtype != np.uint8  # integer networks read images as they are
        expected = _expected(image, p, either=limit > 0)
        differences = [np.abs(actual[0] - (e.transpose(2, 0, 1) if planes else e)) for e in expected]
        nearest = min(differences, key=lambda d: float(d.max()))
        return PixelComparison(1, float(nearest.max()), float(nearest.mean()), limit, name)


def joined(comparisons: list[PixelComparison]) -> PixelComparison | None:
    """The comparisons of single images as one; None without any."""
    if not comparisons:
        return None
    beyond = [c for c in comparisons if not c.holds]
    worst = max(beyond or comparisons, key=lambda c: (c.max_difference, c.worst))
    limit = worst.limit if beyond else max(c.limit for c in comparisons)
    mean = float(np.mean([c.mean_difference for c in comparisons]))
    return replace(worst, images=len(comparisons), mean_difference=mean, limit=limit)


def _expected(image: Pixels, p: Preprocessing, *, either: bool) -> list[NDArray[Any]]:
    """Values (height, width, C) in front of the graph's normalization.

    Where rounding may decide about an inversion, both are right.
    """
    either = either and p.invert == "light-background"
    variants = (replace(p, invert="never"), replace(p, invert="always")) if either else (p,)
    values = [resize_and_crop(image, variant).astype(np.float32) for variant in variants]
    if p.invert == "always":
        values = [255 - value for value in values]
    elif p.invert == "light-background":
        values = [value - _MIDDLE for value in values]
    return values


def _preprocessing_nodes(model: str | os.PathLike[str]) -> bytes:
    """The part of the graph before the normalization, as a model."""
    import onnx_ir as ir

    from cnntk.exporters.session import extract_model

    loaded = ir.load(model)
    pixels = normalization_input(loaded)
    data: bytes = ir.to_proto(extract_model(loaded, IMAGE_INPUT, str(pixels.name))).SerializeToString()
    return data
