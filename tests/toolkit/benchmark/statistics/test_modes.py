"""Two speeds are told with their values and shares, and one is not taken for two."""

import numpy as np
import pytest
from made_up_traces import lognormal, lognormals

from cnntk.benchmark.statistics.modes import modes


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
@pytest.mark.parametrize("slow", [1.2, 3.0])
@pytest.mark.parametrize("count", [300, 5000])
def test_two_speeds(count: int, slow: float, share: float) -> None:
    taken = np.random.default_rng(1).random(count) < share
    found = modes(lognormal(count, spread=0.03) * np.where(taken, slow, 1))
    assert found is not None
    assert (found.fast_ms, found.slow_ms) == (pytest.approx(1, rel=0.02), pytest.approx(slow, rel=0.02))
    assert found.slow_share == pytest.approx(taken.mean(), abs=0.01)


@pytest.mark.parametrize("alike", [0.0, 0.9], ids=["iid", "AR(0.9)"])
@pytest.mark.parametrize("spread", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_one_speed(count: int, spread: float, alike: float) -> None:
    assert not any(modes(row) for row in lognormals(60, count, spread=spread, alike=alike))


def test_some_outliers_are_no_speed_of_their_own() -> None:
    values = lognormal(1000, spread=0.03)
    values[::20] *= 5
    assert modes(values) is None


def test_speeds_that_are_hardly_apart_are_one() -> None:
    taken = np.random.default_rng(1).random(5000) < 0.5
    assert modes(lognormal(5000, spread=0.001) * np.where(taken, 1.03, 1)) is None


def test_without_any_noise() -> None:
    assert modes(np.ones(1000)) is None
    found = modes(np.tile([1.0, 1.0, 2.0, 1.0], 100))
    assert found is not None
    assert (found.fast_ms, found.slow_ms, found.slow_share) == (1.0, 2.0, 0.25)


def test_too_few_to_tell() -> None:
    assert modes(np.tile([1.0, 2.0], 49)) is None
