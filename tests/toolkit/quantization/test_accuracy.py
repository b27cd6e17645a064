"""Figures by hand, and by simulation where no closed form is at hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnntk.benchmark.statistics.intervals import paired_interval
from cnntk.data.batches import Batch
from cnntk.quantization.accuracy import (
    Accuracy,
    Answers,
    answers_of,
    compare,
    divergence,
)
from cnntk.runtime.errors import DataError, InferenceError


def answers(rows: list[list[float]], labels: list[int] | None = None) -> Answers:
    return Answers(np.array(rows, np.float32), None if labels is None else np.array(labels, np.int64))


def one_hot(classes: list[int], count: int = 6) -> np.ndarray:
    return (10 * np.eye(count)[classes]).astype(np.float32)


def test_with_labels() -> None:
    before = Answers(one_hot([0, 1, 2, 3]), np.array([0, 1, 2, 5]))
    after = Answers(one_hot([0, 1, 4, 5]), before.labels)
    found = compare(before, after)
    assert (found.images, found.lost, found.gained, found.drop) == (4, 1, 1, 0)
    assert found.before is not None
    assert found.after is not None
    assert (found.before.top1, found.after.top1) == (75, 75)
    assert found.agreement == 50
    assert found.drop_low is not None
    assert found.drop_high is not None
    assert found.drop_low < 0 < found.drop_high


def test_top_5_counts_the_place_of_the_label() -> None:
    logits = np.arange(7, dtype=np.float32)[None].repeat(2, axis=0)
    found = compare(Answers(logits, np.array([2, 1])), Answers(logits, None))
    assert found.before is not None
    assert (found.before.top1, found.before.top5) == (0, 50)


def test_few_classes_have_no_top_5() -> None:
    same = answers([[1, 0, 0]], [0])
    found = compare(same, same).before
    assert found is not None
    assert found.top5 is None


def test_equal_logits_are_ordered_by_their_number() -> None:
    tied = answers([[1, 1, 0]], [1])
    found = compare(tied, tied)
    assert found.before is not None
    assert found.before.top1 == 0
    assert found.agreement == 100


def test_flips_weigh_their_margin() -> None:
    """``p = softmax(log 6, log 3, log 1)``: a flip from the first to the second costs 0.6 - 0.3."""
    row = np.log([6.0, 3.0, 1.0]).tolist()
    found = compare(answers([row, row]), answers([row, [0, 1, 0]]))
    assert found.drop is None
    assert found.weighted_flips == pytest.approx(100 * 0.3 / 2, rel=1e-6)
    assert found.cost == found.weighted_flips
    assert found.agreement == 50


def test_a_sure_answer_costs_more_than_a_doubtful_one() -> None:
    flipped = answers([[0, 1]])
    doubtful, sure = compare(answers([[0.01, 0]]), flipped), compare(answers([[9, 0]]), flipped)
    assert doubtful.weighted_flips < 1 < sure.weighted_flips


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


def test_the_bound_holds_to_the_point_and_never_for_nan() -> None:
    assert Accuracy(10, 100, 0.5).within(0.5)
    assert not Accuracy(10, 100, 0.51).within(0.5)
    assert not Accuracy(10, 100, math.nan).within(100)


def test_the_divergence_by_hand() -> None:
    p, q = np.array([0.7, 0.3]), np.array([0.4, 0.6])
    expected = float((p * np.log(p / q)).sum())
    found = divergence(answers([np.log(p).tolist()]), answers([(np.log(q) + 7).tolist()]))
    assert found == pytest.approx(expected, rel=1e-5)
    same = answers([[1, 2, 3]])
    assert divergence(same, same) == 0


def test_json_and_back() -> None:
    labeled = compare(Answers(one_hot([0, 1]), np.array([0, 1])), Answers(one_hot([0, 2])))
    bare = compare(answers([[0, 1]]), answers([[0, 1]]))
    for found in (labeled, bare):
        assert Accuracy.from_json(found.to_json()) == found
    assert "drop 50.00 points" in str(labeled)
    assert "agrees on 100.00 %" in str(bare)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="can't be compared"):
        compare(answers([[0, 1]]), answers([[0, 1], [0, 1]]))
    with pytest.raises(ValueError, match="don't fit"):
        compare(answers([[0, 1]], [2]), answers([[0, 1]]))


def test_nan_is_no_answer() -> None:
    with pytest.raises(InferenceError, match="quantized model are not finite"):
        compare(answers([[0, 1]]), answers([[0, math.nan]]))


def batch(labels: list[int | None]) -> Batch:
    return Batch({"x": np.zeros((len(labels), 1), np.float32)}, ("i",) * len(labels), tuple(labels))


def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"logits": np.zeros((len(inputs["x"]), 3), np.float32)}


def test_answers_are_gathered_batch_by_batch() -> None:
    told: list[int] = []
    found = answers_of(run, [batch([0, 1]), batch([2])], on_images=told.append)
    assert found.logits.shape == (3, 3)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2]
    assert told == [2, 3]
    assert answers_of(run, [batch([None])]).labels is None


@pytest.mark.parametrize(
    ("batches", "message"),
    [([], "no images"), ([batch([1, None])], "1 of 2 images have a label")],
    ids=["none", "some labels"],
)
def test_images_that_can_judge_nothing(batches: list[Batch], message: str) -> None:
    with pytest.raises(DataError, match=message):
        answers_of(run, batches)


def test_what_is_no_classifier() -> None:
    with pytest.raises(InferenceError, match=r"scores: expected \[1, classes\], got nothing"):
        answers_of(run, [batch([0])], output="scores")
    with pytest.raises(InferenceError, match="got"):
        answers_of(lambda _: {"logits": np.zeros((1, 3, 2, 2))}, [batch([0])])
