"""Where latencies become steady, on traces where it is known; and a warm-up of a real call."""

import time

import numpy as np
import pytest
from simulated_latencies import lognormals, samples

from cnntk.benchmark.statistics.samples import steady_from, warm_up
from cnntk.runtime.codec import as_json

COUNTS = pytest.mark.parametrize("count", [300, 1000, 10_000])
ALIKE = pytest.mark.parametrize("alike", [0.0, 0.7], ids=["iid", "AR(0.7)"])


def steady_starts(level: np.ndarray, alike: float = 0.0) -> list[float]:
    """Shares of the trace that are given up, of 20 with other noise, in order."""
    noise = lognormals(20, len(level), alike=alike)
    return sorted(steady_from(samples(level * row)) / len(level) for row in noise)


@COUNTS
@ALIKE
def test_what_is_steady_from_the_first_run_on(count: int, alike: float) -> None:
    shares = steady_starts(np.ones(count), alike)
    assert shares[10] == 0
    assert shares[-2] < 0.5  # of 20, one may be taken for unsteady


@COUNTS
def test_an_exponential_decay(count: int) -> None:
    shares = steady_starts(1 + 2 * np.exp(-np.arange(count) / (count / 20)))
    assert shares[1] >= 0.1  # there it is still 27 % too slow
    assert shares[-2] <= 0.45


@COUNTS
@ALIKE
def test_a_step(count: int, alike: float) -> None:
    shares = steady_starts(np.where(np.arange(count) < 0.2 * count, 1.5, 1), alike)
    assert shares[1] >= 0.195
    assert shares[10] <= 0.25
    assert shares[-2] <= 0.45


@pytest.mark.parametrize("count", [1000, 10_000])
def test_a_drift_never_gets_steady(count: int) -> None:
    assert steady_starts(np.linspace(1, 1.5, count))[1] == 1


@COUNTS
def test_a_late_step_is_not_steady(count: int) -> None:
    assert steady_starts(np.where(np.arange(count) < 0.8 * count, 1, 1.5))[0] == 1


@pytest.mark.parametrize("count", [0, 1, 20, 99])
def test_too_few_to_tell(count: int) -> None:
    assert steady_from(samples(np.ones(count))) == count


@pytest.mark.parametrize("count", [100, 120, 190])
def test_enough_are_left_to_tell(count: int) -> None:
    """Where the first ones are given up, what remains is neither called steady unseen, nor all given up."""
    slow = 1 - 100 / count
    assert steady_starts(np.where(np.arange(count) < slow * count, 1.5, 1))[10] == pytest.approx(
        slow, abs=0.03
    )
    assert steady_starts(np.linspace(1.5, 1, count))[2] == 1


def test_a_warm_up_ends_when_runs_are_steady() -> None:
    calls = []

    def call() -> None:
        calls.append(None)
        time.sleep(0.01 if len(calls) == 1 else 0.001)

    done = warm_up(call, max_seconds=5)
    assert done.runs == len(calls) >= 20
    assert done.first_ms >= 10
    assert done.steady == (done.steady_after_s is not None)
    assert done.steady_after_s is None or 0 <= done.steady_after_s <= done.seconds
    assert as_json(done)["reason"] == done.reason


def test_a_warm_up_that_never_gets_steady_ends_with_its_time() -> None:
    state = [0.0001]

    def slower_and_slower() -> None:
        state[0] *= 1.02
        time.sleep(state[0])

    done = warm_up(slower_and_slower, max_seconds=0.5)
    assert not done.steady
    assert done.steady_after_s is None
    assert "not steady after 0.5" in done.reason


def test_a_call_that_takes_longer_than_there_is_time() -> None:
    done = warm_up(lambda: time.sleep(0.03), max_seconds=0.01)
    assert (done.runs, done.steady) == (1, None)
    assert "too few to tell" in done.reason


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_no_time_to_warm_up_in(wrong: float) -> None:
    with pytest.raises(ValueError, match="max_seconds"):
        warm_up(int, max_seconds=wrong)
