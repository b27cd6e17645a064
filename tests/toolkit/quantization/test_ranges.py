"""Ranges are those of their formulas, and the scale of each holds zero."""

from collections.abc import Callable

import numpy as np
import pytest

from cnntk.quantization.histogram import Histogram
from cnntk.quantization.ranges import (
    METHODS,
    Dtype,
    Method,
    Range,
    Scaling,
    divergences,
    entropy,
    find_range,
    minmax,
    mse,
    percentile,
    scale_and_zero_point,
    squared_error,
)

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


def quantized_error(values: np.ndarray, scaling: Scaling, symmetric: bool) -> float:
    """What 8 bits really do to the values."""
    least, most = {"uint8": (0, 255), "int8": (-127 if symmetric else -128, 127)}[scaling.dtype]
    levels = np.clip(np.rint(values / scaling.scale) + scaling.zero_point, least, most)
    errors = (levels - scaling.zero_point) * scaling.scale - values
    return float((errors.astype(np.float64) ** 2).mean())


def test_minmax_is_exact(histogram_of: Counted) -> None:
    assert minmax(histogram_of(np.array([-0.3, 0.1, 2.7], np.float32))) == Range(
        float(np.float32(-0.3)), float(np.float32(2.7))
    )


@pytest.mark.parametrize("percent", [90, 99.9, 99.99])
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_percentiles_are_those_of_numpy(values: np.ndarray, percent: float, histogram_of: Counted) -> None:
    histogram = histogram_of(values)
    found = percentile(histogram, percent)
    rest = (100 - percent) / 2
    low, high = np.percentile(values, [rest, 100 - rest])
    near = 3 * histogram.width + 0.05 * abs(high - low)  # of few values in a tail, numpy's lie in between
    assert found.low == pytest.approx(low, abs=near)
    assert found.high == pytest.approx(high, abs=near)
    assert histogram.minimum <= found.low
    assert found.high <= histogram.maximum


def test_all_percent_are_minmax(histogram_of: Counted) -> None:
    histogram = histogram_of(NOISE)
    assert percentile(histogram, 100) == minmax(histogram)


def divergence_by_the_book(counts: np.ndarray, threshold: int, levels: int) -> float:
    """``KL(P || Q)`` bin by bin, as the talk has it."""
    p, q = counts[:threshold].astype(float), np.zeros(threshold)
    p[-1] += counts[threshold:].sum()
    for level in range(levels):
        start, end = level * threshold // levels, (level + 1) * threshold // levels
        there = p[start:end] > 0
        if there.any():
            q[start:end][there] = counts[start:end].sum() / there.sum()
    p, q = p / p.sum(), q / q.sum()
    filled = p > 0
    if (q[filled] == 0).any():
        return np.inf
    return float((p[filled] * np.log(p[filled] / q[filled])).sum())


@pytest.mark.parametrize(("name", "levels"), [("noise", 128), ("relu", 256), ("heavy tails", 128)])
def test_entropy_is_that_of_the_talk(name: str, levels: int, histogram_of: Counted) -> None:
    histogram = histogram_of(VALUES[name])
    counts = histogram.positive + histogram.negative
    n = int(np.flatnonzero(counts)[-1]) + 1
    chosen = entropy(histogram)
    threshold = round(max(-chosen.low, chosen.high) / histogram.width)
    tried = [divergence_by_the_book(counts, t, levels) for t in (threshold, *range(levels, n + 1, 29))]
    assert levels <= threshold < n
    assert tried[0] == pytest.approx(min(tried), rel=1e-9)
    assert tried[0] < 0.9 * tried[-1]


@pytest.mark.parametrize("seed", range(5))
def test_divergences_are_those_of_the_talk_where_bins_are_empty(seed: int) -> None:
    random = np.random.RandomState(seed)
    counts = random.randint(1, 50, 60) * (random.rand(60) < 0.5)
    counts[[0, -1]] = 3
    expected = [divergence_by_the_book(counts, threshold, 8) for threshold in range(8, 61)]
    assert np.isfinite(expected).any()
    assert np.allclose(divergences(counts.astype(float), 8), expected, rtol=1e-9, atol=1e-12)


def test_values_at_the_very_end_are_not_clipped(histogram_of: Counted) -> None:
    saturated = np.concatenate([RANDOM.uniform(0, 1, 1000), np.ones(10_000)])
    assert mse(histogram_of(saturated)) == Range(saturated.min().astype(np.float32), 1)


def test_exact_zeros_do_not_decide(histogram_of: Counted) -> None:
    few, many = VALUES["relu"], np.concatenate([VALUES["relu"], np.zeros(10**6, np.float32)])
    for method in (entropy, mse):
        assert method(histogram_of(few)) == method(histogram_of(many))


@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_expected_error_is_the_real_one(
    values: np.ndarray, symmetric: bool, histogram_of: Counted
) -> None:
    histogram = histogram_of(values)
    for method in METHODS:
        chosen = find_range(histogram, method, symmetric=symmetric)
        scaling = scale_and_zero_point(chosen, "int8" if symmetric else "uint8", symmetric=symmetric)
        real = quantized_error(values, scaling, symmetric)
        assert squared_error(histogram, chosen, symmetric=symmetric) == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_no_method_nor_trial_has_less_error_than_mse(
    values: np.ndarray, symmetric: bool, histogram_of: Counted
) -> None:
    histogram = histogram_of(values)
    best = squared_error(histogram, mse(histogram, symmetric=symmetric), symmetric=symmetric)
    whole = minmax(histogram)
    trials = [find_range(histogram, m, symmetric=symmetric) for m in METHODS]
    ends = np.sort(RANDOM.uniform(0.05, 1, (200, 2)) * (whole.low, whole.high), axis=1)
    trials += [Range(low, high) for low, high in ends]
    for trial in trials:
        assert best <= squared_error(histogram, trial, symmetric=symmetric) * 1.01


def test_heavy_tails_are_clipped_and_flat_ones_are_not(histogram_of: Counted) -> None:
    heavy, flat = histogram_of(RANDOM.laplace(size=10**6)), histogram_of(RANDOM.uniform(-1, 1, 10**5))
    assert mse(heavy).high < 0.8 * heavy.maximum
    assert mse(flat).high > 0.98 * flat.maximum


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[0.0], [3.5], [-3.5], [1e-44, 0], [3e38, -3e38], [0, 1]], ids=str)
def test_odd_values_have_a_range_and_a_scale(
    values: list[float], method: Method, histogram_of: Counted
) -> None:
    histogram = histogram_of(np.array(values, np.float32))
    for symmetric in (False, True):
        chosen = find_range(histogram, method, symmetric=symmetric)
        scaling = scale_and_zero_point(chosen, "uint8", symmetric=symmetric)
        assert np.isfinite(scaling.scale)
        assert np.isfinite(np.float32(1) / np.float32(scaling.scale))
        assert 0 <= scaling.zero_point <= 255


@pytest.mark.parametrize(
    ("chosen", "dtype", "symmetric", "zero_point", "scale"),
    [
        (Range(0, 255), "uint8", False, 0, 1),
        (Range(0, 255), "int8", False, -128, 1),
        (Range(-255, 0), "uint8", False, 255, 1),
        (Range(2, 255), "uint8", False, 0, 1),
        (Range(-51, 204), "uint8", False, 51, 1),
        (Range(-51, 204), "int8", False, -77, 1),
        (Range(-127, 3), "int8", True, 0, 1),
        (Range(-3, 127), "uint8", True, 128, 1),
        (Range(0, 0), "uint8", False, 0, 1),
        (Range(0, 0), "int8", True, 0, 1),
    ],
    ids=str,
)
def test_scales_by_hand(chosen: Range, dtype: Dtype, symmetric: bool, zero_point: int, scale: float) -> None:
    assert scale_and_zero_point(chosen, dtype, symmetric=symmetric) == Scaling(scale, zero_point, dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("symmetric", [False, True], ids=["affine", "symmetric"])
def test_a_scale_covers_its_range_and_zero(dtype: Dtype, symmetric: bool) -> None:
    for low, high in RANDOM.randn(200, 2) * 10.0 ** RANDOM.randint(-30, 30, (200, 1)):
        scaling = scale_and_zero_point(Range(min(low, high), max(low, high)), dtype, symmetric=symmetric)
        covered = scaling.range
        slack = 0.51 * scaling.scale  # the zero point is rounded
        assert covered.low - slack <= min(low, high, 0)
        assert max(low, high, 0) <= covered.high + slack
        assert scaling.scale == np.float32(scaling.scale) > 0
        assert isinstance(scaling.zero_point, int)


@pytest.mark.parametrize("ends", [(1, 0), (np.nan, 1), (0, np.inf)], ids=str)
def test_a_range_has_ends(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected finite low <= high"):
        Range(*ends)


def test_wrong_use_is_refused(histogram_of: Counted) -> None:
    with pytest.raises(ValueError, match="expected one of minmax, percentile, entropy, mse"):
        find_range(histogram_of(NOISE), "guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0 and at most 100"):
        percentile(histogram_of(NOISE), 0)
    for method in METHODS:
        with pytest.raises(ValueError, match="tensor: its histogram is empty"):
            find_range(Histogram("tensor"), method)
