"""What regressed is measured once more: only what both rounds say counts."""

from dataclasses import replace
from pathlib import Path

import pytest

from cnntk.benchmark import confirming
from cnntk.benchmark.case import Case
from cnntk.benchmark.confirming import regressed_twice
from cnntk.benchmark.latency import measure_case
from cnntk.benchmark.machine import machine
from cnntk.benchmark.regression import Baseline
from cnntk.shipped import shipped_model

MODEL = str(shipped_model())


@pytest.fixture(scope="module")
def measured() -> Case:
    return measure_case(MODEL, threads=1, seconds=0.1, sessions=2)


def times(case: Case, factor: float) -> Baseline:
    """As if each run had taken so many times as long, whatever the machine's noise."""
    sessions = tuple(tuple(factor * ms for ms in session) for session in case.sessions)
    steady = ((min(map(min, sessions)),) * 3,) * 2
    return Baseline.of(machine(), {"latency": replace(case, sessions=steady)})


def test_both_rounds_say_so(measured: Case) -> None:
    said: list[str] = []
    base = times(measured, 1e-6)
    (found,) = regressed_twice(base, times(measured, 1.0), MODEL, 5, pause_s=0, progress=said.append)
    assert found.regressed
    assert found.again_percent is not None
    assert found.again_percent.value > 5
    assert found.again_percent != found.slowdown_percent
    assert len(said) == 1


def test_the_second_round_does_not(measured: Case) -> None:
    """The first one was disturbed: a million times as slow as the second will be."""
    base = times(measured, 1e3)
    (found,) = regressed_twice(base, times(measured, 1e6), MODEL, 5, pause_s=0)
    assert not found.regressed
    assert found.slowdown_percent is not None
    assert found.slowdown_percent.low > 5
    assert found.again_percent is not None
    assert found.again_percent.high < 5


@pytest.mark.parametrize("slow", [0, 6])
def test_a_second_round_of_slow_sessions_is_said(
    measured: Case, slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = replace(measured, sessions=((1.0, 1.0),) * 10)
    again = replace(measured, sessions=((1.5,),) * slow + ((1.0,),) * (10 - slow))
    monkeypatch.setattr(confirming, "_again", lambda *_: again)
    slower = replace(measured, sessions=((1.2, 1.2),) * 10)
    base, now = (Baseline.of(machine(), {"latency": case}) for case in (quiet, slower))
    (found,) = regressed_twice(base, now, MODEL, 5, pause_s=0)
    assert not found.regressed
    assert ("most sessions of the second round were slow, and left out" in found.note) == bool(slow)


@pytest.mark.parametrize(("factor", "bound"), [(1e-6, None), (1.0, 5.0)], ids=["no bound", "no regression"])
def test_else_nothing_is_measured_again(measured: Case, factor: float, bound: float | None) -> None:
    no_model = Path("nowhere.onnx")
    (found,) = regressed_twice(times(measured, factor), times(measured, 1.0), no_model, bound, pause_s=1e9)
    assert found.again_percent is None
    assert not found.regressed
    assert found.word == ("slower" if bound is None else "no difference")


def test_sessions_are_long_enough(measured: Case) -> None:
    assert measured.session_seconds == 0.25
    assert len(measured.sessions) == 2
