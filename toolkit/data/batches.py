"""From decoded images to what the graph takes, as `Classifier` does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import IMAGE_INPUT, ModelSpec, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact
from cnntk.runtime.images.reading import Pixels
from cnntk.runtime.preprocessing.preprocess import luma, normalize, resize_and_crop
from cnntk.runtime.preprocessing.resizing import shrink, shrinkable

__all__ = ["BATCH", "Batch", "CalibrationImage", "batches_of", "named"]

BATCH = 8


@dataclass(frozen=True, eq=False)
class CalibrationImage:
    """A decoded image.

    Attributes:
        pixels: uint8 (H, W, 3) in RGB order, or (H, W, 1).
        name: for messages: its file, or a number.
        label: its class, as a number; None where that is not known.
    """

    pixels: Pixels
    name: str
    label: int | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Images as a graph takes them.

    Attributes:
        inputs: by name, (n, ...).
        names: of the images, n.
        labels: of the images, n.
    """

    inputs: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    labels: tuple[int | None, ...]

    def __len__(self) -> int:
        return len(self.names)


def named(pixels: Iterable[Pixels], labels: Iterable[int] | None = None) -> Iterator[CalibrationImage]:
    """Arrays as calibration images, called by their numbers from 1 on.

    Args:
        pixels: uint8 (H, W, C) each.
        labels: one for each; ValueError where there are more or fewer.
    """
    if labels is None:
        yield from (CalibrationImage(array, f"number {i}") for i, array in enumerate(pixels, start=1))
        return
    for i, (array, label) in enumerate(zip(pixels, labels, strict=True), start=1):
        yield CalibrationImage(array, f"number {i}", int(label))


def batches_of(
    model: Engine | ModelSpec, images: Iterable[CalibrationImage], batch: int = BATCH
) -> Iterator[Batch]:
    """Images as inputs of a model, to the bit as `Classifier` feeds it with them.

    Images stay in order. Where the graph resizes, and they come in several sizes that can't be made one
    beforehand, a batch ends where the size changes.

    Args:
        model: of an artifact.
        images: of any sizes; they are drawn as they are needed.
        batch: images that go together at most, at least 1.

    Raises:
        UnsupportedArtifact: the file does not say how an image becomes its input.
        ValueError: ``batch`` is under 1.
    """
    spec = model.spec if isinstance(model, Engine) else model
    if batch < 1:
        raise ValueError(f"batch: expected at least 1, got {batch}")
    if spec is None or spec.preprocessing is None:
        raise UnsupportedArtifact(
            f"{model.name}: does not say how an image becomes its input; make batches of arrays yourself"
        )
    return _batches(spec, spec.preprocessing, images, batch)


def _batches(
    spec: ModelSpec, p: Preprocessing, images: Iterable[CalibrationImage], batch: int
) -> Iterator[Batch]:
    in_graph = spec.inputs[0].name == IMAGE_INPUT and spec.inputs[0].dtype == "uint8"
    kept: list[CalibrationImage] = []
    for image in images:
        fitted = CalibrationImage(_fitted(image.pixels, p, in_graph), image.name, image.label)
        if kept and (len(kept) == batch or kept[0].pixels.shape != fitted.pixels.shape):
            yield _stacked(kept, spec, p, in_graph)
            kept = []
        kept.append(fitted)
    if kept:
        yield _stacked(kept, spec, p, in_graph)


def _fitted(pixels: Pixels, p: Preprocessing, in_graph: bool) -> Pixels:
    if p.color == "gray" and pixels.shape[2] == 3:
        pixels = luma(pixels)
    if not in_graph:
        return resize_and_crop(pixels, p)
    return shrink(pixels, p) if shrinkable(p) else pixels


def _stacked(kept: Sequence[CalibrationImage], spec: ModelSpec, p: Preprocessing, in_graph: bool) -> Batch:
    first = spec.inputs[0]
    levels: NDArray[Any] = np.stack([image.pixels for image in kept])
    array = levels if in_graph else normalize(levels, p).astype(first.dtype, copy=False)
    return Batch({first.name: array}, tuple(i.name for i in kept), tuple(i.label for i in kept))
