"""Simulated sessions, some of them disturbed: what is no slowdown is rarely called one, 5 % are found."""

from dataclasses import replace

import numpy as np
import pytest

from cnntk.benchmark.case import Case
from cnntk.benchmark.slowdown import calm, left_out, mostly_left_out, slowdown_percent
from cnntk.benchmark.statistics.intervals import Estimate

CASES = 500
ANY = Estimate(1.0, 1.0, 1.0)


def case(medians_ms: np.ndarray) -> Case:
    sessions = tuple((float(ms),) for ms in medians_ms)
    return Case({}, None, len(sessions), ANY, ANY, {}, None, sessions)


def simulated(slow: float, count: int, seed: int, longer: float = 1.0) -> list[Case]:
    """Sessions that differ by 2 %, a share of which takes twice as long."""
    rng = np.random.default_rng(seed)
    levels = longer * np.exp(0.02 * rng.standard_normal((CASES, count)))
    return [case(row) for row in levels * np.where(rng.random((CASES, count)) < slow, 2.0, 1.0)]


def slower(base: list[Case], now: list[Case]) -> float:
    """Share of the pairs of which it is said."""
    return float(np.mean([slowdown_percent(*pair).low > 0 for pair in zip(base, now, strict=True)]))


@pytest.mark.parametrize("count", [5, 10], ids=["5 sessions then", "10 sessions then"])
@pytest.mark.parametrize(("slow", "slow_now"), [(0, 0), (0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (0, 0.5)])
def test_what_is_no_slowdown(slow: float, slow_now: float, count: int) -> None:
    assert slower(simulated(slow, count, 0), simulated(slow_now, 10, 1)) <= 0.025


@pytest.mark.parametrize("slow", [0, 0.1, 0.3])
def test_5_percent_are_found(slow: float) -> None:
    assert slower(simulated(slow, 10, 2), simulated(slow, 10, 3, longer=1.05)) >= 0.9


def test_intervals_cover_the_slowdown() -> None:
    pairs = zip(simulated(0.1, 10, 4), simulated(0.1, 10, 5, longer=1.1), strict=True)
    found = [slowdown_percent(*pair) for pair in pairs]
    assert np.mean([one.low <= 10 <= one.high for one in found]) >= 0.95
    assert np.mean([one.value for one in found]) == pytest.approx(10, abs=0.2)


def test_disturbed_sessions_are_left_out() -> None:
    quiet = [(1.0,), (1.01,), (1.02,), (1.1,)]
    assert calm([*quiet, (1.3,), (2.0,)]) == calm(quiet)
    assert calm(quiet).sessions == 4
    assert (left_out(quiet), left_out([*quiet, (1.3,), (2.0,)])) == (0, 2)
    assert calm(quiet).ms == pytest.approx((1.0 * 1.01 * 1.02 * 1.1) ** 0.25)


@pytest.mark.parametrize(
    ("slow_then", "slow", "mostly"),
    [(0, 5, False), (0, 6, True), (0, 8, True), (0, 9, False), (6, 6, False), (6, 7, True)],
)
def test_most_sessions_are_left_out(slow_then: int, slow: int, mostly: bool) -> None:
    """Nine slow ones of ten are as the second fastest is, and none is left out."""
    base, now = (case(np.where(np.arange(10) < number, 1.25, 1.0)) for number in (slow_then, slow))
    assert mostly_left_out(base, now) == mostly


@pytest.mark.parametrize(("slow", "share"), [(0, 0), (0.1, 0.01), (0.3, 0.07), (0.5, 0.3)])
def test_a_disturbed_machine_is_rarely_taken_for_a_model_that_is_slow_at_times(
    slow: float, share: float
) -> None:
    pairs = zip(simulated(slow, 10, 0), simulated(slow, 10, 1), strict=True)
    assert np.mean([mostly_left_out(*pair) for pair in pairs]) <= share


def test_a_lucky_session_does_not_leave_out_the_others() -> None:
    assert calm([(1.0,), (2.0,), (2.01,), (2.02,)]).sessions == 4


def test_two_sessions_are_kept_whatever_they_are() -> None:
    """And tell little: the interval says so."""
    found = slowdown_percent(case(np.array([1.0, 2.0])), case(np.array([3.0, 3.1])))
    assert found.low < -90
    assert found.high > 1000


def test_no_interval_is_narrower_than_two_loadings_are_apart() -> None:
    same = case(np.ones(10))
    found = slowdown_percent(same, replace(same))
    assert (found.value, found.low, found.high) == pytest.approx((0, -1.94, 1.98), abs=0.01)
