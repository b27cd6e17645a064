"""Accuracy of a quantized model compared with its original, image by image.

With labels it is the drop in top-1 accuracy, whose interval depends only on the images that exactly one of
the models classifies correctly.

Without labels a drop is expected from the share of predictions that change. These are too few to be counted:
with m_i the margin of image i, by which the original's first logit exceeds its second, and c_j the change of
that difference in image j, a prediction changes where ``m_i + c_j < 0``::

    share = 1/n^2 * number of (i, j) with m_i + c_j < 0

Changed predictions are wins and losses, more often losses. Of trained networks in 8 bits, at most `_COST` of
them were lost on balance. The original's own probabilities, ``p(its prediction) - p(the new one)``, say less
than the truth where they are flat, so they only raise the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.classification import label_ranks, log_softmax
from cnntk.benchmark.statistics.intervals import paired_interval
from cnntk.data.batches import Batch
from cnntk.runtime.errors import DataError, InferenceError

__all__ = [
    "Accuracy",
    "ClassifierOutputs",
    "TopAccuracy",
    "classify_batches",
    "compare_outputs",
    "kl_divergence",
]

_TOP = 5

_COST = 0.4
"""Drop per changed prediction. The highest of EfficientNet-Lite0, 1 and 2, by three tools, was 0.39."""

_RESAMPLES = 200
_CHANCE = 2.0
"""Number of standard deviations by which the count of changed predictions may exceed the estimate."""

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ClassifierOutputs:
    """Outputs of a classifier for some images.

    Attributes:
        logits: Logits, float32 (N, K).
        labels: Class indices, int64 (N,); None if the images have none.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TopAccuracy:
    """Accuracy of one model.

    Attributes:
        top1: Share of images whose label is predicted first, in percent.
        top5: Share of images whose label is among the first five, in percent; None for up to five classes.
    """

    top1: float
    top5: float | None


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of a quantized model compared with its original.

    Attributes:
        images: Number of images.
        agreement: Share of images with the same prediction, in percent.
        expected_drop: Drop in top-1 to expect from them, in percentage points.
        before: Accuracy of the original; None without labels, like all that follow.
        after: Accuracy of the quantized model.
        drop: ``before.top1 - after.top1`` in percentage points; negative if accuracy rises.
        drop_low: Lower end of the 95 % confidence interval of the drop.
        drop_high: Upper end of that interval.
        lost: Number of images that only the original classifies correctly.
        gained: Number of images that only the quantized model classifies correctly.
        expected_high: Upper end of the expected drop's 95 % confidence interval, by the choice of the images.
        changed: Estimated share of predictions that change, in percent.
    """

    images: int
    agreement: float
    expected_drop: float
    before: TopAccuracy | None = None
    after: TopAccuracy | None = None
    drop: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None
    lost: int | None = None
    gained: int | None = None
    expected_high: float = 0.0
    changed: float = 0.0

    @property
    def judged_drop(self) -> float:
        """The drop that is compared with the limit: ``drop``, or without labels ``expected_drop``."""
        return self.expected_drop if self.drop is None else self.drop

    def within(self, max_drop: float) -> bool:
        """Whether the drop is at most ``max_drop`` percentage points; False for NaN."""
        return bool(self.judged_drop <= max_drop + 1e-9)

    def __str__(self) -> str:
        if self.before is None or self.after is None or self.drop is None:
            return (
                f"same prediction for {self.agreement:.2f} % of {self.images:,} images; expected drop "
                f"{self.expected_drop:.2f} points (at most {self.expected_high:.2f})"
            )
        return (
            f"top-1 {self.before.top1:.2f} -> {self.after.top1:.2f} %, drop {self.drop:.2f} points "
            f"({self.drop_low:.2f} to {self.drop_high:.2f}) on {self.images:,} images"
        )


def classify_batches(
    run: Callable[[dict[str, Array]], Mapping[str, Array]],
    batches: Iterable[Batch],
    *,
    output: str = "logits",
    on_images: Callable[[int], None] | None = None,
) -> ClassifierOutputs:
    """Runs a classifier on batches as they come; only its outputs are kept in memory.

    Args:
        run: Model, like `Engine.run`.
        batches: Batches of images; all images have labels, or none has.
        output: Name of the output with the logits.
        on_images: Callback that receives the number of completed images.

    Raises:
        DataError: There is no image, or only some have labels.
        InferenceError: The output is missing or not (N, K), or the model failed.
    """
    outputs: list[NDArray[np.float32]] = []
    labels: list[int | None] = []
    for batch in batches:
        logits = run(batch.inputs).get(output)
        if logits is None or logits.ndim != 2 or len(logits) != len(batch):
            actual = "nothing" if logits is None else list(logits.shape)
            raise InferenceError(
                f"{output}: expected [{len(batch)}, classes], got {actual}; is it a classifier?"
            )
        outputs.append(logits.astype(np.float32, copy=False))
        labels += batch.labels
        if on_images is not None:
            on_images(len(labels))
    if not outputs:
        raise DataError("evaluation: there are no images to compare on; add some")
    numbers = [label for label in labels if label is not None]
    if numbers and len(numbers) != len(labels):
        raise DataError(
            f"evaluation: {len(numbers)} of {len(labels)} images have a label; label all of them, or none"
        )
    return ClassifierOutputs(np.concatenate(outputs), np.array(numbers, dtype=np.int64) if numbers else None)


def compare_outputs(before: ClassifierOutputs, after: ClassifierOutputs) -> Accuracy:
    """Compares the outputs of the original and the quantized model for the same images.

    Raises:
        ValueError: The outputs have other images or classes, or a label is not a class.
        InferenceError: An output is not finite.
    """
    first, second, labels = before.logits, after.logits, before.labels
    if first.shape != second.shape or not len(first):
        raise ValueError(f"logits {list(first.shape)} can't be compared with {list(second.shape)}")
    for name, logits in (("original", first), ("quantized model", second)):
        if not np.isfinite(logits).all():
            raise InferenceError(f"logits of the {name} are not finite; leave out the images that cause it")
    a, b = first.argmax(axis=1), second.argmax(axis=1)
    rows = np.arange(len(first))
    probabilities = np.exp(log_softmax(first))
    by_probability = float((probabilities[rows, a] - probabilities[rows, b]).mean())
    changed, high = _changed_share(first, second, int((a != b).sum()))
    expected, most = (max(_COST * share, by_probability) for share in (changed, high))
    agreement = 100 * float((a == b).mean())
    accuracy = Accuracy(
        len(first), agreement, 100 * expected, expected_high=100 * most, changed=100 * changed
    )
    return accuracy if labels is None else _with_labels(accuracy, first, second, labels)


def _changed_share(first: Array, second: Array, count: int) -> tuple[float, float]:
    """Share of predictions that change, and the upper end of its 95 % interval; ``count`` were seen to."""
    if first.shape[1] < 2:
        return 0.0, 0.0
    images, rows = len(first), np.arange(len(first))
    top = np.argpartition(-first, 1, axis=1)[:, :2]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(first, top, axis=1), axis=1), axis=1)
    margins = (first[rows, top[:, 0]] - first[rows, top[:, 1]]).astype(np.float64)
    changes = (second[rows, top[:, 0]] - second[rows, top[:, 1]]).astype(np.float64) - margins

    def share(chosen: NDArray[np.int64]) -> float:
        return float(np.searchsorted(np.sort(changes[chosen]), -margins[chosen]).mean()) / images

    estimate, rng = share(rows), np.random.default_rng(0)
    high = float(np.quantile([share(rng.integers(0, images, images)) for _ in range(_RESAMPLES)], 0.975))
    if count > images * estimate + _CHANCE * np.sqrt(images * estimate) + 1:  # images differ in their changes
        estimate = count / images
    return estimate, max(estimate, high)


def kl_divergence(before: ClassifierOutputs, after: ClassifierOutputs) -> float:
    """``KL(p || q) = sum p (log p - log q)`` of the probabilities, mean over the images, in nats."""
    p, q = log_softmax(before.logits), log_softmax(after.logits)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def _with_labels(accuracy: Accuracy, first: Array, second: Array, labels: NDArray[np.int64]) -> Accuracy:
    if labels.shape != first.shape[:1] or labels.min() < 0 or labels.max() >= first.shape[1]:
        raise ValueError(f"labels {list(labels.shape)} up to {labels.max()} don't fit {list(first.shape)}")
    ranks = label_ranks(first, labels), label_ranks(second, labels)
    before, after = (_top_accuracy(r, first.shape[1]) for r in ranks)
    was_right, is_right = (r == 0 for r in ranks)
    lost, gained = int((was_right & ~is_right).sum()), int((is_right & ~was_right).sum())
    low, high = paired_interval(lost, gained, accuracy.images)
    return replace(
        accuracy,
        before=before,
        after=after,
        drop=100 * (lost - gained) / accuracy.images,
        drop_low=100 * low,
        drop_high=100 * high,
        lost=lost,
        gained=gained,
    )


def _top_accuracy(ranks: NDArray[np.int64], classes: int) -> TopAccuracy:
    top5 = 100 * float((ranks < _TOP).mean()) if classes > _TOP else None
    return TopAccuracy(100 * float((ranks == 0).mean()), top5)
