"""The sentences that sum up the parts of a bench."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from made_up_bench import (
    baseline_comparison,
    case_comparisons,
    full_bench,
    latency,
    layer,
    layers,
    plain_bench,
    sweep,
)
from simulated_latencies import lognormal

from cnntk.benchmark.regression import CaseComparison


def titles_of(part: Any) -> list[str]:
    """Titles of the charts of a part."""
    return [chart.title for section in part.sections() for chart in section.charts]


def headline_of(*cases: CaseComparison) -> str:
    return baseline_comparison(*cases).sections()[0].headline


def test_the_verdict() -> None:
    result = plain_bench(latency=replace(latency(np.full(100, 0.052)), findings=()))
    assert result.header().verdict == "p50 0.0520 ms, 19,231 images/s on average; 1 thread"
    several = replace(result.latency, batch=8, threads=2)
    assert replace(result, latency=several).header().verdict.endswith("; 2 threads, batch 8")
    on_gpu = replace(result.latency, device="cuda:0")
    assert replace(result, latency=on_gpu).header().verdict.endswith("; cuda:0")


def test_the_mean_is_shown_for_few_runs() -> None:
    few = replace(latency(np.array([1.0, 3.0])), findings=())
    assert plain_bench(latency=few).header().verdict.startswith("mean 2.00 ms")
    assert titles_of(few)[0] == "A run takes 2.00 ms on average"
    title = titles_of(latency(lognormal(30)))[0]
    assert title.startswith("50 % of the runs take at most")
    assert "99" not in title


def test_what_takes_longest_is_named() -> None:
    result = full_bench()
    assert titles_of(result.cold_start) == ["The first output comes after 344 ms, 78 % of it in the import"]
    assert titles_of(result.layers) == [
        "features.0 takes 55 % of a run, at 59 % of its limit",
        "Layers with a known limit run at 59 % of it",
    ]
    assert titles_of(result.stages)[0].startswith("JPEG takes 3.05 ms, 65 % of it to run; PNG")
    assert titles_of(result.memory) == ["The model takes 41.7 MB; the process peaks at 120.6 MB"]


def test_without_a_limit_and_without_others() -> None:
    assert titles_of(layers(layer("a", 0.0, 0, 0)))[1] == "No layer has a known limit"


def test_a_regression_is_named_only_by_a_limit() -> None:
    slower, same, _ = case_comparisons()
    undecided = replace(same, mostly_disturbed=True)
    assert headline_of(slower, undecided) == ("Slower by more than the limit: latency; undecided: batch 8")
    assert headline_of(undecided) == "Undecided: batch 8"
    assert headline_of(same) == "No case is slower by more than the limit"
    unlimited = replace(slower, regressed=False, fail_above_percent=None)
    assert headline_of(unlimited) == "Slower than the baseline: latency"
    unbound = replace(same, fail_above_percent=None)
    assert headline_of(unbound) == "No case is significantly slower"


def test_threads_that_make_no_difference_are_not_the_best() -> None:
    assert titles_of(sweep((1, 1, 2.0), (1, 2, 1.96))) == [
        "500 images/s: batch 1 on 1 thread; more make no clear difference",
        "2.00 ms a run: batch 1 on 1 thread; more make no clear difference",
    ]
    assert titles_of(sweep((1, 1, 2.0), (1, 2, 1.0))) == [
        "1,000 images/s at most: batch 1 on 2 threads",
        "1.00 ms a run at least: batch 1 on 2 threads",
    ]
    assert titles_of(sweep((1, 1, 1.0), (1, 2, 2.0)))[1] == "1.00 ms a run at least: batch 1 on 1 thread"
