"""Slowdowns are called so only where they are real; what can't be compared is said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_baselines import HERE, SETTINGS, baseline, case, sessions
from simulated_latencies import samples

from cnntk.benchmark import regression
from cnntk.benchmark.baseline import Baseline, load_baseline, save_baseline
from cnntk.benchmark.latency import Case, Setting, measure_case, summarize_sessions
from cnntk.benchmark.options import BenchOptions
from cnntk.benchmark.regression import (
    BaselineCheck,
    BaselineComparison,
    CaseComparison,
    _notes,
    compare_baselines,
    confirm_regressions,
    reason_to_keep,
)
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.benchmark.workload import Workload
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_model

MODEL = str(shipped_model())
ANY = Estimate(1.0, 1.0, 1.0)


def test_a_slowdown_is_detected_with_its_size() -> None:
    (actual,) = compare_baselines(baseline(net=case(2.0)), baseline(net=case(2.4, seed=1)), 5)
    assert actual.regressed
    assert actual.slowdown_percent is not None
    assert actual.slowdown_percent.low > 5
    assert actual.slowdown_percent.low < 20 < actual.slowdown_percent.high
    assert (actual.baseline_ms, actual.current_ms) == (
        pytest.approx(2.0, rel=0.03),
        pytest.approx(2.4, rel=0.03),
    )
    assert (actual.verdict, actual.note) == ("slower", "")


@pytest.mark.parametrize("between", [0.0, 0.01, 0.05])
def test_no_slowdown_is_reported_where_there_is_none(between: float) -> None:
    items = [baseline(net=case(seed=seed, between=between)) for seed in range(80)]
    verdicts = [compare_baselines(base, now, 0)[0] for base, now in zip(items[::2], items[1::2], strict=True)]
    assert sum(verdict.regressed for verdict in verdicts) <= 3


def test_what_is_borne_is_no_regression() -> None:
    base, now = baseline(net=case()), baseline(net=case(1.06, seed=1))
    assert not compare_baselines(base, now, 5)[0].regressed
    assert not compare_baselines(now, base, 0)[0].regressed
    assert (compare_baselines(now, base, 0)[0].verdict, compare_baselines(base, base, 0)[0].verdict) == (
        "faster",
        "no difference",
    )
    assert compare_baselines(base, baseline(net=case(1.12, seed=1)), 0)[0].regressed


def test_intervals_cover_the_slowdown() -> None:
    verdicts = [
        compare_baselines(baseline(net=case(seed=s)), baseline(net=case(1.1, seed=1000 + s, count=3)), 0)[0]
        for s in range(100)
    ]
    held = [v.slowdown_percent.low <= 10 <= v.slowdown_percent.high for v in verdicts if v.slowdown_percent]
    assert len(held) == 100
    assert sum(held) >= 93


def test_no_interval_is_narrower_than_two_loadings_are_apart() -> None:
    (actual,) = compare_baselines(baseline(net=case(between=0)), baseline(net=case(between=0)), 5)
    assert actual.slowdown_percent is not None
    assert actual.slowdown_percent.low < -1.9
    assert actual.slowdown_percent.high > 1.9


def test_sessions_that_differ_widen_the_interval() -> None:
    widths = []
    for between in (0.0, 0.1):
        base, now = (baseline(net=case(seed=seed, between=between)) for seed in (0, 1))
        (actual,) = compare_baselines(base, now, 5)
        assert actual.slowdown_percent is not None
        widths.append(actual.slowdown_percent.high - actual.slowdown_percent.low)
    assert widths[1] > 3 * widths[0]


def test_cases_that_can_not_be_compared_say_why() -> None:
    base = baseline(same=case(), gone=case(), changed=case(threads=1))
    now = baseline(new=case(), changed=case(batch=8), same=case(seed=1))
    notes = {verdict.name: verdict.note for verdict in compare_baselines(base, now, 5)}
    assert notes == {
        "same": "",
        "gone": "not measured now",
        "changed": "other settings (threads: 1 in the baseline, 2 now; batch: 1 in the baseline, 8 now)",
        "new": "not in the baseline",
    }


def test_another_model_is_compared_and_noted() -> None:
    now = baseline(net=replace(case(), model_sha256="cd" * 32))
    (actual,) = compare_baselines(baseline(net=case()), now, 5)
    assert actual.slowdown_percent is not None
    assert actual.note == "the model's file is not the baseline's"


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [(0.05, 0.65, "5% of the cores in the baseline, 65% now"), (0.6, 0.65, ""), (None, 0.9, "")],
)
def test_neighbors_that_were_quieter_then_are_noted(then: float | None, now: float, words: str) -> None:
    base, later = (baseline(net=replace(case(), other_cpu_share=share)) for share in (then, now))
    (actual,) = compare_baselines(base, later, 5)
    assert words in actual.note
    assert bool(words) == bool(actual.note)


def test_a_check_that_looks_at_nothing_fails() -> None:
    with pytest.raises(UsageError, match=r"nothing to compare .*settings .threads: 1 in the baseline, 2 now"):
        compare_baselines(baseline(net=case(threads=1)), baseline(net=case()), 5)
    with pytest.raises(UsageError, match="both are empty"):
        compare_baselines(baseline(), baseline(), 5)


def test_what_can_not_be_compared_is_refused_before_it_is_measured() -> None:
    check(latency=case(), other=case(threads=1)).check_settings(SETTINGS)
    with pytest.raises(UsageError, match=r"nothing to compare .*other settings .batch: 1 in .*, 8 now"):
        check(latency=case()).check_settings({**SETTINGS, "batch": 8})
    with pytest.raises(UsageError, match=r"nothing to compare .*net: not measured now; other: not measured"):
        check(net=case(), other=case()).check_settings(SETTINGS)
    with pytest.raises(UsageError, match="both are empty"):
        check().check_settings(SETTINGS)


def check(**cases: Case) -> BaselineCheck:
    return BaselineCheck.open(BenchOptions(baseline=baseline(**cases)))


@pytest.mark.parametrize("settings", [SETTINGS, {**SETTINGS, "batch": 8}], ids=["same", "other settings"])
def test_another_machine_is_refused_first(settings: dict[str, Setting]) -> None:
    base = replace(baseline(latency=case()), machine=replace(HERE, cpu="Z80"))
    with pytest.raises(UsageError, match=r"another machine .cpu: Z80 in .*--allow-other-machine"):
        BaselineCheck.open(BenchOptions(baseline=base))
    with pytest.raises(UsageError, match="another machine"):
        BaselineCheck(base, "", BenchOptions()).check_settings(settings)


def test_a_comparison_says_how_the_machines_differ(tmp_path: Path) -> None:
    current = baseline(latency=case())
    base = replace(current, machine=replace(HERE, cpu="Z80", python="2.7"))
    save_baseline(tmp_path / "base.json", base)
    with pytest.raises(UsageError, match="another machine"):
        BaselineCheck.open(BenchOptions(baseline=tmp_path / "base.json"))
    check = BaselineCheck.open(BenchOptions(baseline=tmp_path / "base.json", allow_other_machine=True))
    actual = check.compare(current, "net.onnx", lambda name: None)
    assert actual is not None
    assert (actual.file, actual.created) == (str(tmp_path / "base.json"), base.created)
    assert actual.machine_differences == (f"cpu: Z80 in the baseline, {HERE.cpu} now",)
    assert actual.software_differences == (f"python: 2.7 in the baseline, {HERE.python} now",)
    same = BaselineCheck.open(BenchOptions(baseline=current)).compare(current, "", lambda name: None)
    assert same is not None
    assert (same.file, same.machine_differences, same.software_differences) == ("", (), ())


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_bound_that_is_none(wrong: float) -> None:
    with pytest.raises(ValueError, match="fail_above_percent"):
        compare_baselines(baseline(net=case()), baseline(net=case()), wrong)


def test_a_baseline_of_before_can_still_be_compared(tmp_path: Path) -> None:
    """Of five sessions, without what was added since."""
    data = as_json(baseline(net=case()))
    del data["cases"]["net"]["session_seconds"], data["machine"]["gpu"]
    (tmp_path / "base.json").write_text(json.dumps(data))
    now = replace(case(1.3, seed=1, count=10), session_seconds=0.3)
    (actual,) = compare_baselines(load_baseline(tmp_path / "base.json"), baseline(net=now), 5)
    assert actual.regressed
    assert actual.note == "measured in 5 sessions in the baseline, 10 sessions of 0.3 s now"


def test_what_is_shown_is_what_is_compared() -> None:
    """Two sessions of five that took twice as long move the medians over all runs, not the verdict."""
    base, now = case(), case(seed=1)
    slow = tuple(tuple(2 * ms for ms in session) for session in now.sessions[:2])
    disturbed = replace(now, sessions=(*slow, *now.sessions[2:]))
    (actual,) = compare_baselines(baseline(net=base), baseline(net=disturbed), 5)
    assert actual.slowdown_percent is not None
    assert actual.baseline_ms is not None
    assert actual.current_ms == pytest.approx(actual.baseline_ms * (1 + actual.slowdown_percent.value / 100))
    assert abs(actual.slowdown_percent.value) < 3


def test_without_a_bound_it_is_reported_so() -> None:
    (actual,) = compare_baselines(baseline(net=case()), baseline(net=case(1.3, seed=1)))
    assert (actual.verdict, actual.regressed) == ("slower", False)
    assert actual.fail_above_percent is None
    assert compare_baselines(baseline(net=case()), baseline(net=case(1.3, seed=1)), 0)[0].regressed
    assert compare_baselines(baseline(net=case()), baseline(net=case()), 0)[0].fail_above_percent == 0


def slow_at_times(slow: int, level: float = 1.0) -> Baseline:
    """Ten sessions, so many of which take 25 % longer."""
    items = sessions(level, seed=1, count=10)
    actual = [samples(one.latencies_ms * (1.25 if i < slow else 1)) for i, one in enumerate(items)]
    return baseline(net=replace(summarize_sessions(actual, SETTINGS), model_sha256="ab" * 32))


@pytest.mark.parametrize(
    ("slow", "level", "verdict"),
    [
        (0, 1.0, "no difference"),
        (5, 1.0, "no difference"),
        (7, 1.0, "undecided"),
        (8, 1.0, "undecided"),
        (7, 0.8, "undecided"),
        (7, 1.3, "slower"),
        (10, 1.0, "slower"),
    ],
)
def test_where_most_sessions_are_slow_it_is_not_called_no_difference(
    slow: int, level: float, verdict: str
) -> None:
    (actual,) = compare_baselines(baseline(net=case(count=10)), slow_at_times(slow, level), 5)
    assert actual.verdict == verdict
    assert actual.regressed == (verdict == "slower")
    used = f"compares 10 of 10 sessions of the baseline, {10 - slow} of 10 now; the others were over 15 %"
    assert (used in actual.note) == (0 < slow < 10)
    assert ("the model is slow at times" in actual.note) == actual.mostly_disturbed


def test_a_machine_that_was_as_disturbed_then_leaves_nothing_undecided() -> None:
    (actual,) = compare_baselines(slow_at_times(7), slow_at_times(7), 5)
    assert actual.verdict == "no difference"
    assert "compares 3 of 10 sessions of the baseline, 3 of 10 now" in actual.note


def compared(*cases: CaseComparison) -> BaselineComparison:
    return BaselineComparison("base.json", "", (), (), cases)


def test_what_must_not_replace_its_baseline() -> None:
    base = baseline(net=case(count=10))
    (slower,) = compare_baselines(base, slow_at_times(10), 5)
    assert reason_to_keep(compared(slower)) == "net regressed by more than 5 %"
    assert reason_to_keep(compared(*compare_baselines(base, slow_at_times(7), 5))) == "net is undecided"
    once = replace(slower, regressed=False, second_round_percent=Estimate(0, -2, 2))
    assert reason_to_keep(compared(once)) == "net was slower in the first of two rounds"
    assert reason_to_keep(compared(*compare_baselines(base, base, 5))) is None
    assert reason_to_keep(compared(*compare_baselines(base, slow_at_times(10)))) is None


def test_a_baseline_is_not_replaced_by_a_run_that_regressed(tmp_path: Path) -> None:
    base, slower = baseline(net=case(count=10)), slow_at_times(10)
    file, other = tmp_path / "base.json", tmp_path / "other.json"
    save_baseline(file, base)
    result = compared(*compare_baselines(base, slower, 5))
    notes: list[str] = []
    replacing = BenchOptions(baseline=file, save=file, force=True)
    assert BaselineCheck.open(replacing).save(slower, result, notes) is None
    assert load_baseline(file) == base
    assert notes == [
        f"{file} was not replaced, because net regressed by more than 5 %; to accept this run, save it under "
        "another name"
    ]
    assert BaselineCheck.open(BenchOptions(baseline=file, save=other)).save(slower, result, []) == str(other)
    assert load_baseline(other) == slower


def test_too_few_runs() -> None:
    with pytest.raises(ValueError, match="10 runs or more, got 9"):
        summarize_sessions([samples(np.ones(9))], SETTINGS)
    with pytest.raises(ValueError, match="none of them empty"):
        summarize_sessions([samples(np.ones(20)), samples(np.ones(0))], SETTINGS)


@pytest.fixture(scope="module")
def measured() -> Case:
    return measure_case(Workload(MODEL, threads=1, seconds=0.1), sessions=2)


def times(case: Case, factor: float) -> Baseline:
    """As if each run had taken so many times as long, whatever the machine's noise."""
    sessions = tuple(tuple(factor * ms for ms in session) for session in case.sessions)
    steady = ((min(map(min, sessions)),) * 3,) * 2
    return Baseline.create(HERE, {"latency": replace(case, sessions=steady)})


def test_both_rounds_say_so(measured: Case) -> None:
    messages: list[str] = []
    base = times(measured, 1e-6)
    (actual,) = confirm_regressions(base, times(measured, 1.0), MODEL, 5, pause_s=0, progress=messages.append)
    assert actual.regressed
    assert actual.second_round_percent is not None
    assert actual.second_round_percent.value > 5
    assert actual.second_round_percent != actual.slowdown_percent
    assert len(messages) == 1


def test_the_second_round_does_not(measured: Case) -> None:
    """The first one was disturbed: a million times as slow as the second will be."""
    base = times(measured, 1e3)
    (actual,) = confirm_regressions(base, times(measured, 1e6), MODEL, 5, pause_s=0)
    assert not actual.regressed
    assert actual.slowdown_percent is not None
    assert actual.slowdown_percent.low > 5
    assert actual.second_round_percent is not None
    assert actual.second_round_percent.high < 5


@pytest.mark.parametrize("slow", [0, 6])
def test_a_second_round_of_slow_sessions_is_noted(
    measured: Case, slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = replace(measured, sessions=((1.0, 1.0),) * 10)
    again = replace(measured, sessions=((1.5,),) * slow + ((1.0,),) * (10 - slow))
    monkeypatch.setattr(regression, "_measure_again", lambda *_: again)
    slower = replace(measured, sessions=((1.2, 1.2),) * 10)
    base, now = (Baseline.create(HERE, {"latency": case}) for case in (quiet, slower))
    (actual,) = confirm_regressions(base, now, MODEL, 5, pause_s=0)
    assert not actual.regressed
    assert ("most sessions of the second round were disturbed, and left out" in actual.note) == bool(slow)


@pytest.mark.parametrize(("factor", "bound"), [(1e-6, None), (1.0, 5.0)], ids=["no bound", "no regression"])
def test_else_nothing_is_measured_again(measured: Case, factor: float, bound: float | None) -> None:
    no_model = Path("nowhere.onnx")
    (actual,) = confirm_regressions(
        times(measured, factor), times(measured, 1.0), no_model, bound, pause_s=1e9
    )
    assert actual.second_round_percent is None
    assert not actual.regressed
    assert actual.verdict == ("slower" if bound is None else "no difference")


def test_sessions_are_long_enough(measured: Case) -> None:
    assert measured.session_seconds == 0.25
    assert len(measured.sessions) == 2


def case_of_medians(*medians_ms: float) -> Case:
    return Case({}, "ab" * 32, 100, ANY, ANY, {}, 0.1, tuple((ms,) for ms in medians_ms))


CALM, HALF, MOST = case_of_medians(1, 1, 1, 1), case_of_medians(1, 1, 2, 2), case_of_medians(1, 1, 2, 2, 2)


def test_nothing_to_say() -> None:
    assert list(_notes(CALM, CALM)) == []


@pytest.mark.parametrize(
    ("base", "now", "notes"),
    [
        (CALM, HALF, ["compares 4 of 4 sessions of the baseline, 2 of 4 now"]),
        (HALF, CALM, ["compares 2 of 4 sessions of the baseline, 4 of 4 now"]),
        (
            CALM,
            MOST,
            [
                "measured in 4",
                "compares 4 of 4 sessions of the baseline, 2 of 5 now",
                "most sessions were slow now",
            ],
        ),
        (MOST, MOST, ["compares 2 of 5 sessions of the baseline, 2 of 5 now"]),
        (CALM, replace(CALM, model_sha256="cd" * 32), ["the model's file is not the baseline's"]),
        (
            CALM,
            replace(CALM, other_cpu_share=0.5),
            ["other processes used 10% of the cores in"],
        ),
    ],
    ids=["half now", "half then", "most now", "most of both", "file", "others"],
)
def test_notes(base: Case, now: Case, notes: list[str]) -> None:
    actual = list(_notes(base, now))
    assert len(actual) == len(notes)
    for text, begin in zip(actual, notes, strict=True):
        assert text.startswith(begin)
