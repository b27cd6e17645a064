"""`classify_images`: what a model makes of each labeled image, reduced to what scores need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.classification import label_ranks
from cnntk.benchmark.statistics.paired_tests import FLOOR
from cnntk.data.labeled import LabeledImages, class_indices
from cnntk.evaluation.options import EvaluateOptions
from cnntk.inference.pipeline import infer
from cnntk.runtime.classifier import Classifier, Predictions
from cnntk.runtime.errors import DataError, InferenceError

__all__ = ["Outcomes", "classify_images"]

_ROWS = 256
_NOTES = 10


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a model makes of each image; images that can't be read are left out.

    Attributes:
        indices: Position of each image in the data, int64 (N,).
        labels: Class of each image in the model's order, int64 (N,).
        predicted: Class that is predicted first, int64 (N,).
        ranks: Rank of the label among the probabilities, 0 for the largest, int64 (N,).
        confidence: Probability of the predicted class, (N,).
        label_probability: Probability of the label, (N,).
        logits: Logits, float32 (N, K), where they were requested; else None.
        unreadable: Errors of the images that can't be read, a line each.
        notes: Remarks of the decoder.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    ranks: NDArray[np.int64]
    confidence: NDArray[np.float64]
    label_probability: NDArray[np.float64]
    logits: NDArray[np.float32] | None
    unreadable: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image is classified correctly, (N,)."""
        return np.asarray(self.ranks == 0)

    @property
    def losses(self) -> NDArray[np.float64]:
        """Cross-entropy of each image in nats, at most that of the smallest normal float32, (N,)."""
        return -np.maximum(np.log(np.maximum(self.label_probability, 1e-300)), FLOOR)


def classify_images(
    classifier: Classifier,
    images: LabeledImages,
    options: EvaluateOptions,
    on_images: Callable[[int], None] = lambda _: None,
    with_logits: bool = False,
) -> Outcomes:
    """Classifies all images, and stores what the scores need, not all probabilities.

    Raises:
        DataError: A class is none of the model's labels, or no image can be read.
        InferenceError: A probability is not finite.
    """
    name = classifier.engine.name
    columns = np.array(class_indices(images.classes, classifier.labels, options.data, name), dtype=np.int64)
    collector = _Collector(columns[images.labels], with_logits)
    results = infer(classifier, images, device=options.device, threads=options.threads, batch=options.batch)
    for position, result in enumerate(results):
        if result.predictions is None:
            collector.unreadable.append(str(result.error))
        else:
            collector.add(position, result.file, result.predictions)
        collector.note(result.file, result.notes)
        on_images(position + 1)
    if not collector.positions:
        raise DataError(f"{options.data}: none of its images can be read; {collector.unreadable[0]}")
    return collector.outcomes()


class _Collector:
    """Collects results, and reduces them to outcomes a few hundred at a time.

    Attributes:
        positions: Position of each image that was classified.
        unreadable: Errors of the others.
    """

    def __init__(self, labels: NDArray[np.int64], with_logits: bool) -> None:
        self.positions: list[int] = []
        self.unreadable: list[str] = []
        self._labels, self._with_logits = labels, with_logits
        self._waiting: list[NDArray[np.float32]] = []
        self._logits: list[NDArray[np.float32]] = []
        self._columns: list[tuple[NDArray[Any], ...]] = []
        self._notes: list[str] = []

    def add(self, position: int, file: str, predictions: Predictions) -> None:
        """Adds the result of an image."""
        if not np.isfinite(predictions.probabilities).all():
            raise InferenceError(f"{file}: the model's probabilities are not finite; leave the image out")
        self.positions.append(position)
        self._waiting.append(predictions.probabilities)
        if self._with_logits and predictions.logits is not None:
            self._logits.append(predictions.logits)
        if len(self._waiting) == _ROWS:
            self._reduce()

    def note(self, file: str, notes: Sequence[str]) -> None:
        """Adds remarks on an image."""
        if notes:
            self._notes.append(f"{file}: {', '.join(notes)}")

    def outcomes(self) -> Outcomes:
        """The outcomes of all images."""
        self._reduce()
        predicted, ranks, confidence, probability = (
            np.concatenate(column) for column in zip(*self._columns, strict=True)
        )
        indices = np.array(self.positions, dtype=np.int64)
        complete = bool(self._logits) and len(self._logits) == len(indices)
        more = len(self._notes) - _NOTES
        return Outcomes(
            indices,
            self._labels[indices],
            predicted,
            ranks,
            confidence,
            probability,
            np.stack(self._logits) if complete else None,
            tuple(self.unreadable),
            (*self._notes[:_NOTES], *([f"{more:,} more images have such notes"] if more > 0 else [])),
        )

    def _reduce(self) -> None:
        if not self._waiting:
            return
        rows = np.stack(self._waiting)
        labels = self._labels[self.positions[-len(rows) :]]
        predicted = rows.argmax(axis=1)
        each = np.arange(len(rows))
        probabilities = (rows[each, columns].astype(np.float64) for columns in (predicted, labels))
        self._columns.append((predicted, label_ranks(rows, labels), *probabilities))
        self._waiting.clear()
