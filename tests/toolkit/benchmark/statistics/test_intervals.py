"""Intervals cover what they estimate as often as they say, for latencies that are alike, too."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_latencies import lognormal, lognormals, mean_of_lognormal, normals, quantile_of_lognormal

from cnntk.benchmark.statistics.intervals import (
    Estimate,
    UndisturbedSessions,
    autocorrelation,
    block_length,
    independent_mean,
    mean_estimate,
    median_estimate,
    mostly_disturbed,
    percentiles,
    quantile_estimate,
    runs_needed,
    share_estimate,
    slowdown_percent,
    t_quantile,
)

SPREAD = 0.3
TRUTH = {q: quantile_of_lognormal(q, SPREAD) for q in (0.5, 0.9, 0.99)} | {None: mean_of_lognormal(SPREAD)}


def coverage(rows: np.ndarray) -> dict[float | None, float]:
    """Share of benches whose interval holds the true median, 90th and 99th percentile and (None) mean."""
    held = dict.fromkeys(TRUTH, 0)
    for row in rows:
        by_percent: dict[float, Estimate | None] = percentiles(row, (50, 90, 99))
        for q, truth in TRUTH.items():
            estimate = mean_estimate(row) if q is None else by_percent[q * 100]
            held[q] += estimate is not None and estimate.low <= truth <= estimate.high
    return {q: count / len(rows) for q, count in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "alike"),
    [(1000, 0.0), (1000, 0.5), (2000, 0.7), (10_000, 0.9)],
    ids=["iid", "AR(0.5)", "AR(0.7)", "AR(0.9)"],
)
def test_of_1000_benches_92_to_98_percent_are_covered(runs: int, alike: float) -> None:
    for q, share in coverage(lognormals(1000, runs, spread=SPREAD, alike=alike)).items():
        assert 0.92 <= share <= 0.98, q


@pytest.mark.parametrize("alike", [0.0, 0.6], ids=["iid", "AR(0.6)"])
def test_of_100_benches_as_many_are_covered_as_chance_allows(alike: float) -> None:
    for q, share in coverage(lognormals(100, 1000, spread=SPREAD, alike=alike)).items():
        assert 0.87 <= share <= 1, q


def test_without_blocks_intervals_would_be_too_narrow() -> None:
    """The control: the same latencies, without their order."""
    rows = lognormals(100, 1000, spread=SPREAD, alike=0.8).copy()
    np.random.default_rng(0).permuted(rows, axis=1, out=rows)
    assert coverage(rows)[None] < 0.7


def test_few_runs_have_wide_intervals() -> None:
    rng = np.random.default_rng(0)
    estimates = [quantile_estimate(row, 0.5) for row in np.exp(SPREAD * rng.normal(size=(500, 12)))]
    assert 0.92 <= np.mean([e.low <= 1 <= e.high for e in estimates]) <= 0.99
    assert mean_estimate([1.0, 2.0]).high > 3


@pytest.mark.parametrize(("q", "runs"), [(0.5, 20), (0.9, 100), (0.99, 1000), (0.999, 10_000)])
def test_ten_runs_lie_beyond_a_percentile(q: float, runs: int) -> None:
    assert runs_needed(q) == runs
    estimate = percentiles(np.arange(1.0, runs + 1), (100 * q,))[100 * q]
    assert estimate is not None
    assert percentiles(np.arange(1.0, runs), (100 * q,)) == {100 * q: None}


def test_100_000_runs_take_little_time() -> None:
    values = lognormal(100_000)
    start = time.process_time()
    percentiles(values)
    assert time.process_time() - start < 3  # a tenth of it here; drawing all runs would take a minute


def test_the_same_runs_have_the_same_interval() -> None:
    values = lognormal(1000)
    assert quantile_estimate(values, 0.9) == quantile_estimate(values, 0.9)


@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=60), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_the_interval_holds_the_value_and_lies_among_the_runs(values: list[float], q: float) -> None:
    estimate = quantile_estimate(values, q)
    assert min(values) <= estimate.low <= estimate.value <= estimate.high <= max(values)
    mean = mean_estimate(values)
    assert mean.low <= mean.value <= mean.high


def test_values_that_are_all_the_same() -> None:
    assert quantile_estimate(np.ones(50), 0.5) == mean_estimate(np.ones(50)) == Estimate(1.0, 1.0, 1.0)


def test_blocks_are_as_long_as_latencies_are_alike() -> None:
    lengths = [block_length(lognormals(1, 4000, alike=alike)[0]) for alike in (0.0, 0.5, 0.9)]
    assert lengths[0] <= 3
    assert lengths[0] < lengths[1] < lengths[2] <= 3 * 4000**0.5 + 1


def test_autocorrelation_is_that_of_the_process() -> None:
    correlations = autocorrelation(normals(np.random.default_rng(0), 1, 50_000, 0.8)[0])
    assert correlations[:4] == pytest.approx([1, 0.8, 0.64, 0.512], abs=0.02)
    assert not autocorrelation(np.ones(8)).any()


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (9, 2.262), (30, 2.042), (float("inf"), 1.960)],
)
def test_student_s_t(freedom: float, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("wrong", [[], [1.0], [1.0, float("nan")], [[1.0, 2.0], [1.0, 2.0]]])
def test_no_row_of_latencies(wrong: list) -> None:
    with pytest.raises(ValueError, match="at least 2 finite latencies"):
        mean_estimate(wrong)


@pytest.mark.parametrize("wrong", [0.4, 1.0])
def test_no_quantile(wrong: float) -> None:
    with pytest.raises(ValueError, match="q must"):
        runs_needed(wrong)
    with pytest.raises(ValueError, match="q must"):
        quantile_estimate([1.0, 2.0], wrong + 1)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for count in (12, 40, 200):
        samples = rng.lognormal(0, 1, (1000, count))  # its median is 1
        covered = sum(e.low <= 1 <= e.high for e in map(median_estimate, samples))
        assert 930 <= covered <= 995


@pytest.mark.parametrize(("count", "alike", "least"), [(70, 0.4, 920), (70, 0.6, 890), (400, 0.6, 920)])
def test_the_interval_holds_for_values_that_are_like_the_ones_before(
    count: int, alike: float, least: int
) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1000, count))
    for i in range(1, count):
        values[:, i] = alike * values[:, i - 1] + np.sqrt(1 - alike**2) * values[:, i]
    assert sum(e.low <= 0 <= e.high for e in map(median_estimate, values)) >= least
    for row in values:
        rng.shuffle(row)  # the control: without their order they are taken for more than they are
    assert sum(e.low <= 0 <= e.high for e in map(median_estimate, values)) < least


def test_an_interval_of_few_is_all_of_them() -> None:
    assert median_estimate(np.array([3.0, 1.0, 2.0])) == Estimate(2.0, 1.0, 3.0)


CASES = 500
Sessions = list[tuple[float, ...]]


def sessions(medians_ms: np.ndarray) -> Sessions:
    return [(float(ms),) for ms in medians_ms]


def simulated(slow: float, count: int, seed: int, longer: float = 1.0) -> list[Sessions]:
    """Sessions that differ by 2 %, a share of which takes twice as long."""
    rng = np.random.default_rng(seed)
    levels = longer * np.exp(0.02 * rng.standard_normal((CASES, count)))
    return [sessions(row) for row in levels * np.where(rng.random((CASES, count)) < slow, 2.0, 1.0)]


def slower(base: list[Sessions], now: list[Sessions]) -> float:
    """Share of the pairs of which it is said."""
    return float(np.mean([slowdown_percent(*pair).low > 0 for pair in zip(base, now, strict=True)]))


@pytest.mark.parametrize("count", [5, 10], ids=["5 sessions then", "10 sessions then"])
@pytest.mark.parametrize(("slow", "slow_now"), [(0, 0), (0.1, 0.1), (0.3, 0.3), (0.5, 0.5), (0, 0.5)])
def test_what_is_no_slowdown(slow: float, slow_now: float, count: int) -> None:
    assert slower(simulated(slow, count, 0), simulated(slow_now, 10, 1)) <= 0.025


@pytest.mark.parametrize("slow", [0, 0.1, 0.3])
def test_a_slowdown_of_5_percent(slow: float) -> None:
    assert slower(simulated(slow, 10, 2), simulated(slow, 10, 3, longer=1.05)) >= 0.9


def test_intervals_cover_the_slowdown() -> None:
    pairs = zip(simulated(0.1, 10, 4), simulated(0.1, 10, 5, longer=1.1), strict=True)
    estimates = [slowdown_percent(*pair) for pair in pairs]
    assert np.mean([one.low <= 10 <= one.high for one in estimates]) >= 0.95
    assert np.mean([one.value for one in estimates]) == pytest.approx(10, abs=0.2)


def test_disturbed_sessions_are_left_out() -> None:
    quiet = [(1.0,), (1.01,), (1.02,), (1.1,)]
    assert replace(UndisturbedSessions.of([*quiet, (1.3,), (2.0,)]), disturbed=0) == UndisturbedSessions.of(
        quiet
    )
    assert UndisturbedSessions.of(quiet).sessions == 4
    assert (
        UndisturbedSessions.of(quiet).disturbed,
        UndisturbedSessions.of([*quiet, (1.3,), (2.0,)]).disturbed,
    ) == (0, 2)
    assert UndisturbedSessions.of(quiet).ms == pytest.approx((1.0 * 1.01 * 1.02 * 1.1) ** 0.25)


@pytest.mark.parametrize(
    ("slow_then", "slow", "mostly"),
    [(0, 5, False), (0, 6, True), (0, 8, True), (0, 9, False), (6, 6, False), (6, 7, True)],
)
def test_most_sessions_are_left_out(slow_then: int, slow: int, mostly: bool) -> None:
    """Nine slow ones of ten are as the second fastest is, and none is left out."""
    base, now = (sessions(np.where(np.arange(10) < number, 1.25, 1.0)) for number in (slow_then, slow))
    assert mostly_disturbed(base, now) == mostly


@pytest.mark.parametrize(("slow", "share"), [(0, 0), (0.1, 0.01), (0.3, 0.07), (0.5, 0.3)])
def test_a_disturbed_machine_rarely_looks_like_a_slow_model(slow: float, share: float) -> None:
    pairs = zip(simulated(slow, 10, 0), simulated(slow, 10, 1), strict=True)
    assert np.mean([mostly_disturbed(*pair) for pair in pairs]) <= share


def test_a_lucky_session_does_not_leave_out_the_others() -> None:
    assert UndisturbedSessions.of([(1.0,), (2.0,), (2.01,), (2.02,)]).sessions == 4


def test_two_sessions_always_remain() -> None:
    """And tell little: the interval says so."""
    estimate = slowdown_percent(sessions(np.array([1.0, 2.0])), sessions(np.array([3.0, 3.1])))
    assert estimate.low < -90
    assert estimate.high > 1000


def test_no_interval_is_narrower_than_two_loadings_are_apart() -> None:
    same = sessions(np.ones(10))
    estimate = slowdown_percent(same, same)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0, -1.94, 1.98), abs=0.01)


@pytest.mark.parametrize(("successes", "count"), [(0, 9), (9, 9), (1, 1), (3, 10), (356, 359), (9924, 10**4)])
def test_a_share_has_the_interval_that_no_test_rejects(successes: int, count: int) -> None:
    """Wilson's ends are the shares p from which the measured one is 1.96 standard errors away."""
    estimate = share_estimate(successes, count)
    assert 0 <= estimate.low <= estimate.value == successes / count <= estimate.high <= 1
    for p in (estimate.low, estimate.high):
        if 0 < p < 1:
            assert abs(estimate.value - p) / math.sqrt(p * (1 - p) / count) == pytest.approx(1.96, abs=1e-3)


def test_the_interval_of_a_share_covers_it() -> None:
    hits = np.random.default_rng(0).binomial(60, 0.97, 2000)
    estimates = [share_estimate(int(one), 60) for one in hits]
    assert 0.93 < np.mean([one.low <= 0.97 <= one.high for one in estimates]) < 0.99


@pytest.mark.parametrize(("successes", "count"), [(1, 0), (-1, 3), (4, 3)])
def test_a_share_of_nothing(successes: int, count: int) -> None:
    with pytest.raises(ValueError, match="successes of"):
        share_estimate(successes, count)


def test_the_interval_of_independent_values_covers_their_mean() -> None:
    rows = np.random.default_rng(1).normal(3, 2, (2000, 12))
    estimates = [independent_mean(row) for row in rows]
    assert 0.93 < np.mean([one.low <= 3 <= one.high for one in estimates]) < 0.97
    assert estimates[0].value == rows[0].mean()
    alone = independent_mean(np.array([2.0]))
    assert (alone.value, alone.low, alone.high) == (2.0, -math.inf, math.inf)
