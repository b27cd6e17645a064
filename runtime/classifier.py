"""`Classifier`: classifies images with a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.class_scores import ClassScores, class_scores
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import InferenceError, UnsupportedArtifact, UsageError
from cnntk.runtime.image_engine import ImageEngine
from cnntk.runtime.images.reading import ImageSource, Pixels

__all__ = ["Classifier", "Prediction", "Predictions"]

_SHOWN = 5
"""Number of classes that a notebook shows."""

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

    def _repr_html_(self) -> str:
        """The most probable classes, for notebooks."""
        from cnntk.runtime.notebook import predictions_html

        return predictions_html(
            [(p.label, p.probability) for p in self.top(_SHOWN)], len(self.labels) - _SHOWN
        )


class Classifier(ImageEngine):
    """Classifies images with a model and its preprocessing.

    Args:
        model: Path or bytes of an ``.onnx`` file, or an `Engine`.
        device: Device as for `Engine`.
        threads: Threads as for `Engine`.
        preprocessing: Preprocessing from an image to the model's input, for files that do not state it.
        labels: Class labels in the model's order, for files that have only numbers.

    Attributes:
        labels: Class labels in the model's order.
        scores: Output with the scores of the classes.

    Raises:
        UnsupportedArtifact: Nothing states the preprocessing, or the model is not a classifier.
        UsageError: There are not as many labels as classes, or the file has other ones.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Engine,
        device: str = "cpu",
        *,
        threads: int | None = None,
        preprocessing: Preprocessing | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        super().__init__(model, device, threads=threads, preprocessing=preprocessing)
        self.scores = class_scores(self.engine, self.preprocessing)
        self.labels = _labels(self.engine, self.scores, labels)

    def __call__(self, image: ImageSource) -> Predictions:
        """Classifies one image of any form that `read_image` accepts.

        Raises:
            ImageError: The image can't be read.
        """
        return self.classify_pixels([self.read(image)])[0]

    def many(self, images: Sequence[ImageSource]) -> list[Predictions]:
        """Classifies images of any sizes as one batch, in order."""
        return self.classify_pixels([self.read(image) for image in images])

    def classify_pixels(self, images: Sequence[Pixels]) -> list[Predictions]:
        """Classifies pixels from `read` of any sizes, in as few batches as their sizes allow."""
        if self.takes_images and not self.takes_one_size and len(images) == 1:
            return self.classify_prepared(images)
        return self.classify_prepared([self.prepare(image) for image in images])

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
        outputs = self.run_batch(self.batch(images))
        probabilities, logits = self.scores.probabilities(outputs), self.scores.logits(outputs)
        # The shape that a graph declares of an output is only a claim.
        if probabilities.shape != (len(images), len(self.labels)):
            raise InferenceError(
                f"{self.engine.name}: returned probabilities of shape {list(probabilities.shape)}, expected "
                f"{[len(images), len(self.labels)]}; export the model again"
            )
        if logits is None or logits.shape != probabilities.shape:
            return [Predictions(self.labels, row) for row in probabilities]
        return [Predictions(self.labels, *rows) for rows in zip(probabilities, logits, strict=True)]


def _labels(engine: Engine, scores: ClassScores, stated: Sequence[str] | None) -> tuple[str, ...]:
    """Labels that the file or, where it has only numbers, the caller states."""
    labels = (engine.spec.labels if engine.spec is not None else ()) or _numbers(engine, scores)
    if stated is None or tuple(stated) == labels:
        return labels
    if labels != tuple(map(str, range(len(labels)))):
        names = ", ".join(map(repr, labels[:3]))
        raise UsageError(
            f"{engine.name}: states its own labels ({names}, ...), others than the stated ones; leave out "
            "--labels, or export the model again with it"
        )
    if len(stated) != len(labels):
        raise UsageError(f"--labels: {len(stated)} labels, but {engine.name} has {len(labels)} classes")
    return tuple(stated)


def _numbers(engine: Engine, scores: ClassScores) -> tuple[str, ...]:
    """Labels of classes without names: their numbers."""
    if not 0 < scores.classes <= _MAX_NUMBERS:
        raise UnsupportedArtifact(f"{engine.name}: has no labels, and no number of classes; use Engine")
    return tuple(map(str, range(scores.classes)))
