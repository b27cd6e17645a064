from dataclasses import replace

import numpy as np
from made_up_bench import case_comparisons, full_bench, latency, layer, layers, plain_bench, sweep
from made_up_traces import lognormal

from cnntk.reports import headlines


def test_the_verdict() -> None:
    result = plain_bench(latency=latency(np.full(100, 0.052)))
    assert headlines.verdict_of(result) == "p50 0.0520 ms; 19,200 images/s on average; 1 thread"
    several = replace(result.latency, batch=8, threads=2)
    assert headlines.verdict_of(replace(result, latency=several)).endswith("; 2 threads, batch 8")
    on_gpu = replace(result.latency, device="cuda:0")
    assert headlines.verdict_of(replace(result, latency=on_gpu)).endswith("; cuda:0")


def test_of_few_runs_the_mean_is_told() -> None:
    few = latency(np.array([1.0, 3.0]))
    assert headlines.verdict_of(plain_bench(latency=few)).startswith("mean 2.00 ms")
    assert headlines.latency_headline(few) == "A run takes 2.00 ms on average"
    told = headlines.latency_headline(latency(lognormal(30)))
    assert told.startswith("50 % of the runs within")
    assert "99" not in told


def test_what_takes_longest_is_named() -> None:
    result = full_bench()
    assert result.cold_start is not None
    assert result.layers is not None
    assert result.stages is not None
    assert result.memory is not None
    assert headlines.cold_start_headline(result.cold_start) == (
        "The first answer comes after 344 ms, 78 % of it the import"
    )
    assert headlines.layers_headline(result.layers) == "features.0 takes 55 % of a run, at 59 % of its limit"
    assert headlines.roofline_headline(result.layers) == "Layers that a limit binds run at 59 % of it"
    assert headlines.stages_headline(result.stages).startswith("JPEG takes 3.05 ms, 65 % of it to run; PNG")
    assert headlines.memory_headline(result.memory) == "The model takes 41.7 MB; the process 121 MB at most"


def test_without_a_limit_and_without_others() -> None:
    nothing = layers(layer("a", 0.0, 0, 0))
    assert headlines.roofline_headline(nothing) == "No layer has a limit that is known"
    assert headlines.against_headline(()) == "Nobody could be measured"
    assert headlines.regression_headline(()) == "Nothing is slower than is borne"


def test_only_by_a_bound_something_is_borne_or_not() -> None:
    slower, same, _ = case_comparisons()
    undecided = replace(same, mostly_disturbed=True)
    assert headlines.regression_headline([slower, undecided]) == (
        "Slower than is borne: latency; undecided: batch 8"
    )
    assert headlines.regression_headline([undecided]) == "Undecided: batch 8"
    assert headlines.regression_headline([same]) == "Nothing is slower than is borne"
    told = replace(slower, regressed=False, fail_above_percent=None)
    assert headlines.regression_headline([told]) == "Slower than then: latency"
    unbound = replace(same, fail_above_percent=None)
    assert headlines.regression_headline([unbound]) == "Nothing is surely slower than then"


def test_threads_that_make_no_difference_are_not_the_best() -> None:
    alike = sweep((1, 1, 2.0), (1, 2, 1.96))
    assert headlines.latency_sweep_headline(alike) == (
        "2.00 ms a run: batch 1 on 1 thread; more make no clear difference"
    )
    assert headlines.throughput_headline(alike) == (
        "500 images/s: batch 1 on 1 thread; more make no clear difference"
    )
    apart = sweep((1, 1, 2.0), (1, 2, 1.0))
    assert headlines.latency_sweep_headline(apart) == "1.00 ms a run at least: batch 1 on 2 threads"
    assert headlines.throughput_headline(apart) == "1,000 images/s at most: batch 1 on 2 threads"
    slower = sweep((1, 1, 1.0), (1, 2, 2.0))
    assert headlines.latency_sweep_headline(slower) == "1.00 ms a run at least: batch 1 on 1 thread"
