"""A word is said only where the interval allows it; real calls that are far apart are told."""

import time

import pytest

from cnntk.benchmark.compare import compare, judged
from cnntk.benchmark.interleaved import Race


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
def test_the_word_is_about_the_second(low: float, high: float, verdict: str) -> None:
    found = judged(Race((low + high) / 2, low, high, 2.0, 1.0, 30))
    assert found.verdict == verdict
    assert found.to_json()["verdict"] == verdict
    assert (found.low, found.high, found.pairs) == (low, high, 30)


def test_what_takes_three_times_as_long_is_slower() -> None:
    fast, slow = (lambda: time.sleep(0.001)), (lambda: time.sleep(0.003))
    assert compare(fast, slow, seconds=0.3).verdict == "slower"
    assert compare(slow, fast, seconds=0.3).verdict == "faster"


def test_progress_is_told_from_pair_to_pair() -> None:
    told: list[float] = []
    found = compare(lambda: time.sleep(0.001), lambda: time.sleep(0.001), seconds=0.5, progress=told.append)
    assert told == sorted(told)
    assert 0 < told[0] <= told[-1] == 1
    assert len(told) == found.pairs >= 6


def test_no_time_to_compare_in() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        compare(int, int, seconds=0)
