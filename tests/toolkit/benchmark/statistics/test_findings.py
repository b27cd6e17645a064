"""Each disturbance is found by its kind and reported with its size; sound latencies have none."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_latencies import lognormal, lognormals, samples

from cnntk.benchmark.statistics.findings import Finding, findings, interference
from cnntk.benchmark.statistics.system_load import SystemCounters
from cnntk.runtime.codec import as_json

RUNS = 3000
BEFORE = SystemCounters(
    time_s=0.0,
    process_cpu_s=0.0,
    cores=2,
    busy_s=0.0,
    steal_s=0.0,
    preemptions=0,
    throttled_s=0.0,
    clock_mhz=3000.0,
    thermal_throttles=0,
)
AFTER = replace(BEFORE, time_s=10.0, process_cpu_s=10.0, busy_s=10.2)


def messages(latencies: np.ndarray, after: SystemCounters = AFTER) -> dict[str, str]:
    return {finding.kind: finding.message for finding in findings(samples(latencies), BEFORE, after)}


@pytest.mark.parametrize("alike", [0.0, 0.7], ids=["iid", "AR(0.7)"])
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_sound_latencies_have_no_findings(count: int, spread: float, alike: float) -> None:
    results = [messages(row) for row in lognormals(100, count, spread=spread, alike=alike)]
    assert sum(map(bool, results)) <= (4 if count == 100 and alike else 1)


def test_too_few_runs() -> None:
    assert messages(np.full(99, 2.0)) == {
        "few_runs": "99 runs are too few to tell drift from noise, and their intervals may be too narrow: "
        "100 runs take about 0.2 s"
    }
    assert not messages(np.full(100, 2.0))


@pytest.mark.parametrize(
    ("levels", "range_text"),
    [
        (np.linspace(1, 1.12, RUNS), "1 and 1.12 ms (12 % apart), 1.12 ms at the end"),
        (np.repeat([1, 1.3], RUNS // 2), "1 and 1.3 ms (30 % apart), 1.3 ms at the end"),
        (np.repeat([1, 0.7], RUNS // 2), "0.7 and 1 ms (43 % apart), 0.7 ms at the end"),
        (np.repeat([1, 1.5, 1.1, 1.6, 1.2], RUNS // 5), "1 and 1.6 ms (60 % apart), 1.2 ms at the end"),
    ],
    ids=["drift", "step up", "step down", "steps"],
)
def test_not_steady(levels: np.ndarray, range_text: str) -> None:
    expected = f"latency was not steady: its level was between {range_text}"
    assert messages(lognormal(RUNS, spread=0.01) * levels) == {"not_steady": expected}


def test_outliers() -> None:
    latencies = lognormal(RUNS, spread=0.05)
    latencies[::100] = 20
    expected = "17 % of the time was spent in 30 of 3000 runs, each over 3 times the median"
    assert messages(latencies) == {"outliers": expected}


def test_a_step_is_not_an_outlier() -> None:
    latencies = lognormal(RUNS, spread=0.05) * np.where(np.arange(RUNS) < 1200, 1, 4)
    assert list(messages(latencies)) == ["not_steady"]
    latencies[::50] *= 10
    assert list(messages(latencies)) == ["not_steady", "outliers"]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (replace(AFTER, thermal_throttles=3), "too hot and slowed down 3 times"),
        (replace(AFTER, clock_mhz=2100.0), "clock slowed down from 3000 to 2100 MHz"),
    ],
    ids=["heat", "clock"],
)
def test_a_slower_clock_is_the_cause_of_a_slowdown(after: SystemCounters, words: str) -> None:
    level = np.where(np.arange(RUNS) < 1200, 1, 1.4)
    assert words in messages(lognormal(RUNS) * level, after)["slower_clock"]
    assert list(messages(lognormal(RUNS) * level)) == ["not_steady"]
    assert list(messages(lognormal(RUNS) / level, after)) == ["not_steady"]
    assert messages(lognormal(RUNS), after) == {}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"busy_s": 18.2}, Finding("other_processes", "other processes used 41 % of the 2 cores", 0.41)),
        ({"steal_s": 3.0}, Finding("steal", "the virtual machine's host used 15 % of the 2 cores")),
        (
            {"throttled_s": 2.5},
            Finding("throttled", "the container's CPU quota stopped this process for 25 % of the time"),
        ),
        (
            {"busy_s": None, "preemptions": 5000},
            Finding("other_processes", "this process was moved off its core 5000 times"),
        ),
    ],
    ids=["other processes", "steal", "quota", "preemptions"],
)
def test_system_load(after: dict[str, float], expected: Finding) -> None:
    assert findings(samples(lognormal(RUNS)), BEFORE, replace(AFTER, **after)) == (expected,)


def test_a_short_moment_shows_no_other_processes() -> None:
    after = replace(BEFORE, time_s=0.05, busy_s=0.1)
    assert messages(lognormal(100), after) == {}


def test_without_counters_only_latencies_count() -> None:
    assert findings(samples(lognormal(RUNS))) == findings(samples(lognormal(RUNS)), BEFORE) == ()
    assert as_json(Finding("not_steady", "x")) == {"kind": "not_steady", "message": "x"}


def test_interference_without_latencies() -> None:
    assert interference(BEFORE, AFTER) == ()
    busy = replace(AFTER, busy_s=16.0, steal_s=4.0, throttled_s=2.0, thermal_throttles=2)
    heat, other, steal, quota = interference(BEFORE, busy)
    assert "too hot" in heat
    assert "other processes" in other
    assert "virtual machine's host" in steal
    assert "CPU quota" in quota
    slower = interference(BEFORE, replace(AFTER, clock_mhz=2400.0))
    assert slower == ("the processor's clock slowed down from 3000 to 2400 MHz",)
