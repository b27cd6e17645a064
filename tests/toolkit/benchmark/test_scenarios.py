import sys
from pathlib import Path
from typing import Any

import pytest

from cnntk.benchmark.scenarios import ScenarioResult, measure_scenario, result_of
from cnntk.runtime.errors import MissingDependency, UsageError

SINGLE_STREAM: dict[str, Any] = {
    "loadgen_version": "6.0.17 @ d6147c7eb7",
    "effective_samples_per_query": 1,
    "effective_target_qps": 9000,
    "effective_target_latency_ns": 0,
    "effective_target_latency_percentile": 0.9,
    "effective_min_duration_ms": 600000,
    "effective_max_duration_ms": 0,
    "effective_min_query_count": 100,
    "effective_performance_sample_count": 1024,
    "result_validity": "VALID",
    "result_min_duration_met": True,
    "result_min_queries_met": True,
    "early_stopping_met": True,
    "early_stopping_result": "",
    "early_stopping_latency_ss": 2624,
    "result_query_count": 5000,
    "result_50.00_percentile_latency_ns": 1643,
    "result_90.00_percentile_latency_ns": 2614,
    "result_99.00_percentile_latency_ns": 3465,
    "result_99.90_percentile_latency_ns": 25358,
    "errors": [],
}
"""What the load generator wrote of a run, cut down."""

SERVER: dict[str, Any] = SINGLE_STREAM | {
    "effective_target_latency_ns": 15_000_000,
    "effective_target_latency_percentile": 0.99,
    "result_perf_constraints_met": True,
    "result_completed_samples_per_sec": 95.4,
}


def result(scenario: Any, log: dict[str, Any], samples: int = 1024, padding: int = 0) -> ScenarioResult:
    found = {
        "log": log,
        "different_samples": samples,
        "batch": 3 if padding else 32,
        "fixed_batch": 3 if padding else None,
        "padding": padding,
        "accuracy": None,
        "accuracy_images": 0,
    }
    return result_of(scenario, found, ("noise",))


def test_a_valid_result() -> None:
    found = result("SingleStream", SINGLE_STREAM)
    assert (found.valid, found.reasons) == (True, ())
    estimate = "90th percentile latency, early-stopping estimate"
    assert (found.metric, found.value, found.unit) == (estimate, 0.002624, "ms")
    assert (found.queries, found.samples, found.loadgen) == (5000, 5000, "6.0.17")
    assert found.settings["min_duration_ms"] == 600000
    assert found.to_json()["valid"]


def test_how_many_ran_together_is_told_where_more_than_one_may() -> None:
    found = result("Server", SERVER)
    assert (found.batch, found.notes) == (32, ("noise", "at most 32 samples ran together"))
    assert result("SingleStream", SINGLE_STREAM).notes == ("noise",)


def test_padding_is_told_and_no_reason() -> None:
    found = result("SingleStream", SINGLE_STREAM, padding=10_000)
    told = "the model's batch is fixed at 3: 10,000 of the 15,000 samples that were run are padding"
    assert (found.valid, found.samples, found.notes) == (True, 5000, ("noise", told))
    assert result("SingleStream", SINGLE_STREAM).notes == ("noise",)


def test_no_percentile_that_means_nothing() -> None:
    assert list(result("SingleStream", SINGLE_STREAM).percentiles_ms) == ["50", "90", "99"]
    more = SINGLE_STREAM | {"result_query_count": 10_000}
    assert list(result("SingleStream", more).percentiles_ms) == ["50", "90", "99", "99.9"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"result_min_duration_met": False}, "lasted less than MLPerf's 600 s"),
        ({"result_min_queries_met": False}, "fewer than MLPerf's 100 queries"),
        ({"result_perf_constraints_met": False}, "fewer than 99% of the queries took 15 ms or less"),
        (
            {"early_stopping_met": False, "early_stopping_result": " * Processed 1.\n * More."},
            "too few queries to be sure of the percentile: Processed 1. More.",
        ),
        ({"errors": ["Ending early: Ran out"]}, "the load generator: Ending early: Ran out"),
    ],
)
def test_each_rule_that_is_broken_is_a_reason(changed: dict[str, Any], reason: str) -> None:
    assert result("Server", SERVER).valid
    found = result("Server", SERVER | {"result_validity": "INVALID"} | changed)
    assert (found.valid, found.reasons) == (False, (reason,))


def test_what_is_said_already_is_not_said_again() -> None:
    raw = ["IssueQueryThread 0 Ending early: Max test duration reached. duration_ns 1000133274"]
    short = SERVER | {"result_validity": "INVALID", "result_min_duration_met": False, "errors": raw}
    assert result("Server", short).reasons == ("lasted less than MLPerf's 600 s",)
    assert result("Server", short | {"result_min_duration_met": True}).reasons == (
        f"the load generator: {raw[0]}",
    )


def test_what_the_load_generator_says_counts_without_a_reason_too() -> None:
    assert not result("Server", SERVER | {"result_validity": "INVALID"}).valid


def test_rules_that_the_load_generator_leaves_to_us() -> None:
    found = result("Server", SERVER, samples=10)
    assert (found.valid, found.reasons) == (False, ("had 10 different samples, MLPerf at least 1024",))
    log = SINGLE_STREAM | {"effective_samples_per_query": 24_575, "result_query_count": 1}
    log |= {"result_samples_per_second": 9.5}
    found = result("Offline", log)
    assert (found.valid, found.reasons) == (False, ("sent 24575 samples, MLPerf at least 24576",))
    assert (found.value, found.unit, found.percentiles_ms) == (9.5, "1/s", {})
    assert result("Offline", log | {"effective_samples_per_query": 24_576}).valid


@pytest.mark.parametrize(
    ("scenario", "wrong", "says"),
    [
        ("Singlestream", {}, "choose one of SingleStream, MultiStream, Server, Offline"),
        ("Server", {"seconds": 0}, "seconds 0 must be a positive number"),
        ("Server", {"target_qps": -1}, "target_qps -1 must be"),
        ("Server", {"batch": 0}, "batch 0 must be"),
        ("Offline", {"target_latency_ms": 5}, "is for the scenario Server, not for Offline"),
    ],
)
def test_wrong_use(scenario: Any, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        measure_scenario("none.onnx", scenario, **wrong)


def test_without_the_load_generator_it_says_what_to_install(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)  # so that importing it fails
    with pytest.raises(MissingDependency, match=r"pip install 'cnntk\[loadgen\]'"):
        measure_scenario(tiny_onnx, "Offline")
