"""Each disturbance is found by its name and said with its size; a sound trace has none."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_traces import lognormal, lognormals, trace

from cnntk.benchmark.statistics.findings import Finding, findings, noise
from cnntk.benchmark.statistics.system_load import Surroundings

RUNS = 3000
CALM = Surroundings(
    moment_s=0.0, own_s=0.0, cores=2, busy_s=0.0, stolen_s=0.0, switches=0, held_back_s=0.0, mhz=3000.0, hot=0
)
LATER = replace(CALM, moment_s=10.0, own_s=10.0, busy_s=10.2)


def said(latencies: np.ndarray, after: Surroundings = LATER) -> dict[str, str]:
    return {finding.kind: finding.message for finding in findings(trace(latencies), CALM, after)}


@pytest.mark.parametrize("alike", [0.0, 0.7], ids=["iid", "AR(0.7)"])
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_a_sound_trace_has_no_findings(count: int, spread: float, alike: float) -> None:
    found = [said(row) for row in lognormals(100, count, spread=spread, alike=alike)]
    assert sum(map(bool, found)) <= (4 if count == 100 and alike else 1)


def test_too_few_runs_are_said() -> None:
    assert said(np.full(99, 2.0)) == {
        "few": "99 runs are too few to tell drift from noise, and intervals of so few may be too narrow: "
        "100 take about 0.2 s"
    }
    assert not said(np.full(100, 2.0))


def test_a_drift() -> None:
    found = said(lognormal(RUNS, spread=0.01) * np.linspace(1, 1.12, RUNS))
    assert found == {"drift": "latency grew by 12 % from begin to end: 1 to 1.12 ms"}


@pytest.mark.parametrize(("level", "words"), [(1.3, "grew by 30 %"), (0.7, "fell by 30 %")])
def test_a_step(level: float, words: str) -> None:
    found = said(lognormal(RUNS, spread=0.01) * np.where(np.arange(RUNS) < 1200, 1, level))
    assert list(found) == ["step"]
    assert found["step"] == f"latency {words} at once after 1.2 s: 1 to {level} ms"


def test_many_steps_are_one_finding() -> None:
    (found,) = findings(trace(lognormal(RUNS, spread=0.02) * np.repeat([1, 1.5, 1.1, 1.6, 1.2], RUNS // 5)))
    assert (found.kind, found.message) == ("step", "latency changed its level 4 times, between 1 and 1.6 ms")


def test_two_speeds() -> None:
    slow = np.random.default_rng(1).random(RUNS) < 0.3
    found = said(lognormal(RUNS, spread=0.02) * np.where(slow, 1.4, 1))
    share = round(slow.mean() * 100)
    expected = f"two speeds: {100 - share} % of the runs took about 1 ms, {share} % about 1.4 ms"
    assert found == {"bimodal": expected}


def test_outliers() -> None:
    latencies = lognormal(RUNS, spread=0.05)
    latencies[::100] = 20
    found = said(latencies)
    assert found == {"outliers": "17 % of the time went into 30 of 3000 runs, each over 3 times the median"}


def test_outliers_are_told_behind_a_step() -> None:
    latencies = lognormal(RUNS, spread=0.05) * np.where(np.arange(RUNS) < 1200, 1, 4)
    assert list(said(latencies)) == ["step"]
    latencies[::50] *= 10
    assert list(said(latencies)) == ["step", "outliers"]


def test_two_speeds_are_told_behind_a_drift() -> None:
    slow = np.random.default_rng(1).random(RUNS) < 0.4
    drift = np.linspace(1, 1.5, RUNS)
    assert list(said(lognormal(RUNS, spread=0.02) * drift)) == ["drift"]
    assert list(said(lognormal(RUNS, spread=0.02) * drift * np.where(slow, 1.4, 1))) == ["drift", "bimodal"]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (replace(LATER, hot=3), "too hot and slowed down, 3 times"),
        (replace(LATER, mhz=2100.0), "clock slowed down meanwhile: 3000 to 2100 MHz"),
    ],
    ids=["heat", "clock"],
)
def test_throttling_is_a_slowdown_with_a_cause(after: Surroundings, words: str) -> None:
    level = np.where(np.arange(RUNS) < 1200, 1, 1.4)
    assert words in said(lognormal(RUNS) * level, after)["throttling"]
    assert list(said(lognormal(RUNS) * level)) == ["step"]
    assert list(said(lognormal(RUNS) / level, after)) == ["step"]
    assert said(lognormal(RUNS), after) == {}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"busy_s": 18.2}, Finding("others", "other processes used 41 % of the 2 cores meanwhile")),
        ({"stolen_s": 3.0}, Finding("stolen", "the machine's host took 15 % of the 2 cores meanwhile")),
        (
            {"held_back_s": 2.5},
            Finding("quota", "the container's CPU quota stopped this process for 25 % of the time"),
        ),
        (
            {"busy_s": None, "switches": 5000},
            Finding("others", "this process had to leave its core 5000 times meanwhile"),
        ),
    ],
    ids=["others", "stolen", "quota", "switches"],
)
def test_the_surroundings(after: dict[str, float], expected: Finding) -> None:
    assert findings(trace(lognormal(RUNS)), CALM, replace(LATER, **after)) == (expected,)


def test_a_short_moment_says_nothing_about_others() -> None:
    after = replace(CALM, moment_s=0.05, busy_s=0.1)
    assert said(lognormal(100), after) == {}


def test_without_looks_only_the_trace_is_judged() -> None:
    assert findings(trace(lognormal(RUNS))) == findings(trace(lognormal(RUNS)), CALM) == ()
    assert Finding("drift", "x").to_json() == {"kind": "drift", "message": "x"}


def test_noise_without_a_trace() -> None:
    assert noise(CALM, LATER) == ()
    told = {f.kind for f in noise(CALM, replace(LATER, busy_s=16.0, stolen_s=4.0, held_back_s=2.0, hot=2))}
    assert told == {"others", "stolen", "quota", "throttling"}
    (slower,) = noise(CALM, replace(LATER, mhz=2400.0))
    assert slower.message == "the processor's clock slowed down meanwhile: 3000 to 2400 MHz"
