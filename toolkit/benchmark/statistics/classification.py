"""Scores of a classifier's outputs: ranks of the labels, likelihoods, calibration.

The expected calibration error is that of M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining well
calibrated probabilities using Bayesian binning, AAAI 2015: images are sorted into bins by their confidence,
the probability of the predicted class, and ``ECE = sum over bins of n_b / n * |accuracy_b - confidence_b|``.
There are 15 bins of equal width, as in C. Guo et al., On calibration of modern neural networks, ICML 2017.

Bins of few images differ from their confidence by chance, so that even a perfectly calibrated model has an
ECE above 0. How far above is simulated: each image is right with the probability of its confidence (J.
Bröcker and L. A. Smith, Increasing the reliability of reliability diagrams, Weather and Forecasting 22 (2007)
651).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.statistics.intervals import Estimate, share_estimate

__all__ = [
    "BINS",
    "Calibration",
    "ReliabilityBin",
    "label_ranks",
    "log_softmax",
    "measure_calibration",
]

BINS = 15
"""Number of bins of the expected calibration error."""

_DRAWS, _SEED = 200, 0
_UPPER = 0.95

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose confidence lies in one bin.

    Attributes:
        low: Lower end of the bin, which is not in it.
        high: Upper end of the bin, which is in it.
        images: Number of images.
        confidence: Mean confidence, 0 to 1.
        accuracy: Share of images that are classified correctly, with its 95 % interval.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy differ.

    Attributes:
        ece: Expected calibration error, 0 to 1.
        chance_ece: Mean ECE of a perfectly calibrated model with the same confidences.
        chance_ece_limit: ECE that such a model exceeds in 5 of 100 cases.
        confidence: Mean confidence, 0 to 1.
        accuracy: Share of images that are classified correctly, 0 to 1.
        bins: Bins with images, in the order of confidence.
    """

    JSON_PROPERTIES: ClassVar[tuple[str, ...]] = ("verdict",)

    ece: float
    chance_ece: float
    chance_ece_limit: float
    confidence: float
    accuracy: float
    bins: tuple[ReliabilityBin, ...]

    @property
    def verdict(self) -> str:
        """What the ECE says, in a phrase."""
        if self.ece <= self.chance_ece_limit:
            return "no miscalibration can be seen"
        return "overconfident" if self.confidence > self.accuracy else "underconfident"


def measure_calibration(confidence: Float64, correct: NDArray[np.bool_]) -> Calibration:
    """Calibration of predictions.

    Args:
        confidence: Probability of each predicted class, 0 to 1, (N,), one or more.
        correct: Whether each prediction is right, (N,).
    """
    edges = np.arange(BINS + 1) / BINS
    numbers = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    counts = np.bincount(numbers, minlength=BINS)
    sums = np.bincount(numbers, confidence, BINS)
    hits = np.bincount(numbers, correct, BINS)
    rng = np.random.default_rng(_SEED)
    chance = np.array(
        [
            np.abs(np.bincount(numbers, rng.random(len(numbers)) < confidence, BINS) - sums).sum()
            for _ in range(_DRAWS)
        ]
    ) / len(numbers)
    bins = tuple(
        ReliabilityBin(
            float(edges[i]),
            float(edges[i + 1]),
            int(counts[i]),
            float(sums[i] / counts[i]),
            share_estimate(int(hits[i]), int(counts[i])),
        )
        for i in np.flatnonzero(counts)
    )
    return Calibration(
        float(np.abs(hits - sums).sum() / len(numbers)),
        float(chance.mean()),
        float(np.quantile(chance, _UPPER)),
        float(confidence.mean()),
        float(correct.mean()),
        bins,
    )


def label_ranks(scores: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of each label among the scores, 0 for the largest; of equal ones the lower index is first.

    Args:
        scores: Logits or probabilities, (N, K).
        labels: Class indices, (N,).
    """
    at_label = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    larger = (scores > at_label) | ((scores == at_label) & earlier)
    return np.asarray(larger.sum(axis=1), dtype=np.int64)


def log_softmax(logits: NDArray[Any]) -> Float64:
    """Logarithms of the probabilities, (N, K)."""
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))
