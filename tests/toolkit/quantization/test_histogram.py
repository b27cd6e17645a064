"""Counts are exact, and depend on the values alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cnntk.quantization.histogram import (
    BINS,
    HALF,
    ChannelStats,
    Histogram,
    HistogramRecord,
)
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.errors import DataError

RANDOM = np.random.RandomState(0)
VALUES = {
    "noise": RANDOM.randn(5000),
    "growing": RANDOM.randn(5000) * np.geomspace(1e-30, 1e30, 5000),
    "shrinking": RANDOM.randn(5000) * np.geomspace(1e30, 1e-44, 5000),
    "relu": np.maximum(RANDOM.randn(5000), 0),
    "negative": -np.abs(RANDOM.randn(5000)) - 3,
    "powers of two": RANDOM.choice([-1, 1], 300) * 2.0 ** RANDOM.randint(-20, 20, 300),
    "zeros": np.zeros(40),
    "the largest": np.array([np.finfo(np.float32).max, -1, 0]),
}


def added(values: np.ndarray, cuts: int) -> Histogram:
    histogram = Histogram("tensor")
    for part in np.array_split(values.astype(np.float32), cuts):
        histogram.add(part)
    return histogram


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_counts_are_those_of_numpy(values: np.ndarray) -> None:
    histogram, exact = added(values, 7), values.astype(np.float32).astype(np.float64)
    edges = (np.arange(BINS + 1) - HALF) * histogram.width
    assert np.array_equal(histogram.counts, np.histogram(exact, edges)[0])
    assert (histogram.minimum, histogram.maximum) == (exact.min(), exact.max())
    assert (histogram.count, histogram.zeros) == (exact.size, (exact == 0).sum())


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_neither_order_nor_split_makes_a_difference(values: np.ndarray) -> None:
    one = added(values, 1)
    for other in (added(values, 3), added(values, len(values)), added(values[::-1], 11)):
        assert np.array_equal(one.counts, other.counts)
        assert (one.exponent, one.minimum, one.maximum) == (other.exponent, other.minimum, other.maximum)
        assert (one.count, one.zeros) == (other.count, other.zeros)


def test_the_larger_side_uses_at_least_half_of_its_bins() -> None:
    for largest in (1.0, 1.001, 1.999, 2.0, 77.0):
        used = np.flatnonzero(added(np.array([0.1, largest]), 1).positive)
        assert used[-1] >= HALF // 2 - 1


def test_sides_are_counted_from_zero_outwards() -> None:
    histogram = added(np.array([-1.0, -0.001, 0.0, 0.0, 0.001, 1.5]), 1)
    assert (histogram.positive.sum(), histogram.negative.sum(), histogram.zeros) == (2, 2, 2)
    assert histogram.positive[int(1.5 / histogram.width)] == 1
    assert histogram.negative[int(1 / histogram.width) - 1] == 1


def test_an_empty_array_changes_nothing() -> None:
    histogram = added(np.zeros((0,)), 1)
    assert (histogram.count, histogram.counts.sum()) == (0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64])
def test_any_numbers_are_counted_as_float32(dtype: type) -> None:
    histogram = Histogram("tensor")
    histogram.add(np.arange(6).astype(dtype).reshape(2, 3))
    assert (histogram.count, histogram.maximum) == (6, 5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300], ids=str)
def test_values_that_are_not_finite_are_named_and_not_counted(wrong: float) -> None:
    histogram = added(np.ones(3), 1)
    before = histogram.record()
    with pytest.raises(DataError, match=r"tensor: contains .* for image cat\.png \(1 of 2 values"):
        histogram.add(np.array([1.0, wrong]), "cat.png")
    assert histogram.record() == before


@pytest.mark.parametrize("values", [*VALUES.values(), np.zeros(0)], ids=[*VALUES, "nothing"])
def test_a_record_loses_nothing(values: np.ndarray) -> None:
    histogram = added(values, 3)
    text = json.dumps(as_json(histogram.record()), allow_nan=False)
    read = Histogram.from_record(decode(HistogramRecord, json.loads(text), "histogram"))
    assert read.record() == histogram.record()
    read.add(np.array([5.0, -2.0]))
    histogram.add(np.array([5.0, -2.0]))
    assert read.record() == histogram.record()


@pytest.mark.parametrize(
    "change",
    [{"first_bin": -1}, {"first_bin": BINS}, {"counts": (-1,)}, {"minimum": None}, {"zeros": 99}],
    ids=str,
)
def test_a_damaged_record_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"bins|zeros|minimum"):
        Histogram.from_record(replace(added(np.ones(3), 1).record(), **change))


CHANNELS = np.random.RandomState(0).randn(6, 3, 4, 5).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_channels_are_those_of_numpy(axis: int) -> None:
    stats = ChannelStats.of(CHANNELS[:1], axis)
    for i in range(1, 6):
        stats = stats.merge(ChannelStats.of(CHANNELS[i : i + 1], axis))
    others = tuple(a for a in range(4) if a != axis % 4)
    assert np.array_equal(stats.minimum, CHANNELS.min(axis=others))
    assert np.array_equal(stats.maximum, CHANNELS.max(axis=others))
    assert np.allclose(stats.mean, CHANNELS.astype(np.float64).mean(axis=others), rtol=1e-12)


def test_a_record_of_channels_loses_nothing() -> None:
    stats = ChannelStats.of(CHANNELS, 1)
    text = json.dumps(as_json(stats))
    assert decode(ChannelStats, json.loads(text), "channels") == stats


def test_a_damaged_record_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="2 minima, 3 maxima and 3 sums"):
        replace(ChannelStats.of(CHANNELS, 1), minimum=(0, 0))
