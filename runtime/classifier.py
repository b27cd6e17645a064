"""`Classifier`: classifies images with an artifact."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import IMAGE_INPUT
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import InferenceError, UnsupportedArtifact
from cnntk.runtime.images.reading import MAX_MEGAPIXELS, DecodedImage, ImageSource, Pixels, decode_image
from cnntk.runtime.preprocessing.preprocess import normalize, resize_and_crop
from cnntk.runtime.preprocessing.resizing import shrink, shrinkable

__all__ = ["Classifier", "Prediction", "Predictions"]

_MAX_NUMBERS = 1 << 20
"""Limit of classes that get numbers for labels."""


@dataclass(frozen=True)
class Prediction:
    """A class and its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Predictions:
    """The probabilities of all classes for one image.

    Attributes:
        labels: Class labels in the model's order.
        probabilities: Probabilities, float32 (K,).
        logits: Logits, float32 (K,); None where the model returns none.
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32] | None = None

    def top(self, k: int = 1) -> list[Prediction]:
        """Returns the ``k`` most probable classes, best first; ties in class order."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [Prediction(self.labels[i], float(self.probabilities[i])) for i in order]

    @property
    def best(self) -> Prediction:
        """The most probable class."""
        return self.top(1)[0]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.top(len(self.labels)))


class Classifier:
    """Classifies images with an artifact and the preprocessing in its spec.

    Args:
        model: Path or bytes of an artifact, or an `Engine`.
        device: Device as for `Engine`.
        threads: Threads as for `Engine`.

    Attributes:
        engine: Engine that runs the model.
        labels: Class labels in the model's order.

    Raises:
        UnsupportedArtifact: The file has no preprocessing in its spec, or is not a classifier.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Engine,
        device: str = "cpu",
        *,
        threads: int | None = None,
    ) -> None:
        self.engine = model if isinstance(model, Engine) else Engine(model, device, threads=threads)
        spec = self.engine.spec
        if spec is None or spec.preprocessing is None:
            raise UnsupportedArtifact(
                f"{self.engine.name}: has no preprocessing in its spec, so it takes arrays only; use Engine"
            )
        if spec.head != "classifier":
            raise UnsupportedArtifact(f"{self.engine.name}: is not a classifier; use Engine")
        if all(output.name != "probabilities" for output in self.engine.outputs):
            raise UnsupportedArtifact(f"{self.engine.name}: has no output 'probabilities'; use Engine")
        if len(self.engine.inputs) > 1:
            names = ", ".join(each.name for each in self.engine.inputs)
            raise UnsupportedArtifact(f"{self.engine.name}: takes several inputs ({names}); use Engine")
        self._preprocessing, self.labels = spec.preprocessing, spec.labels or _numbers(self.engine)
        self._input = self.engine.inputs[0]
        self._in_graph = self._input.name == IMAGE_INPUT and self._input.dtype == "uint8"

    def __call__(self, image: ImageSource) -> Predictions:
        """Classifies one image of any form that `read_image` accepts.

        Raises:
            ImageError: The image can't be read.
        """
        return self.classify_pixels([self.read(image)])[0]

    def many(self, images: Sequence[ImageSource]) -> list[Predictions]:
        """Classifies images of any sizes as one batch, in order."""
        return self.classify_pixels([self.read(image) for image in images])

    def read(self, image: ImageSource) -> Pixels:
        """Reads the pixels of an image like `decode`."""
        return self.decode(image).pixels

    def decode(self, image: ImageSource, *, max_megapixels: float = MAX_MEGAPIXELS) -> DecodedImage:
        """Reads the pixels of an image like `decode_image`; gray for networks with gray input.

        Transparency is composed on the background in the artifact's spec.
        """
        background = self._preprocessing.background
        gray = self._preprocessing.color == "gray"
        return decode_image(image, background=background, max_megapixels=max_megapixels, gray=gray)

    def classify_pixels(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Classifies pixels from `read` of any sizes, in as few batches as their sizes allow."""
        if self._in_graph and len(images) == 1:
            return self.classify_prepared(images)
        return self.classify_prepared([self.prepare(image) for image in images])

    def prepare(self, image: Pixels) -> Pixels:
        """Resizes and crops a decoded image to what the network uses, of one size if possible.

        This is the part of preprocessing that threads can run in parallel, image by image.
        `classify_prepared` does the rest; both together give the result of `classify_pixels`.
        """
        if not self._in_graph:
            return resize_and_crop(image, self._preprocessing)
        return shrink(image, self._preprocessing) if shrinkable(self._preprocessing) else image

    def classify_prepared(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Classifies images from `prepare`, in order, those of one size as one batch."""
        if len(images) == 1:
            return self._predictions(images)
        indices: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            indices.setdefault(image.shape, []).append(i)
        predictions: dict[int, Predictions] = {}
        for batch in indices.values():
            predictions.update(zip(batch, self._predictions([images[i] for i in batch]), strict=True))
        return [predictions[i] for i in range(len(images))]

    def _predictions(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Classifies images of one size as one batch."""
        batch: NDArray[Any] = images[0][None] if len(images) == 1 else np.stack(images)
        if not self._in_graph:
            batch = normalize(batch, self._preprocessing).astype(self._input.dtype, copy=False)
        # A fixed batch is filled up, and a larger one is run in several.
        run = self.engine.run_many if isinstance(self._input.shape[0], int) else self.engine.run
        outputs = run({self._input.name: batch})
        probabilities, logits = outputs["probabilities"], outputs.get("logits")
        # The shape that a graph declares of an output is only a claim.
        if probabilities.shape != (len(images), len(self.labels)):
            raise InferenceError(
                f"{self.engine.name}: returned probabilities of shape {list(probabilities.shape)}, expected "
                f"{[len(images), len(self.labels)]}; export the model again"
            )
        if logits is None or logits.shape != probabilities.shape:
            return [Predictions(self.labels, row) for row in probabilities]
        return [Predictions(self.labels, *rows) for rows in zip(probabilities, logits, strict=True)]


def _numbers(engine: Engine) -> tuple[str, ...]:
    """Labels of classes without names: their numbers."""
    classes = next(output.shape[-1] for output in engine.outputs if output.name == "probabilities")
    if not isinstance(classes, int) or classes > _MAX_NUMBERS:
        raise UnsupportedArtifact(f"{engine.name}: has no labels, and no number of classes; use Engine")
    return tuple(map(str, range(classes)))
