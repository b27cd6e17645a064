"""Intervals cover what they estimate as often as they say, for latencies that are alike, too."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_traces import lognormal, lognormals, mean_of_lognormal, normals, quantile_of_lognormal, trace

from cnntk.benchmark.statistics.intervals import (
    Estimate,
    autocorrelation,
    block_length,
    mean_estimate,
    percentiles,
    quantile_estimate,
    runs_needed,
    t_quantile,
)

SPREAD = 0.3
TRUTH = {q: quantile_of_lognormal(q, SPREAD) for q in (0.5, 0.9, 0.99)} | {None: mean_of_lognormal(SPREAD)}


def coverage(rows: np.ndarray) -> dict[float | None, float]:
    """Share of benches whose interval holds the true median, 90th and 99th percentile and (None) mean."""
    held = dict.fromkeys(TRUTH, 0)
    for row in rows:
        found: dict[float, Estimate | None] = percentiles(row, (50, 90, 99))
        for q, truth in TRUTH.items():
            estimate = mean_estimate(row) if q is None else found[q * 100]
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
    found = [quantile_estimate(row, 0.5) for row in np.exp(SPREAD * rng.normal(size=(500, 12)))]
    assert 0.92 <= np.mean([e.low <= 1 <= e.high for e in found]) <= 0.99
    assert mean_estimate([1.0, 2.0]).high > 3


@pytest.mark.parametrize(("q", "runs"), [(0.5, 20), (0.9, 100), (0.99, 1000), (0.999, 10_000)])
def test_ten_runs_lie_beyond_a_percentile(q: float, runs: int) -> None:
    assert runs_needed(q) == runs
    found = percentiles(np.arange(1.0, runs + 1), (100 * q,))[100 * q]
    assert found is not None
    assert percentiles(np.arange(1.0, runs), (100 * q,)) == {100 * q: None}


def test_a_trace_is_its_latencies() -> None:
    values = lognormal(300)
    assert percentiles(trace(values)) == percentiles(values) == percentiles(values.tolist())
    assert mean_estimate(trace(values)) == mean_estimate(values)


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
    found = quantile_estimate(values, q)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)
    mean = mean_estimate(values)
    assert mean.low <= mean.value <= mean.high


def test_values_that_are_all_the_same() -> None:
    assert quantile_estimate(np.ones(50), 0.5) == mean_estimate(np.ones(50)) == Estimate(1.0, 1.0, 1.0)


def test_blocks_are_as_long_as_latencies_are_alike() -> None:
    lengths = [block_length(lognormals(1, 4000, alike=alike)[0]) for alike in (0.0, 0.5, 0.9)]
    assert lengths[0] <= 3
    assert lengths[0] < lengths[1] < lengths[2] <= 3 * 4000**0.5 + 1


def test_autocorrelation_is_that_of_the_process() -> None:
    found = autocorrelation(normals(np.random.default_rng(0), 1, 50_000, 0.8)[0])
    assert found[:4] == pytest.approx([1, 0.8, 0.64, 0.512], abs=0.02)
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
