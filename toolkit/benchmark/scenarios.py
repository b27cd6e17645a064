"""MLPerf's scenarios, by its own load generator: SingleStream, MultiStream, Server and Offline.

What is sent when, how long, and what makes a result valid is the load generator's, with the settings that it
brings for image classification (its benchmark ``resnet50``). See https://github.com/mlcommons/inference/tree/master/loadgen
and Reddi et al., MLPerf Inference Benchmark (2020), arXiv:1911.02549.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from cnntk.benchmark.isolated import apart
from cnntk.runtime.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from cnntk.data.labeled import LabeledFiles

__all__ = ["SETTINGS", "Scenario", "ScenarioResult", "measure_scenario", "result_of"]

Scenario = Literal["SingleStream", "MultiStream", "Server", "Offline"]

Log = dict[str, Any]

_PERCENTILE = re.compile(r"result_(\d+\.\d+)_percentile_(?:per_query_)?latency_ns")

_RAN_OUT = re.compile("Ending early: Max test duration reached")
"""What the load generator writes of a run that ``seconds`` cut short, once for each of its threads."""

SETTINGS = (
    "samples_per_query",
    "target_qps",
    "target_latency_ns",
    "target_latency_percentile",
    "min_duration_ms",
    "max_duration_ms",
    "min_query_count",
    "performance_sample_count",
)
"""Of the load generator's, those that a result tells."""

_ENOUGH = 10
"""Queries beyond a percentile, of which it needs so many to mean something."""

_BATCH = 32

_SAMPLES = 1024
"""Different samples, of which MLPerf sends no fewer."""

_OFFLINE_SAMPLES = 24_576
"""Of its one query, by MLPerf's rule."""


@dataclass(frozen=True)
class ScenarioResult:
    """What the load generator measured.

    Attributes:
        scenario: MLPerf's name of it.
        valid: whether MLPerf would take it.
        reasons: why not, a phrase each.
        metric: what MLPerf compares: ``samples per second``; ``90th percentile latency, early-stopping
            estimate``: with 99 % confidence the percentile is no longer than that, so it is above the one
            in ``percentiles_ms``. Of too few queries for it, ``90th percentile latency`` as it was measured.
        value: of the metric, in ``unit``.
        unit: ``ms`` or ``1/s``.
        percentiles_ms: latency of a query as measured, by ``50``, ``99.9``; those that at least ten queries
            lie beyond. Empty for Offline, which is one query.
        queries: that were sent.
        samples: that were answered.
        batch: samples that ran together at most.
        accuracy: share of the labeled images that are read right, 0 to 1; None without such images.
        accuracy_images: how many these are.
        settings: the load generator's, as they took effect; 0 where there is no such bound.
        loadgen: its version.
        notes: what else to know.
    """

    scenario: Scenario
    valid: bool
    reasons: tuple[str, ...]
    metric: str
    value: float
    unit: str
    percentiles_ms: dict[str, float]
    queries: int
    samples: int
    batch: int
    accuracy: float | None
    accuracy_images: int
    settings: dict[str, float]
    loadgen: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def measure_scenario(
    model: str | os.PathLike[str],
    scenario: Scenario,
    *,
    device: str = "cpu",
    threads: int | None = None,
    seconds: float | None = None,
    target_qps: float | None = None,
    target_latency_ms: float | None = None,
    batch: int | None = None,
    files: LabeledFiles | None = None,
) -> ScenarioResult:
    """Runs one scenario, in a process of its own.

    Preparing images is not measured: MLPerf has them in memory, prepared. What a classifier answers is
    brought down to the number of the class, which is measured. The load generator makes all queries
    beforehand: 10 minutes of a model of 60 µs take 2.5 GB. Where the model's batch is fixed, samples are
    padded to it with copies, whose answers are thrown away: a note says how many.

    Args:
        model: an ``.onnx`` file.
        scenario: one of MLPerf's four.
        device: as `Engine` takes it.
        threads: as `Engine` takes it.
        seconds: to stop after, instead of MLPerf's 10 minutes: a result, but not a valid one, as it says.
        target_qps: of Server, queries a second; by default MLPerf's 1, which stands for "say it yourself".
        target_latency_ms: of Server, for 99 % of the queries; by default MLPerf's 15 ms.
        batch: samples that run together at most, 32 if it isn't said; the model's own, where that is fixed.
        files: labeled images: they are what is sent, and after the measurement all of them are sent once
            more, to see how many are read right. Else seeded noise is sent.

    Raises:
        UsageError: there is no such scenario, an option is not for it, or the model's batch is fixed, but not
            that of all its inputs and outputs.
        MissingDependency: the load generator is not installed.
        UnsupportedArtifact: there are files, but the model is no classifier of images.
        InferenceError: the process ended without a result.
    """
    _check(scenario, seconds, target_qps, target_latency_ms, batch)
    asked = {
        "model": os.fspath(model),
        "device": device,
        "threads": threads,
        "scenario": scenario,
        "seconds": seconds,
        "target_qps": target_qps,
        "target_latency_ms": target_latency_ms,
        "batch": batch or _BATCH,
        "sample_count": _SAMPLES,
        "paths": list(files.paths) if files is not None else [],
        "labels": list(files.labels) if files is not None else [],
    }
    found = apart("cnntk.benchmark.loadgen:measured", asked)
    return result_of(scenario, found, tuple(_notes(scenario, files, target_qps)))


def _check(
    scenario: str, seconds: float | None, qps: float | None, latency_ms: float | None, batch: int | None
) -> None:
    if scenario not in get_args(Scenario):
        raise UsageError(f"scenario {scenario!r}: choose one of {', '.join(get_args(Scenario))}")
    given = {"seconds": seconds, "target_qps": qps, "target_latency_ms": latency_ms, "batch": batch}
    for name, value in given.items():
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{name} {value:g} must be a positive number")
        if value is not None and name.startswith("target") and scenario != "Server":
            raise UsageError(f"{name}: is for the scenario Server, not for {scenario}")
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise MissingDependency(
            "MLPerf's load generator is not installed; run: pip install 'cnntk[loadgen]' (mlcommons-loadgen)"
        )


def _notes(scenario: Scenario, files: LabeledFiles | None, target_qps: float | None) -> Iterator[str]:
    if files is None:
        yield "seeded noise was sent; labeled images would show the accuracy, too"
    if scenario == "Server" and target_qps is None:
        yield "1 query a second is MLPerf's placeholder; say with --qps (target_qps) what you expect"


def result_of(scenario: Scenario, found: dict[str, Any], notes: tuple[str, ...]) -> ScenarioResult:
    """What the load generator's log says.

    Args:
        scenario: that was run.
        found: by `cnntk.benchmark.loadgen.measured`.
        notes: of the result.
    """
    log: Log = found["log"]
    queries = int(log["result_query_count"])
    samples = queries * int(log["effective_samples_per_query"])
    batch = _batch(scenario, found)
    reasons = tuple(_reasons(scenario, log, found["different_samples"], samples))
    metric, value, unit = _metric(scenario, log)
    return ScenarioResult(
        scenario=scenario,
        valid=log["result_validity"] == "VALID" and not reasons,
        reasons=reasons,
        metric=metric,
        value=value,
        unit=unit,
        percentiles_ms={} if scenario == "Offline" else _percentiles_ms(log, queries),
        queries=queries,
        samples=samples,
        batch=batch,
        accuracy=found["accuracy"],
        accuracy_images=found["accuracy_images"],
        settings={name: log[f"effective_{name}"] for name in SETTINGS},
        loadgen=str(log["loadgen_version"]).split()[0],
        notes=(*notes, *_together(scenario, batch), *_padded(found, samples)),
    )


def _batch(scenario: Scenario, found: dict[str, Any]) -> int:
    """Samples of different queries run together in Server alone."""
    if scenario == "Server" or found["fixed_batch"]:
        return int(found["batch"])
    return min(int(found["batch"]), int(found["log"]["effective_samples_per_query"]))


def _together(scenario: Scenario, batch: int) -> Iterator[str]:
    if scenario != "SingleStream":
        yield f"at most {batch} samples ran together"


def _padded(found: dict[str, Any], samples: int) -> Iterator[str]:
    if padding := found["padding"]:
        yield (
            f"the model's batch is fixed at {found['fixed_batch']}: {padding:,} of the {samples + padding:,} "
            "samples that were run are padding"
        )


def _reasons(scenario: Scenario, log: Log, different: int, samples: int) -> Iterator[str]:
    """Why MLPerf would not take a result: the load generator's own rules, and those that it leaves to us."""
    least_s = log["effective_min_duration_ms"] / 1e3
    if not log.get("result_perf_constraints_met", True):
        share = log["effective_target_latency_percentile"]
        most_ms = log["effective_target_latency_ns"] / 1e6
        yield f"fewer than {share:.0%} of the queries took {most_ms:g} ms or less"
    if not log["result_min_duration_met"]:
        yield f"lasted less than MLPerf's {least_s:g} s"
    if not log["result_min_queries_met"]:
        yield f"fewer than MLPerf's {log['effective_min_query_count']} queries"
    if not log["early_stopping_met"]:
        yield f"too few queries to be sure of the percentile: {_plain(log['early_stopping_result'])}"
    if scenario == "Offline" and samples < _OFFLINE_SAMPLES:
        yield f"sent {samples} samples, MLPerf at least {_OFFLINE_SAMPLES}"
    if different < _SAMPLES:
        yield f"had {different} different samples, MLPerf at least {_SAMPLES}"
    for message in map(_plain, log["errors"]):
        if log["result_min_duration_met"] or not _RAN_OUT.search(message):
            yield f"the load generator: {message}"


def _metric(scenario: Scenario, log: Log) -> tuple[str, float, str]:
    """What MLPerf compares; latencies as its early stopping estimates them, given queries enough."""
    if scenario == "Offline":
        return "samples per second", float(log["result_samples_per_second"]), "1/s"
    if scenario == "Server":
        return "completed samples per second", float(log["result_completed_samples_per_sec"]), "1/s"
    percentile = 100 * float(log["effective_target_latency_percentile"])
    short = {"SingleStream": "ss", "MultiStream": "ms"}[scenario]
    each = "_per_query" if scenario == "MultiStream" else ""
    measured = log[f"result_{percentile:.2f}_percentile{each}_latency_ns"]
    estimated = log.get(f"early_stopping_latency_{short}") if log["early_stopping_met"] else None
    name = f"{percentile:g}th percentile latency{', early-stopping estimate' if estimated else ''}"
    return name, float(estimated or measured) / 1e6, "ms"


def _percentiles_ms(log: Log, queries: int) -> dict[str, float]:
    """Of queries, where the samples of one are several, else of samples."""
    found = {}
    for key, value in sorted(log.items()):
        match = _PERCENTILE.fullmatch(key)
        if match and round(queries * (100 - float(match[1])), 3) >= 100 * _ENOUGH:
            found[f"{float(match[1]):g}"] = value / 1e6
    return found


def _plain(text: str) -> str:
    return " ".join(text.replace("*", " ").split())
