import time

import numpy as np
import pytest

from cnntk.benchmark.interleaved import median_interval, race


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for count in (12, 40, 200):
        samples = rng.lognormal(0, 1, (1000, count))  # its median is 1
        covered = sum(low <= 1 <= high for low, high in map(median_interval, samples))
        assert 930 <= covered <= 995


@pytest.mark.parametrize(("count", "alike", "least"), [(70, 0.4, 920), (70, 0.6, 890), (400, 0.6, 920)])
def test_the_interval_holds_for_values_that_are_like_the_ones_before(
    count: int, alike: float, least: int
) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1000, count))
    for i in range(1, count):
        values[:, i] = alike * values[:, i - 1] + np.sqrt(1 - alike**2) * values[:, i]
    assert sum(low <= 0 <= high for low, high in map(median_interval, values)) >= least
    for row in values:
        rng.shuffle(row)  # the control: without their order they are taken for more than they are
    assert sum(low <= 0 <= high for low, high in map(median_interval, values)) < least


def test_an_interval_of_few_is_all_of_them() -> None:
    assert median_interval(np.array([3.0, 1.0, 2.0])) == (1.0, 3.0)


def test_what_takes_twice_as_long_is_told() -> None:
    slow, fast = (lambda: time.sleep(0.002)), (lambda: time.sleep(0.0005))
    found = race(slow, fast, seconds=0.2)
    assert found.differs
    assert found.low > 1
    assert found.low <= found.ratio <= found.high
    assert race(fast, slow, seconds=0.2).high < 1


def test_the_ends_enclose_the_ratio() -> None:
    def work() -> object:
        return sorted(range(2000))

    found = race(work, work, seconds=0.3)
    assert found.low <= found.ratio <= found.high
    assert found.to_json()["pairs"] == found.pairs >= 15


def test_progress_is_told_after_each_pair() -> None:
    told: list[float] = []
    found = race(int, int, seconds=0.2, at_least=2, progress=told.append)
    assert len(told) == found.pairs
    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": float("inf")}, {"at_least": 0}])
def test_no_time_to_measure_in(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        race(int, int, **wrong)
