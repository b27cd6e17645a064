"""Batches of model inputs from decoded images, preprocessed exactly as `Classifier` does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.data.calibration import CalibrationImage
from cnntk.runtime.artifact.spec import IMAGE_INPUT, ModelSpec, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.preprocess import luma, normalize, resize_and_crop
from cnntk.runtime.preprocessing.resizing import shrink, shrinkable

__all__ = ["BATCH", "Batch", "batches_of"]

BATCH = 8


@dataclass(frozen=True, eq=False)
class Batch:
    """Images as inputs of a graph.

    Attributes:
        inputs: Arrays (n, ...) by input name.
        names: Name of each image, n.
        labels: Class index of each image, n; None if unknown.
    """

    inputs: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    labels: tuple[int | None, ...]

    def __len__(self) -> int:
        return len(self.names)


def batches_of(
    model: Engine | ModelSpec, images: Iterable[CalibrationImage], batch: int = BATCH
) -> Iterator[Batch]:
    """Turns images into inputs of a model, bit for bit as `Classifier` does.

    Images stay in order and are drawn lazily. If the graph resizes images of several sizes itself, a batch
    ends where the size changes.

    Args:
        model: Engine or spec of an artifact.
        images: Images of any size.
        batch: Maximum number of images in a batch, at least 1.

    Raises:
        UnsupportedArtifact: The model has no preprocessing.
        ValueError: ``batch`` is less than 1.
    """
    spec = model.spec if isinstance(model, Engine) else model
    if batch < 1:
        raise ValueError(f"batch: expected at least 1, got {batch}")
    if spec is None or spec.preprocessing is None:
        raise UnsupportedArtifact(
            f"{model.name}: has no preprocessing, so images can't become its input; pass arrays as Batch"
        )
    return _batches(spec, spec.preprocessing, images, batch)


def _batches(
    spec: ModelSpec, p: Preprocessing, images: Iterable[CalibrationImage], batch: int
) -> Iterator[Batch]:
    in_graph = spec.inputs[0].name == IMAGE_INPUT and spec.inputs[0].dtype == "uint8"
    waiting: list[CalibrationImage] = []
    for image in images:
        fitted = CalibrationImage(_fit(image.pixels, p, in_graph), image.name, image.label)
        if waiting and (len(waiting) == batch or waiting[0].pixels.shape != fitted.pixels.shape):
            yield _stack(waiting, spec, p, in_graph)
            waiting = []
        waiting.append(fitted)
    if waiting:
        yield _stack(waiting, spec, p, in_graph)


def _fit(pixels: Pixels, p: Preprocessing, in_graph: bool) -> Pixels:
    if p.color == "gray" and pixels.shape[2] == 3:
        pixels = luma(pixels)
    if not in_graph:
        return resize_and_crop(pixels, p)
    return shrink(pixels, p) if shrinkable(p) else pixels


def _stack(images: Sequence[CalibrationImage], spec: ModelSpec, p: Preprocessing, in_graph: bool) -> Batch:
    first = spec.inputs[0]
    pixels: NDArray[Any] = np.stack([image.pixels for image in images])
    array = pixels if in_graph else normalize(pixels, p).astype(first.dtype, copy=False)
    if in_graph and first.shape[-1] == 3 and array.shape[-1] == 1:  # an input with fixed sizes
        array = np.repeat(array, 3, axis=-1)
    return Batch({first.name: array}, tuple(i.name for i in images), tuple(i.label for i in images))
