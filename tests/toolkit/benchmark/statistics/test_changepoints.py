"""Steps and drifts of known size are found where they are, and none in what is only noise."""

import numpy as np
import pytest
from made_up_traces import lognormal, lognormals

from cnntk.benchmark.statistics.changepoints import block_medians, changes


def stretch(count: int, begin: float, end: float, level: float) -> np.ndarray:
    places = np.arange(count) / count
    return np.where((places >= begin) & (places < end), level, 1.0)


@pytest.mark.parametrize("alike", [0.0, 0.7], ids=["iid", "AR(0.7)"])
@pytest.mark.parametrize("spread", [0.02, 0.3])
@pytest.mark.parametrize("count", [60, 1000, 10_000])
def test_noise_has_no_changes(count: int, spread: float, alike: float) -> None:
    found = sum(bool(changes(row)) for row in lognormals(100, count, spread=spread, alike=alike))
    assert found <= (10 if count == 60 and alike else 1)  # in 12 blocks, likeness can't be told


@pytest.mark.parametrize("growth", [1.25, 0.8], ids=["slower", "faster"])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("count", [300, 5000])
def test_a_step_is_found_where_it_is(count: int, place: float, growth: float) -> None:
    (found,) = changes(lognormal(count) * stretch(count, place, 1, growth))
    assert found.kind == "step"
    assert found.at == pytest.approx(place * count, abs=0.04 * count)
    assert found.percent == pytest.approx((growth - 1) * 100, abs=3)


def test_a_slow_stretch_has_two_steps() -> None:
    up, down = changes(lognormal(3000) * stretch(3000, 0.4, 0.6, 1.5))
    assert (up.kind, down.kind) == ("step", "step")
    assert (up.at, down.at) == (pytest.approx(1200, abs=70), pytest.approx(1800, abs=70))
    assert up.after_ms == down.before_ms == pytest.approx(1.5, rel=0.03)


def test_a_staircase_has_all_its_steps() -> None:
    levels = np.repeat([1.0, 1.3, 1.1, 2.2], [500, 1500, 1200, 800])
    found = changes(lognormal(4000) * levels)
    assert [change.kind for change in found] == ["step"] * 3
    assert [change.at for change in found] == pytest.approx([500, 2000, 3200], abs=90)


@pytest.mark.parametrize("end", [1.12, 0.88])
def test_a_drift_is_found_with_its_size(end: float) -> None:
    (found,) = changes(lognormal(3000, spread=0.05) * np.linspace(1, end, 3000))
    assert (found.kind, found.at) == ("drift", 0)
    assert found.percent == pytest.approx((end - 1) * 100, abs=1.5)


def test_what_is_under_three_percent_is_no_change() -> None:
    assert changes(lognormal(20_000, spread=0.01) * np.linspace(1, 1.02, 20_000)) == ()


def test_outliers_are_no_change() -> None:
    values = lognormal(2000)
    values[1000:1020] *= 50
    assert changes(values) == ()


def test_without_any_noise() -> None:
    assert changes(np.ones(500)) == ()
    (found,) = changes(np.repeat([1.0, 2.0], 250))
    assert (found.at, found.before_ms, found.after_ms) == (250, 1.0, 2.0)


@pytest.mark.parametrize("count", [0, 1, 49])
def test_too_few_to_tell(count: int) -> None:
    assert changes(np.repeat([1.0, 9.0], [count // 2, count - count // 2])) == ()


def test_medians_of_blocks() -> None:
    values = np.arange(12.0)
    assert block_medians(values).tolist() == [2.5, 8.5]
    assert block_medians(values, 50, 3).tolist() == [1, 4, 7, 10]
    assert len(block_medians(np.ones(1000))) == 50
