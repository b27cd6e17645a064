"""Figures by hand, and by simulation if there is no closed form."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cnntk.benchmark.statistics.intervals import paired_interval
from cnntk.data.batches import Batch
from cnntk.quantization.accuracy import (
    Accuracy,
    ClassifierOutputs,
    classify_batches,
    compare_outputs,
    kl_divergence,
)
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.errors import DataError, InferenceError


def outputs(rows: list[list[float]], labels: list[int] | None = None) -> ClassifierOutputs:
    return ClassifierOutputs(
        np.array(rows, np.float32), None if labels is None else np.array(labels, np.int64)
    )


def one_hot(classes: list[int], count: int = 6) -> np.ndarray:
    return (10 * np.eye(count)[classes]).astype(np.float32)


def test_with_labels() -> None:
    before = ClassifierOutputs(one_hot([0, 1, 2, 3]), np.array([0, 1, 2, 5]))
    after = ClassifierOutputs(one_hot([0, 1, 4, 5]), before.labels)
    result = compare_outputs(before, after)
    assert (result.images, result.lost, result.gained, result.drop) == (4, 1, 1, 0)
    assert result.before is not None
    assert result.after is not None
    assert (result.before.top1, result.after.top1) == (75, 75)
    assert result.agreement == 50
    assert result.drop_low is not None
    assert result.drop_high is not None
    assert result.drop_low < 0 < result.drop_high


def test_top_5_counts_the_rank_of_the_label() -> None:
    logits = np.arange(7, dtype=np.float32)[None].repeat(2, axis=0)
    result = compare_outputs(ClassifierOutputs(logits, np.array([2, 1])), ClassifierOutputs(logits, None))
    assert result.before is not None
    assert (result.before.top1, result.before.top5) == (0, 50)


def test_few_classes_have_no_top_5() -> None:
    same = outputs([[1, 0, 0]], [0])
    result = compare_outputs(same, same).before
    assert result is not None
    assert result.top5 is None


def test_equal_logits_are_ordered_by_their_number() -> None:
    tied = outputs([[1, 1, 0]], [1])
    result = compare_outputs(tied, tied)
    assert result.before is not None
    assert result.before.top1 == 0
    assert result.agreement == 100


def test_a_changed_sure_prediction_costs_what_its_probability_says() -> None:
    """``p = softmax(log 8, log 1, log 1)``: a change from the first to the second costs 0.8 - 0.1."""
    row = np.log([8.0, 1.0, 1.0]).tolist()
    result = compare_outputs(outputs([row, row]), outputs([row, [0, 3, 0]]))
    assert result.drop is None
    assert result.expected_drop == pytest.approx(100 * 0.7 / 2, rel=1e-6)
    assert result.judged_drop == result.expected_drop
    assert result.agreement == 50


def noisy(scale: float, noise: float, images: int = 400, seed: int = 0) -> tuple[ClassifierOutputs, ...]:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((images, 10))
    changed = logits + noise * rng.standard_normal(logits.shape)
    return tuple(ClassifierOutputs((scale * a).astype(np.float32)) for a in (logits, changed))


def test_the_expected_drop_does_not_depend_on_how_flat_the_probabilities_are() -> None:
    """A network for metric learning has cosines as logits, whose probabilities are all alike."""
    usual, flat = (compare_outputs(*noisy(scale, 0.05)) for scale in (1.0, 0.01))
    assert flat.changed == pytest.approx(usual.changed, rel=1e-6)
    assert flat.expected_drop == pytest.approx(0.4 * flat.changed)
    assert compare_outputs(*noisy(0.01, 2.0)).expected_drop > 20


def test_changed_predictions_are_estimated_better_than_counted() -> None:
    """Over many draws of 100 images, the estimate is as large as the count, and spreads less."""
    counts, estimates = [], []
    for seed in range(200):
        result = compare_outputs(*noisy(1.0, 0.02, 100, seed))
        counts.append(100 - result.agreement)
        estimates.append(result.changed)
        assert result.expected_drop <= result.expected_high
    assert np.mean(estimates) == pytest.approx(np.mean(counts), rel=0.15)
    assert np.std(estimates) < 0.7 * np.std(counts)


def test_changes_of_some_images_only_are_counted() -> None:
    """The estimate takes changes for alike in all images; here only those with small margins change."""
    before, _ = noisy(1.0, 0.0)
    swapped = np.sort(before.logits, axis=1)
    margins = swapped[:, -1] - swapped[:, -2]
    after = before.logits.copy()
    after[margins < 0.1] = after[margins < 0.1][:, ::-1]
    result = compare_outputs(before, ClassifierOutputs(after))
    assert result.changed >= 0.9 * (100 - result.agreement)


def test_the_interval_by_hand() -> None:
    """Agresti and Min's own formula, cell by cell with half an observation more."""
    lost, gained, images = 9, 3, 100
    b, c, n = lost + 0.5, gained + 0.5, images + 2
    d = (b - c) / n
    se = math.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert paired_interval(lost, gained, images) == pytest.approx((d - 1.959964 * se, d + 1.959964 * se))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    lost, gained, images, covered = 0.03, 0.01, 400, 0
    for _ in range(1000):
        b, c, _ = rng.multinomial(images, [lost, gained, 1 - lost - gained])
        low, high = paired_interval(int(b), int(c), images)
        covered += low <= lost - gained <= high
    assert 925 <= covered <= 980


def test_the_interval_never_leaves_the_possible() -> None:
    assert paired_interval(3, 0, 3)[1] <= 1
    assert paired_interval(0, 3, 3)[0] >= -1


def test_only_images_that_differ_count() -> None:
    narrow, wide = paired_interval(2, 2, 1000), paired_interval(50, 50, 1000)
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 3


def test_the_limit_is_inclusive_and_excludes_nan() -> None:
    assert Accuracy(10, 100, 0.5).within(0.5)
    assert not Accuracy(10, 100, 0.51).within(0.5)
    assert not Accuracy(10, 100, math.nan).within(100)


def test_the_divergence_by_hand() -> None:
    p, q = np.array([0.7, 0.3]), np.array([0.4, 0.6])
    expected = float((p * np.log(p / q)).sum())
    result = kl_divergence(outputs([np.log(p).tolist()]), outputs([(np.log(q) + 7).tolist()]))
    assert result == pytest.approx(expected, rel=1e-5)
    same = outputs([[1, 2, 3]])
    assert kl_divergence(same, same) == 0


def test_json_and_back() -> None:
    labeled = compare_outputs(
        ClassifierOutputs(one_hot([0, 1]), np.array([0, 1])), ClassifierOutputs(one_hot([0, 2]))
    )
    bare = compare_outputs(outputs([[0, 1]]), outputs([[0, 1]]))
    for result in (labeled, bare):
        assert decode(Accuracy, json.loads(json.dumps(as_json(result))), "accuracy") == result
    assert "drop 50.00 points" in str(labeled)
    assert "same prediction for 100.00 %" in str(bare)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="can't be compared"):
        compare_outputs(outputs([[0, 1]]), outputs([[0, 1], [0, 1]]))
    with pytest.raises(ValueError, match="don't fit"):
        compare_outputs(outputs([[0, 1]], [2]), outputs([[0, 1]]))


def test_nan_is_refused() -> None:
    with pytest.raises(InferenceError, match="quantized model are not finite"):
        compare_outputs(outputs([[0, 1]]), outputs([[0, math.nan]]))


def batch(labels: list[int | None]) -> Batch:
    return Batch({"x": np.zeros((len(labels), 1), np.float32)}, ("i",) * len(labels), tuple(labels))


def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"logits": np.zeros((len(inputs["x"]), 3), np.float32)}


def test_outputs_are_gathered_batch_by_batch() -> None:
    counts: list[int] = []
    result = classify_batches(run, [batch([0, 1]), batch([2])], on_images=counts.append)
    assert result.logits.shape == (3, 3)
    assert result.labels is not None
    assert result.labels.tolist() == [0, 1, 2]
    assert counts == [2, 3]
    assert classify_batches(run, [batch([None])]).labels is None


@pytest.mark.parametrize(
    ("batches", "message"),
    [([], "no images"), ([batch([1, None])], "1 of 2 images have a label")],
    ids=["none", "some labels"],
)
def test_unsuitable_images_are_refused(batches: list[Batch], message: str) -> None:
    with pytest.raises(DataError, match=message):
        classify_batches(run, batches)


def test_other_models_than_classifiers_are_refused() -> None:
    with pytest.raises(InferenceError, match=r"scores: expected \[1, classes\], got nothing"):
        classify_batches(run, [batch([0])], output="scores")
    with pytest.raises(InferenceError, match="got"):
        classify_batches(lambda _: {"logits": np.zeros((1, 3, 2, 2))}, [batch([0])])
