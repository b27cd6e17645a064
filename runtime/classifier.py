"""`Classifier`: images in, predictions out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import IMAGE_INPUT, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact
from cnntk.runtime.images.reading import MAX_MEGAPIXELS, DecodedImage, ImageSource, Pixels, decode_image
from cnntk.runtime.preprocessing.preprocess import luma, normalize, resize_and_crop
from cnntk.runtime.preprocessing.resizing import shrink, shrinkable

__all__ = ["Classifier", "Prediction", "Predictions"]


@dataclass(frozen=True)
class Prediction:
    """A class and its probability, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Predictions:
    """The probabilities of all classes for one image.

    Attributes:
        labels: of the classes, in the model's order.
        probabilities: float32 (K,).
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]

    def top(self, k: int = 1) -> list[Prediction]:
        """The ``k`` most probable classes, best first; ties in class order."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [Prediction(self.labels[i], float(self.probabilities[i])) for i in order]

    @property
    def best(self) -> Prediction:
        """The most probable class."""
        return self.top(1)[0]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.top(len(self.labels)))


class Classifier:
    """Classifies images with an artifact, by the preprocessing that the artifact itself describes.

    Args:
        model: path or bytes of an artifact, or an `Engine`.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.

    Raises:
        UnsupportedArtifact: the file does not say how images become its input, or is no classifier.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Engine,
        device: str = "cpu",
        *,
        threads: int | None = None,
    ) -> None:
        self.engine = model if isinstance(model, Engine) else Engine(model, device, threads=threads)
        self._preprocessing, self.labels = _contract(self.engine)
        self._input = self.engine.inputs[0]
        self._in_graph = self._input.name == IMAGE_INPUT and self._input.dtype == "uint8"

    def __call__(self, image: ImageSource) -> Predictions:
        """Classifies one image, anything that `read_image` takes.

        Raises:
            ImageError: it can't be read.
        """
        return self.classify_pixels([self.read(image)])[0]

    def many(self, images: Sequence[ImageSource]) -> list[Predictions]:
        """Classifies images as one batch, in order; sizes may differ."""
        return self.classify_pixels([self.read(image) for image in images])

    def read(self, image: ImageSource) -> Pixels:
        """The pixels of an image, as `decode` gives them."""
        return self.decode(image).pixels

    def decode(self, image: ImageSource, *, max_megapixels: float = MAX_MEGAPIXELS) -> DecodedImage:
        """The pixels of an image, and what was done to it; gray where the network sees gray.

        Transparency is composed on the background that the artifact names.

        Args:
            image: anything that `read_image` takes.
            max_megapixels: larger ones are refused, before they are decoded.

        Raises:
            ImageError: it can't be read.
        """
        background = self._preprocessing.background
        found = decode_image(image, background=background, max_megapixels=max_megapixels)
        if self._preprocessing.color == "gray" and found.pixels.shape[2] == 3:
            return DecodedImage(luma(found.pixels), found.notes)
        return found

    def classify_pixels(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Classifies decoded images as one batch, as far as they can go together.

        Args:
            images: as `read` gives them: uint8 (H, W, 1) or (H, W, 3), of any sizes.
        """
        if self._in_graph and len(images) == 1:
            return self.classify_prepared(images)
        return self.classify_prepared([self.prepare(image) for image in images])

    def prepare(self, image: Pixels) -> Pixels:
        """What of a decoded image the network looks at, in one size where that is possible.

        It is the part of preprocessing that many threads can do side by side, image by image;
        `classify_prepared` takes the rest. Both together answer what `classify_pixels` does.
        """
        if not self._in_graph:
            return resize_and_crop(image, self._preprocessing)
        return shrink(image, self._preprocessing) if shrinkable(self._preprocessing) else image

    def classify_prepared(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Classifies what `prepare` gave, those of one size as one batch; in order."""
        if len(images) == 1:
            return [Predictions(self.labels, self._probabilities(images)[0])]
        places: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            places.setdefault(image.shape, []).append(i)
        found: dict[int, NDArray[np.float32]] = {}
        for alike in places.values():
            found.update(zip(alike, self._probabilities([images[i] for i in alike]), strict=True))
        return [Predictions(self.labels, found[i]) for i in range(len(images))]

    def _probabilities(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Of all classes, (N, K), for N images of one size."""
        batch: NDArray[Any] = images[0][None] if len(images) == 1 else np.stack(images)
        if not self._in_graph:
            batch = normalize(batch, self._preprocessing).astype(self._input.dtype, copy=False)
        return self.engine.run({self._input.name: batch})["probabilities"]


def _contract(engine: Engine) -> tuple[Preprocessing, tuple[str, ...]]:
    spec = engine.spec
    if spec is None or spec.preprocessing is None:
        raise UnsupportedArtifact(
            f"{engine.name}: does not say how an image becomes its input, so it takes arrays only; use Engine"
        )
    if spec.head != "classifier":
        raise UnsupportedArtifact(f"{engine.name}: is no classifier; use Engine")
    return spec.preprocessing, spec.labels
