"""What quantizing cost: the answers of two models to the same images, compared image by image.

With labels it is the drop in top-1, whose interval rests on the images alone that just one model gets right
(A. Agresti and Y. Min, *Simple improved confidence intervals for comparing matched proportions*, Statistics
in Medicine 24 (2005) 729). Without labels it is how often the answer is another one, and what that is worth
by the original's own probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.intervals import paired_interval
from cnntk.data.batches import Batch
from cnntk.runtime.errors import DataError, InferenceError

__all__ = ["Accuracy", "Answers", "Scores", "answers_of", "compare", "divergence"]

_TOP = 5

Array = NDArray[Any]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answers to some images.

    Attributes:
        logits: float32 (N, K).
        labels: int64 (N,), columns; None where the images have none.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Scores:
    """How often the label is the first answer, and among the first five; in percent.

    ``top5`` is None where there are no more than five classes.
    """

    top1: float
    top5: float | None


@dataclass(frozen=True)
class Accuracy:
    """How a model scores beside the one it was made from.

    Attributes:
        images: how many were compared.
        agreement: percent of them that have the same answer.
        weighted_flips: what the other answers cost by the original's probabilities: the mean over all images
            of ``p(its answer) - p(the other answer)``, in points. Were these the true odds, this is the drop
            in top-1 to be expected; of a flip to the second best answer it is the margin.
        before: of the original; None without labels, as all that follow.
        after: of the other.
        drop: ``before.top1 - after.top1``, in points; below 0 where it gained.
        drop_low: lower end of its 95 % confidence interval.
        drop_high: upper end.
        lost: images that the original alone gets right.
        gained: images that the other alone gets right.
    """

    images: int
    agreement: float
    weighted_flips: float
    before: Scores | None = None
    after: Scores | None = None
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    lost: int | None = None
    gained: int | None = None

    @property
    def cost(self) -> float:
        """What a bound is held against, in points: the drop, and without labels `weighted_flips`."""
        return self.weighted_flips if self.drop is None else self.drop

    def within(self, max_drop: float) -> bool:
        """Whether the cost is at most ``max_drop`` points; NaN never is."""
        return bool(self.cost <= max_drop + 1e-9)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Accuracy:
        """From what `to_json` gave."""
        scores = {k: None if data[k] is None else Scores(**data[k]) for k in ("before", "after")}
        return cls(**{**data, **scores})

    def __str__(self) -> str:
        if self.before is None or self.after is None or self.drop is None:
            return (
                f"agrees on {self.agreement:.2f} % of {self.images:,} images, flips cost "
                f"{self.weighted_flips:.3f} points"
            )
        return (
            f"top-1 {self.before.top1:.2f} -> {self.after.top1:.2f} %, drop {self.drop:.2f} points "
            f"({self.drop_low:.2f} to {self.drop_high:.2f}) on {self.images:,} images"
        )


def answers_of(
    run: Callable[[dict[str, Array]], Mapping[str, Array]],
    batches: Iterable[Batch],
    *,
    output: str = "logits",
    on_images: Callable[[int], None] | None = None,
) -> Answers:
    """Runs a model on images as they come; only its answers are kept.

    Args:
        run: the model, like `Engine.run`.
        batches: of images; either all have labels, or none has.
        output: which of the model's outputs.
        on_images: is told how many images are done.

    Raises:
        DataError: there is no image, or some have labels and others don't.
        InferenceError: the output is missing or no (N, K), or the model failed.
    """
    found: list[NDArray[np.float32]] = []
    labels: list[int | None] = []
    for batch in batches:
        logits = run(batch.inputs).get(output)
        if logits is None or logits.ndim != 2 or len(logits) != len(batch):
            got = "nothing" if logits is None else list(logits.shape)
            raise InferenceError(
                f"{output}: expected [{len(batch)}, classes], got {got}; is it a classifier?"
            )
        found.append(logits.astype(np.float32, copy=False))
        labels += batch.labels
        if on_images is not None:
            on_images(len(labels))
    if not found:
        raise DataError("evaluation: there are no images to compare on; add some")
    known = [label for label in labels if label is not None]
    if known and len(known) != len(labels):
        raise DataError(
            f"evaluation: {len(known)} of {len(labels)} images have a label; give all of them one, or none"
        )
    return Answers(np.concatenate(found), np.array(known, dtype=np.int64) if known else None)


def compare(before: Answers, after: Answers) -> Accuracy:
    """Compares what two models answer to the same images.

    Raises:
        ValueError: they are of other images or classes, or a label is no class.
        InferenceError: an answer is not finite.
    """
    first, second, labels = before.logits, after.logits, before.labels
    if first.shape != second.shape or not len(first):
        raise ValueError(f"logits {list(first.shape)} can't be compared with {list(second.shape)}")
    for name, logits in (("original", first), ("quantized model", second)):
        if not np.isfinite(logits).all():
            raise InferenceError(f"logits of the {name} are not finite; leave out the images that cause it")
    a, b = first.argmax(axis=1), second.argmax(axis=1)
    rows = np.arange(len(first))
    probabilities = _softmax(first)
    margins = probabilities[rows, a] - probabilities[rows, b]
    told = Accuracy(len(first), 100 * float((a == b).mean()), 100 * float(margins.mean()))
    return told if labels is None else _with_labels(told, first, second, labels)


def divergence(before: Answers, after: Answers) -> float:
    """``KL(p || q) = sum p (log p - log q)`` of the probabilities, mean over the images, in nats."""
    p, q = _log_softmax(before.logits), _log_softmax(after.logits)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def _with_labels(told: Accuracy, first: Array, second: Array, labels: NDArray[np.int64]) -> Accuracy:
    if labels.shape != first.shape[:1] or labels.min() < 0 or labels.max() >= first.shape[1]:
        raise ValueError(f"labels {list(labels.shape)} up to {labels.max()} don't fit {list(first.shape)}")
    places = _places(first, labels), _places(second, labels)
    before, after = (_scores(p, first.shape[1]) for p in places)
    right, still = (p == 0 for p in places)
    lost, gained = int((right & ~still).sum()), int((still & ~right).sum())
    low, high = paired_interval(lost, gained, told.images)
    return Accuracy(
        images=told.images,
        agreement=told.agreement,
        weighted_flips=told.weighted_flips,
        before=before,
        after=after,
        drop=100 * (lost - gained) / told.images,
        drop_low=100 * low,
        drop_high=100 * high,
        lost=lost,
        gained=gained,
    )


def _places(logits: Array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each label among the answers, 0 for the best; of equal ones the lower number is first."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return np.asarray(((logits > own) | ((logits == own) & earlier)).sum(axis=1), dtype=np.int64)


def _scores(places: NDArray[np.int64], classes: int) -> Scores:
    top5 = 100 * float((places < _TOP).mean()) if classes > _TOP else None
    return Scores(100 * float((places == 0).mean()), top5)


def _log_softmax(logits: Array) -> Float64:
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


def _softmax(logits: Array) -> Float64:
    return np.exp(_log_softmax(logits))
