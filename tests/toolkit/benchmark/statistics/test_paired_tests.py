"""Tests of chance: against scipy, and against chance itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from cnntk.benchmark.statistics.paired_tests import (
    FLOOR,
    calibrated,
    holm,
    images_to_tell,
    log_likelihoods,
    mcnemar,
    mcnemar_two_sided,
    sign_flips,
)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (9, 0), (5, 3), (3, 5), (40, 22), (600, 500)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binom.sf(gained - 1, gained + lost, 0.5)
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_likelihoods() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [1e30, 0, 0], [np.nan, 0, 0], [0, 0, 0]], np.float32)
    values = log_likelihoods(logits, np.array([2, 1, 0, 1]))
    assert values == pytest.approx([-0.40760596, FLOOR, FLOOR, -np.log(3)])


def test_calibration_takes_contrast_away() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    logits = rng.normal(size=(200, 5))
    logits[np.arange(200), truth] += 1.5
    values = calibrated(logits, truth)
    for factor in (0.01, 3, 1000):
        assert calibrated(factor * logits, truth) == pytest.approx(values, abs=1e-4)
    around = [log_likelihoods(logits, truth, s).mean() for s in np.linspace(0.2, 5, 97)]
    assert values.mean() >= max(around)
    assert sign_flips(calibrated(3 * logits, truth) - values) == 1.0


def test_of_what_is_always_right_or_always_wrong() -> None:
    logits = np.array([[5.0, 0.0], [0.0, 3.0]])
    assert calibrated(logits, np.array([0, 1])) == pytest.approx([0, 0])
    assert calibrated(logits, np.array([1, 0])) == pytest.approx([-np.log(2)] * 2, rel=1e-4)
    assert calibrated(np.full((2, 2), np.inf), np.array([0, 1])) == pytest.approx([FLOOR] * 2)


def test_sign_flips_of_few_are_all_tried() -> None:
    values = np.array([3.0, 1.0, -0.5, 2.0, 0.3])
    sums = [np.dot(signs, values) for signs in itertools.product((-1, 1), repeat=5)]
    assert sign_flips(values) == np.mean([s >= values.sum() - 1e-9 for s in sums])
    assert sign_flips(np.ones(10)) == 2.0**-10


def test_sign_flips_of_many_are_drawn() -> None:
    rng = np.random.default_rng(0)
    assert sign_flips(rng.normal(1, 1, 100)) == 1e-4
    assert sign_flips(rng.normal(-1, 1, 100)) == 1.0
    one = rng.normal(0, 1, 100)
    one += 0.1 - one.mean()
    stats = pytest.importorskip("scipy.stats")
    assert sign_flips(one) == pytest.approx(stats.ttest_1samp(one, 0, alternative="greater").pvalue, abs=0.02)


def test_rounding_is_a_tie() -> None:
    assert sign_flips(np.full(100, 1e-5)) == 1.0


def test_chance_alone_is_significant_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    p = np.array([sign_flips(rng.normal(size=12)) for _ in range(1000)])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 3 * (level * (1 - level) / 1000) ** 0.5
    changed = [mcnemar(int(b), 30 - int(b)) for b in rng.binomial(30, 0.5, 2000)]
    assert np.mean(np.array(changed) <= 0.05) <= 0.065


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (4, 4), (9, 2), (2, 9), (60, 41)])
def test_two_sided(gained: int, lost: int) -> None:
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(max(gained, lost), changed + 1)) / 2**changed
    assert (
        mcnemar_two_sided(gained, lost) == mcnemar_two_sided(lost, gained) == pytest.approx(min(1, 2 * tail))
    )


@pytest.mark.parametrize(("gained", "lost", "images"), [(6, 3, 100), (2, 0, 30), (30, 10, 300)])
def test_so_many_images_show_the_difference_four_times_in_five(gained: int, lost: int, images: int) -> None:
    alpha, number = 0.01, images_to_tell(gained, lost, images, alpha=0.01)
    assert number is not None
    rng = np.random.default_rng(0)
    shares = [gained / images, lost / images, 1 - (gained + lost) / images]
    drawn = rng.multinomial(number, shares, 1000)[:, :2]
    power = np.mean([mcnemar(int(g), int(lost_)) < alpha for g, lost_ in drawn])
    assert 0.7 < power < 0.92
    fewer = rng.multinomial(number // 2, shares, 1000)[:, :2]
    assert np.mean([mcnemar(int(g), int(lost_)) < alpha for g, lost_ in fewer]) < 0.65
    assert number % 10 ** (len(str(number)) - 2) == 0


def test_no_number_of_images_shows_what_is_not_there() -> None:
    assert images_to_tell(3, 3, 100, 0.05) is None
    assert images_to_tell(0, 2, 100, 0.05) is None
