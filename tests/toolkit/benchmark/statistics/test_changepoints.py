"""Steps and drifts of known size are found at their positions, and none in noise."""

import numpy as np
import pytest
from simulated_latencies import lognormal, lognormals

from cnntk.benchmark.statistics.changepoints import block_medians, fitted_levels


def stretch(count: int, begin: float, end: float, level: float) -> np.ndarray:
    positions = np.arange(count) / count
    return np.where((positions >= begin) & (positions < end), level, 1.0)


def steps(latencies: np.ndarray) -> tuple[list[int], list[float]]:
    """Positions of the steps, and the levels between them."""
    levels = fitted_levels(latencies)
    assert levels is not None
    assert len(levels) == len(latencies)
    positions = np.flatnonzero(np.diff(levels)) + 1
    return positions.tolist(), levels[[0, *positions]].tolist()


@pytest.mark.parametrize("alike", [0.0, 0.7], ids=["iid", "AR(0.7)"])
@pytest.mark.parametrize("spread", [0.02, 0.3])
@pytest.mark.parametrize("count", [60, 1000, 10_000])
def test_noise_has_no_changes(count: int, spread: float, alike: float) -> None:
    changed = [fitted_levels(row) is not None for row in lognormals(100, count, spread=spread, alike=alike)]
    assert sum(changed) <= (10 if count == 60 and alike else 1)  # in 12 blocks, correlation can't be seen


@pytest.mark.parametrize("growth", [1.25, 0.8], ids=["slower", "faster"])
@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("count", [300, 5000])
def test_the_position_of_a_step(count: int, position: float, growth: float) -> None:
    (index,), (before, after) = steps(lognormal(count) * stretch(count, position, 1, growth))
    assert index == pytest.approx(position * count, abs=0.04 * count)
    assert after / before == pytest.approx(growth, abs=0.03)


def test_a_slow_stretch_has_two_steps() -> None:
    indices, levels = steps(lognormal(3000) * stretch(3000, 0.4, 0.6, 1.5))
    assert indices == [pytest.approx(1200, abs=70), pytest.approx(1800, abs=70)]
    assert levels[1] == pytest.approx(1.5, rel=0.03)


def test_a_staircase_has_all_its_steps() -> None:
    indices, _ = steps(lognormal(4000) * np.repeat([1.0, 1.3, 1.1, 2.2], [500, 1500, 1200, 800]))
    assert indices == pytest.approx([500, 2000, 3200], abs=90)


@pytest.mark.parametrize("end", [1.12, 0.88])
def test_the_size_of_a_drift(end: float) -> None:
    levels = fitted_levels(lognormal(3000, spread=0.05) * np.linspace(1, end, 3000))
    assert levels is not None
    assert (np.diff(levels) != 0).all()
    assert levels[-1] / levels[0] == pytest.approx(end, abs=0.015)


def test_under_three_percent_is_no_change() -> None:
    assert fitted_levels(lognormal(20_000, spread=0.01) * np.linspace(1, 1.02, 20_000)) is None


def test_outliers_are_no_change() -> None:
    values = lognormal(2000)
    values[1000:1020] *= 50
    assert fitted_levels(values) is None


def test_without_any_noise() -> None:
    assert fitted_levels(np.ones(500)) is None
    assert steps(np.repeat([1.0, 2.0], 250)) == ([250], [1.0, 2.0])


@pytest.mark.parametrize("count", [0, 1, 49])
def test_too_few_to_tell(count: int) -> None:
    assert fitted_levels(np.repeat([1.0, 9.0], [count // 2, count - count // 2])) is None


def test_medians_of_blocks() -> None:
    values = np.arange(12.0)
    assert block_medians(values).tolist() == [2.5, 8.5]
    assert block_medians(values, 50, 3).tolist() == [1, 4, 7, 10]
    assert len(block_medians(np.ones(1000))) == 50
