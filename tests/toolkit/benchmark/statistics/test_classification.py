"""Scores equal their definitions, written out in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnntk.benchmark.statistics.classification import BINS, label_ranks, log_softmax, measure_calibration

RNG = np.random.default_rng(0)


def slow_ece(confidence: list[float], correct: list[bool]) -> float:
    total = 0.0
    for m in range(1, BINS + 1):
        members = [
            i for i, c in enumerate(confidence) if (m - 1) / BINS < c <= m / BINS or (m == 1 and c == 0)
        ]
        if members:
            accuracy = sum(correct[i] for i in members) / len(members)
            mean = sum(confidence[i] for i in members) / len(members)
            total += len(members) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize(
    "confidence",
    [
        RNG.uniform(0.1, 1, 500),
        RNG.beta(9, 1, 300),
        np.arange(BINS + 1) / BINS,  # the ends of the bins
        np.array([1.0]),
        np.array([0.3, 0.3, 0.9]),
    ],
)
def test_ece_equals_its_definition(confidence: np.ndarray) -> None:
    correct = np.random.default_rng(len(confidence)).random(len(confidence)) < confidence**2
    calibration = measure_calibration(confidence, correct)
    assert calibration.ece == pytest.approx(slow_ece(confidence.tolist(), correct.tolist()), abs=1e-12)
    assert sum(one.images for one in calibration.bins) == len(confidence)
    assert all(one.low < one.confidence <= one.high + 1e-12 or one.low == 0 for one in calibration.bins)


def test_what_is_miscalibrated_is_seen_and_what_is_not_is_not() -> None:
    confidence = np.random.default_rng(1).uniform(0.5, 1, 4000)
    draws = np.random.default_rng(2).random(4000)
    assert measure_calibration(confidence, draws < confidence).verdict == "no miscalibration can be seen"
    assert measure_calibration(confidence, draws < confidence - 0.1).verdict == "overconfident"
    assert measure_calibration(confidence, draws < confidence + 0.1).verdict == "underconfident"


def test_chance_of_a_perfectly_calibrated_model() -> None:
    """Its ECE falls with the number of images, and is what models with such confidences have on average."""
    confidence = np.full(400, 0.8)
    calibration = measure_calibration(confidence, np.arange(400) < 320)
    assert calibration.ece == pytest.approx(0, abs=1e-12)
    expected = math.sqrt(0.8 * 0.2 / 400) * math.sqrt(2 / math.pi)  # of a normal's absolute value
    assert calibration.chance_ece == pytest.approx(expected, rel=0.15)
    assert calibration.chance_ece < calibration.chance_ece_limit < 3 * expected


def test_ranks_equal_sorting() -> None:
    scores = RNG.integers(0, 4, (50, 7)).astype(np.float32)  # with ties
    labels = RNG.integers(0, 7, 50)
    expected = [
        sorted(range(7), key=lambda k, row=row: (-row[k], k)).index(label)
        for row, label in zip(scores, labels, strict=True)
    ]
    assert label_ranks(scores, labels).tolist() == expected


def test_log_softmax_of_large_logits() -> None:
    values = log_softmax(np.array([[1e4, 0.0, -1e4]]))
    assert values[0].tolist() == [0.0, -1e4, -2e4]
