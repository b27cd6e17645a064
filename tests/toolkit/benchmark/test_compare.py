"""The verdict follows the interval, and real calls that are far apart are told apart."""

import time

import pytest

from cnntk.benchmark.compare import Comparison, compare_interleaved
from cnntk.runtime.codec import as_json, decode


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.03, 1.10, "faster"),
        (0.90, 0.97, "slower"),
        (0.97, 1.03, "no difference"),
        (1.01, 1.10, "no difference"),  # real, perhaps, but not more than two loadings of one model
        (0.90, 0.99, "no difference"),
        (0.00, float("inf"), "no difference"),
    ],
)
def test_the_verdict_is_about_the_second(low: float, high: float, verdict: str) -> None:
    comparison = Comparison((low + high) / 2, low, high, 2.0, 1.0, 30)
    assert comparison.verdict == verdict
    assert as_json(comparison)["verdict"] == verdict


def test_json_round_trip() -> None:
    comparison = Comparison(1.2, 1.1, 1.3, 2.0, 1.0, 30, ("other processes used 50 %",))
    assert comparison.differs
    assert decode(Comparison, as_json(comparison), "comparison") == comparison


def test_a_call_that_takes_three_times_as_long_is_slower() -> None:
    fast, slow = (lambda: time.sleep(0.001)), (lambda: time.sleep(0.003))
    slower = compare_interleaved(fast, slow, seconds=0.3)
    assert slower.verdict == "slower"
    assert slower.high < 1
    faster = compare_interleaved(slow, fast, seconds=0.3)
    assert faster.verdict == "faster"
    assert faster.differs
    assert 1 < faster.low <= faster.ratio <= faster.high


def test_the_interval_encloses_the_ratio() -> None:
    def work() -> object:
        return sorted(range(2000))

    comparison = compare_interleaved(work, work, seconds=0.3, min_pairs=15)
    assert comparison.low <= comparison.ratio <= comparison.high
    assert as_json(comparison)["pairs"] == comparison.pairs >= 15


def test_progress_after_each_pair() -> None:
    shares: list[float] = []
    wait = lambda: time.sleep(0.001)  # noqa: E731
    comparison = compare_interleaved(wait, wait, seconds=0.5, progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] == 1
    assert len(shares) == comparison.pairs >= 6


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": float("inf")}, {"min_pairs": 0}])
def test_no_time_to_compare_in(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        compare_interleaved(int, int, **wrong)
