"""Scores of one model on labeled images, and of two models on the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cnntk.benchmark.statistics.classification import Calibration
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.runtime.codec import NOT_IN_JSON

__all__ = [
    "THUMBNAIL_SIDE",
    "AccuracyVerdict",
    "ClassScore",
    "ConfusedPair",
    "Mistake",
    "ModelScore",
    "PairedComparison",
    "TemperatureFit",
]

AccuracyVerdict = Literal["better", "worse", "no difference"]

THUMBNAIL_SIDE = 96
"""Longest side of a mistake's picture in pixels."""


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class.

    Attributes:
        label: Label of the model.
        images: Number of images of the class.
        predicted: Number of images that are classified as it.
        correct: Number of images of the class that are classified as it.
        recall: Share of its images that are classified as it; None without images.
        precision: Share of the images classified as it that are of it; None where there are none.
    """

    label: str
    images: int
    predicted: int
    correct: int
    recall: Estimate | None
    precision: Estimate | None


@dataclass(frozen=True)
class ConfusedPair:
    """A cell of the confusion matrix: images of one class with one prediction.

    Attributes:
        label: True label.
        predicted: Predicted label.
        images: Number of images, 1 or more.
    """

    label: str
    predicted: str
    images: int


@dataclass(frozen=True)
class Mistake:
    """An image that is classified wrongly.

    Attributes:
        image: Name of the image.
        label: True label.
        predicted: Predicted label.
        confidence: Probability of the predicted label, 0 to 1.
        label_probability: Probability of the true label, 0 to 1.
        thumbnail: Small picture of the image, PNG or JPEG.
        size: Width and height of that picture in pixels.
    """

    image: str
    label: str
    predicted: str
    confidence: float
    label_probability: float
    thumbnail: bytes = field(default=b"", repr=False, metadata=NOT_IN_JSON)
    size: tuple[int, int] = field(default=(0, 0), metadata=NOT_IN_JSON)


@dataclass(frozen=True)
class ModelScore:
    """Scores of one model.

    Attributes:
        model: Path of the model, as it was named.
        name: Name of the model.
        digest: Embedded digest of the file, or its SHA-256.
        images: Number of images.
        correct: Number of images whose label is predicted first.
        top1: Share of those images.
        top5: Share of images whose label is among the first five; None for up to five classes.
        loss: Mean cross-entropy, ``-log`` of the label's probability, in nats.
        calibration: How far confidence and accuracy differ.
        classes: Scores of each class that is in the images or predicted, in the model's order.
        confusion: The whole confusion matrix but for zeros, row by row, with what is classified correctly.
        mistakes: Mistakes with the least probability of the true label, worst first.
    """

    model: str
    name: str
    digest: str
    images: int
    correct: int
    top1: Estimate
    top5: Estimate | None
    loss: Estimate
    calibration: Calibration
    classes: tuple[ClassScore, ...]
    confusion: tuple[ConfusedPair, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def confused_pairs(self) -> tuple[ConfusedPair, ...]:
        """Pairs of different classes, the most frequent first."""
        pairs = [pair for pair in self.confusion if pair.label != pair.predicted]
        return tuple(sorted(pairs, key=lambda pair: -pair.images))


@dataclass(frozen=True)
class PairedComparison:
    """Comparison of a model with the first one on the same images.

    Attributes:
        model: Path of the model.
        other: Path of the model that it is compared with.
        gained: Number of images that only the model classifies correctly.
        lost: Number of images that only the other one classifies correctly.
        difference: Accuracy of the model minus that of the other one, -1 to 1.
        p: Probability of such a difference by chance, by McNemar's exact two-sided test, by Holm for all
            comparisons.
        verdict: ``better`` or ``worse`` where `p` is below 0.05.
    """

    model: str
    other: str
    gained: int
    lost: int
    difference: Estimate
    p: float
    verdict: AccuracyVerdict


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature, ``probabilities = softmax(logits / temperature)``, and what it changes.

    ``ece_after`` and ``loss_after`` are measured on images to which the temperature was not fitted: one half
    of the images with the temperature of the other half, and the reverse.

    Attributes:
        temperature: Temperature with the least loss on all images.
        half_temperatures: Temperatures with the least loss on each half.
        images: Number of images.
        ece_before: ECE without a temperature, 0 to 1.
        ece_after: ECE with it.
        loss_before: Mean cross-entropy without a temperature, in nats.
        loss_after: Mean cross-entropy with it.
        path: File that was written; None where the loss is not lower.
        digest: Embedded digest of that file.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("helps",)

    temperature: float
    half_temperatures: tuple[float, float]
    images: int
    ece_before: float
    ece_after: float
    loss_before: float
    loss_after: float
    path: str | None = None
    digest: str = ""

    @property
    def helps(self) -> bool:
        """Whether the loss is lower on images to which the temperature was not fitted."""
        return self.loss_after < self.loss_before
