"""Ranges have the least error, and the scale of each represents zero exactly."""

from collections.abc import Callable

import numpy as np
import pytest

from cnntk.quantization.histogram import HALF, Histogram
from cnntk.quantization.options import RangeMethod
from cnntk.quantization.ranges import RANGE_METHODS, Range, Scaling, find_range, mse, scale_and_zero_point

Counted = Callable[[np.ndarray], Histogram]

RANDOM = np.random.RandomState(0)
NOISE = RANDOM.randn(100_000).astype(np.float32)
VALUES = {
    "noise": NOISE,
    "relu": np.maximum(NOISE, 0),
    "skewed": np.where(NOISE > 0, 5 * NOISE**2, NOISE),
    "heavy tails": RANDOM.standard_t(3, 100_000).astype(np.float32),
    "negative": -np.abs(NOISE),
    "far from zero": NOISE * 0.1 + 7,
}


def squared_error(histogram: Histogram, limits: Range) -> float:
    """The expected squared error of 8 bits over a range, by its definition, bin by bin."""
    low, high = max(-limits.low, 0.0), max(limits.high, 0.0)
    step = (low + high) / 255
    clipped, inside = 0.0, 0.0
    sides = ((histogram.negative, low, -histogram.minimum), (histogram.positive, high, histogram.maximum))
    for counts, end, largest in sides:
        middles = np.minimum((np.arange(HALF) + 0.5) * histogram.width, max(largest, 0.0))
        over = middles > end
        clipped += float((counts[over] * (middles[over] - end) ** 2).sum())
        inside += float(counts[~over].sum())
    return (clipped + step**2 / 12 * inside) / histogram.count


def quantized_error(values: np.ndarray, scaling: Scaling) -> float:
    """The squared error that 8 bits really cause."""
    integers = np.clip(np.rint(values / scaling.scale) + scaling.zero_point, 0, 255)
    errors = (integers - scaling.zero_point) * scaling.scale - values
    return float((errors.astype(np.float64) ** 2).mean())


def test_values_at_the_very_end_are_not_clipped(histogram_of: Counted) -> None:
    saturated = np.concatenate([RANDOM.uniform(0, 1, 1000), np.ones(10_000)])
    assert mse(histogram_of(saturated)) == Range(saturated.min().astype(np.float32), 1)


def test_exact_zeros_do_not_decide(histogram_of: Counted) -> None:
    few, many = VALUES["relu"], np.concatenate([VALUES["relu"], np.zeros(10**6, np.float32)])
    assert mse(histogram_of(few)) == mse(histogram_of(many))


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_expected_error_is_the_real_one(values: np.ndarray, histogram_of: Counted) -> None:
    histogram = histogram_of(values)
    for limits in (mse(histogram), Range(histogram.minimum, histogram.maximum)):
        real = quantized_error(values, scale_and_zero_point(limits))
        assert squared_error(histogram, limits) == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_no_other_range_has_less_error_than_mse(values: np.ndarray, histogram_of: Counted) -> None:
    histogram = histogram_of(values)
    least = squared_error(histogram, mse(histogram))
    whole = Range(histogram.minimum, histogram.maximum)
    ends = np.sort(RANDOM.uniform(0.05, 1, (200, 2)) * (whole.low, whole.high), axis=1)
    for limits in (whole, *(Range(low, high) for low, high in ends)):
        assert least <= squared_error(histogram, limits) * 1.01


def test_heavy_tails_are_clipped_and_flat_ones_are_not(histogram_of: Counted) -> None:
    heavy, flat = histogram_of(RANDOM.laplace(size=10**6)), histogram_of(RANDOM.uniform(-1, 1, 10**5))
    assert mse(heavy).high < 0.8 * heavy.maximum
    assert mse(flat).high > 0.98 * flat.maximum


@pytest.mark.parametrize("method", RANGE_METHODS)
@pytest.mark.parametrize("values", [[0.0], [3.5], [-3.5], [1e-44, 0], [3e38, -3e38], [0, 1]], ids=str)
def test_unusual_values_have_a_range_and_a_scale(
    values: list[float], method: RangeMethod, histogram_of: Counted
) -> None:
    scaling = scale_and_zero_point(find_range(histogram_of(np.array(values, np.float32)), method))
    assert np.isfinite(scaling.scale)
    assert np.isfinite(np.float32(1) / np.float32(scaling.scale))
    assert 0 <= scaling.zero_point <= 255


@pytest.mark.parametrize(
    ("limits", "zero_point"),
    [(Range(0, 255), 0), (Range(-255, 0), 255), (Range(2, 255), 0), (Range(-51, 204), 51), (Range(0, 0), 0)],
    ids=str,
)
def test_scales_by_hand(limits: Range, zero_point: int) -> None:
    assert scale_and_zero_point(limits) == Scaling(1, zero_point)


def test_a_scale_covers_its_range_and_zero() -> None:
    for low, high in RANDOM.randn(200, 2) * 10.0 ** RANDOM.randint(-30, 30, (200, 1)):
        scaling = scale_and_zero_point(Range(min(low, high), max(low, high)))
        slack = 0.51 * scaling.scale  # the zero point is rounded
        assert -scaling.zero_point * scaling.scale - slack <= min(low, high, 0)
        assert max(low, high, 0) <= (255 - scaling.zero_point) * scaling.scale + slack
        assert scaling.scale == np.float32(scaling.scale) > 0
        assert isinstance(scaling.zero_point, int)


@pytest.mark.parametrize("ends", [(1, 0), (np.nan, 1), (0, np.inf)], ids=str)
def test_a_range_has_ends(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected finite low <= high"):
        Range(*ends)


def test_wrong_use_is_refused(histogram_of: Counted) -> None:
    with pytest.raises(ValueError, match="range method 'guess': expected one of mse"):
        find_range(histogram_of(NOISE), "guess")  # type: ignore[arg-type]
    for method in RANGE_METHODS:
        with pytest.raises(ValueError, match="tensor: its histogram is empty"):
            find_range(Histogram("tensor"), method)
