"""Baselines there and back; slowdowns are called so only where they are real; what can't be compared is
said."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_traces import normals, trace

from cnntk.benchmark.case import Case, Setting, case_of
from cnntk.benchmark.machine import machine
from cnntk.benchmark.regression import (
    Baseline,
    BaselineNote,
    check_comparable,
    check_machine,
    load_baseline,
    regressed,
    save_baseline,
    why_keep,
)
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.benchmark.statistics.samples import LatencySamples
from cnntk.runtime.errors import UsageError

HERE = machine()
SETTINGS = {"threads": 2, "batch": 1, "device": "cpu"}


def sessions(level: float, *, seed: int, count: int = 5, between: float = 0.01) -> list[LatencySamples]:
    """Each with a level of its own around ``level``, and neighbors that are alike."""
    rng = np.random.default_rng(seed)
    levels = level * np.exp(between * rng.normal(size=count))
    return [
        trace(one * row) for one, row in zip(levels, np.exp(0.1 * normals(rng, count, 300, 0.5)), strict=True)
    ]


def case(
    level: float = 1.0, *, seed: int = 0, count: int = 5, between: float = 0.01, **settings: Setting
) -> Case:
    return case_of(
        sessions(level, seed=seed, count=count, between=between),
        settings={**SETTINGS, **settings},
        model_sha256="ab" * 32,
    )


def baseline(**cases: Case) -> Baseline:
    return Baseline.of(HERE, cases)


def test_there_and_back(tmp_path: Path) -> None:
    base = baseline(one=case(), two=case(2.0, seed=1, count=2))
    save_baseline(tmp_path / "base.json", base)
    assert load_baseline(tmp_path / "base.json") == base
    assert [file.name for file in tmp_path.iterdir()] == ["base.json"]
    assert (tmp_path / "base.json").stat().st_size < 20_000
    assert base.cases["one"].percentiles_ms["99.9"] is None
    assert base.cases["one"].runs == 1500


def test_a_slowdown_is_found_with_its_size() -> None:
    (found,) = regressed(baseline(net=case(2.0)), baseline(net=case(2.4, seed=1)), 5)
    assert found.regressed
    assert found.slowdown_percent is not None
    assert found.slowdown_percent.low > 5
    assert found.slowdown_percent.low < 20 < found.slowdown_percent.high
    assert (found.base_ms, found.now_ms) == (pytest.approx(2.0, rel=0.03), pytest.approx(2.4, rel=0.03))
    assert (found.word, found.note) == ("slower", "")
    assert found.to_json()["slowdown_percent"]["low"] == found.slowdown_percent.low


@pytest.mark.parametrize("between", [0.0, 0.01, 0.05])
def test_nothing_is_found_where_nothing_is(between: float) -> None:
    made = [baseline(net=case(seed=seed, between=between)) for seed in range(80)]
    verdicts = [regressed(base, now, 0)[0] for base, now in zip(made[::2], made[1::2], strict=True)]
    assert sum(verdict.regressed for verdict in verdicts) <= 3


def test_what_is_borne_is_no_regression() -> None:
    base, now = baseline(net=case()), baseline(net=case(1.06, seed=1))
    assert not regressed(base, now, 5)[0].regressed
    assert not regressed(now, base, 0)[0].regressed
    assert (regressed(now, base, 0)[0].word, regressed(base, base, 0)[0].word) == ("faster", "no difference")
    assert regressed(base, baseline(net=case(1.12, seed=1)), 0)[0].regressed


def test_intervals_cover_the_slowdown() -> None:
    verdicts = [
        regressed(baseline(net=case(seed=s)), baseline(net=case(1.1, seed=1000 + s, count=3)), 0)[0]
        for s in range(100)
    ]
    held = [v.slowdown_percent.low <= 10 <= v.slowdown_percent.high for v in verdicts if v.slowdown_percent]
    assert len(held) == 100
    assert sum(held) >= 93


def test_no_interval_is_narrower_than_two_loadings_are_apart() -> None:
    (found,) = regressed(baseline(net=case(between=0)), baseline(net=case(between=0)), 5)
    assert found.slowdown_percent is not None
    assert found.slowdown_percent.low < -1.9
    assert found.slowdown_percent.high > 1.9


def test_sessions_that_differ_widen_the_interval() -> None:
    widths = []
    for between in (0.0, 0.1):
        base, now = (baseline(net=case(seed=seed, between=between)) for seed in (0, 1))
        (found,) = regressed(base, now, 5)
        assert found.slowdown_percent is not None
        widths.append(found.slowdown_percent.high - found.slowdown_percent.low)
    assert widths[1] > 3 * widths[0]


def test_one_session_is_cut_into_five() -> None:
    found = case_of(sessions(1.0, seed=0, count=1), settings=SETTINGS)
    assert len(found.sessions) == 5
    assert found.model_sha256 is None


def test_cases_that_can_not_be_compared_say_why() -> None:
    base = baseline(same=case(), gone=case(), changed=case(threads=1))
    now = baseline(new=case(), changed=case(batch=8), same=case(seed=1))
    notes = {verdict.name: verdict.note for verdict in regressed(base, now, 5)}
    assert notes == {
        "same": "",
        "gone": "not measured now",
        "changed": "other settings (threads: 1 there, 2 here; batch: 1 there, 8 here)",
        "new": "not in the baseline",
    }


def test_another_model_is_compared_and_said() -> None:
    now = baseline(net=replace(case(), model_sha256="cd" * 32))
    (found,) = regressed(baseline(net=case()), now, 5)
    assert found.slowdown_percent is not None
    assert found.note == "the model is another file than then"


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [(0.05, 0.65, "5 % of the cores then, 65 % now"), (0.6, 0.65, ""), (None, 0.9, "")],
)
def test_neighbors_that_were_quieter_then_are_said(then: float | None, now: float, words: str) -> None:
    base, later = (baseline(net=replace(case(), others=share)) for share in (then, now))
    (found,) = regressed(base, later, 5)
    assert words in found.note
    assert bool(words) == bool(found.note)


def test_a_check_that_looks_at_nothing_fails() -> None:
    with pytest.raises(UsageError, match=r"nothing to compare .*settings .threads: 1 there, 2 here"):
        regressed(baseline(net=case(threads=1)), baseline(net=case()), 5)
    with pytest.raises(UsageError, match="both are empty"):
        regressed(baseline(), baseline(), 5)


def test_another_machine_is_refused_unless_asked_for() -> None:
    base = replace(baseline(net=case()), machine=replace(HERE, cpu="Z80", cores=HERE.cores + 6))
    now = baseline(net=case(1.5, seed=1))
    with pytest.raises(UsageError, match=r"another machine \(cpu: Z80 there, .* here; cores: \d+ there"):
        regressed(base, now, 5)
    assert regressed(base, now, 5, other_machine=True)[0].regressed
    assert regressed(replace(base, machine=replace(HERE, python="9.9")), now, 5)[0].regressed


def test_what_can_not_be_compared_is_refused_before_it_is_measured() -> None:
    base = baseline(net=case(), other=case(threads=1))
    check_machine(base, HERE)
    check_comparable(base, HERE, {"net": SETTINGS})
    with pytest.raises(UsageError, match=r"nothing to compare .*net: other settings .batch: 1 there, 8 here"):
        check_comparable(base, HERE, {"net": {**SETTINGS, "batch": 8}})
    with pytest.raises(UsageError, match=r"nothing to compare .*net: not measured now; other: not measured"):
        check_comparable(base, HERE, {"new": SETTINGS})
    with pytest.raises(UsageError, match="both are empty"):
        check_comparable(baseline(), HERE, {"net": SETTINGS})


@pytest.mark.parametrize("settings", [SETTINGS, {**SETTINGS, "batch": 8}], ids=["same", "other settings"])
def test_another_machine_is_refused_first(settings: dict[str, Setting]) -> None:
    base = replace(baseline(net=case()), machine=replace(HERE, cpu="Z80"))
    with pytest.raises(UsageError, match=r"another machine .cpu: Z80 there, .*--allow-other-machine"):
        check_machine(base, HERE)
    with pytest.raises(UsageError, match="another machine"):
        check_comparable(base, HERE, {"net": settings})
    check_machine(base, HERE, other_machine=True)


def test_a_note_on_the_baseline_says_how_it_differs() -> None:
    base = replace(baseline(), machine=replace(HERE, cpu="Z80", python="2.7"))
    note = BaselineNote.of(Path("base.json"), base, HERE)
    assert (note.file, note.made) == ("base.json", base.made)
    assert note.machine_differences == (f"cpu: Z80 there, {HERE.cpu} here",)
    assert note.software_differences == (f"python: 2.7 there, {HERE.python} here",)
    assert note.to_json()["machine_differences"] == note.machine_differences
    same = BaselineNote.of("base.json", baseline(), HERE)
    assert same.machine_differences == same.software_differences == ()


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_bound_that_is_none(wrong: float) -> None:
    with pytest.raises(ValueError, match="fail_above_percent"):
        regressed(baseline(net=case()), baseline(net=case()), wrong)


def _edit(change: Callable[[dict], object]) -> bytes:
    data = baseline(net=case()).to_json()
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no baseline, or a damaged one"),
        (b"\xff\xfe\x00", "is no baseline, or a damaged one"),
        (_edit(lambda _: None)[:-100], "is no baseline, or a damaged one"),
        (b"[1, 2]", "is no baseline, or a damaged one"),
        (b'{"version": 1}', "is no baseline, or a damaged one"),
        (_edit(lambda d: d.update(version=2)), "version 2; this cnntk reads version 1: update cnntk"),
        (_edit(lambda d: d.pop("machine")), "is damaged: its machine can't be read; measure it again"),
        (_edit(lambda d: d["machine"].update(color="red")), "its machine"),
        (_edit(lambda d: d["machine"].update(cpu=5)), "its machine"),
        (_edit(lambda d: d["machine"].update(gpu=[])), "its machine"),
        (_edit(lambda d: d["machine"].update(cores="2")), "its machine"),
        (_edit(lambda d: d.update(cases=[])), "its cases"),
        (_edit(lambda d: d["cases"].update(net=None)), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(others="x")), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(others=1.5)), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(model_sha256=7)), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(mean_ms={"value": "x"})), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(session_seconds="x")), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(sessions=[[1.0]])), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(sessions=[[1.0], []])), "its case 'net'"),
        (_edit(lambda d: d["cases"]["net"].update(sessions=[[1.0], [float("nan")]])), "its case 'net'"),
    ],
)
def test_a_file_that_is_no_baseline(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "base.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        load_baseline(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not re.search(r"Error|could not convert|object has no", str(caught.value))


def test_a_baseline_takes_the_place_of_another_one_only(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a")
    with pytest.raises(UsageError, match="is there already, and is no baseline; choose another name"):
        save_baseline(tmp_path / "model.onnx", baseline())
    assert (tmp_path / "model.onnx").read_bytes() == b"\x08\x0a"
    (tmp_path / "base.json").write_bytes(_edit(lambda d: d.update(version=99)))
    save_baseline(tmp_path / "base.json", baseline(net=case()))
    assert set(load_baseline(tmp_path / "base.json").cases) == {"net"}


def test_a_baseline_of_before_can_still_be_compared(tmp_path: Path) -> None:
    """Of five sessions, without what was added since."""
    data = baseline(net=case()).to_json()
    del data["cases"]["net"]["session_seconds"], data["machine"]["gpu"]
    (tmp_path / "base.json").write_text(json.dumps(data))
    now = replace(case(1.3, seed=1, count=10), session_seconds=0.3)
    (found,) = regressed(load_baseline(tmp_path / "base.json"), baseline(net=now), 5)
    assert found.regressed
    assert found.note == "measured in 5 sessions then, 10 sessions of 0.3 s now"


def test_what_is_shown_is_what_is_compared() -> None:
    """Two sessions of five that took twice as long move the medians over all runs, not the verdict."""
    base, now = case(), case(seed=1)
    slow = tuple(tuple(2 * ms for ms in session) for session in now.sessions[:2])
    disturbed = replace(now, sessions=(*slow, *now.sessions[2:]))
    (found,) = regressed(baseline(net=base), baseline(net=disturbed), 5)
    assert found.slowdown_percent is not None
    assert found.base_ms is not None
    assert found.now_ms == pytest.approx(found.base_ms * (1 + found.slowdown_percent.value / 100))
    assert abs(found.slowdown_percent.value) < 3


def test_without_a_bound_it_is_told_so() -> None:
    (found,) = regressed(baseline(net=case()), baseline(net=case(1.3, seed=1)))
    assert (found.word, found.regressed) == ("slower", False)
    assert found.fail_above_percent is None
    assert regressed(baseline(net=case()), baseline(net=case(1.3, seed=1)), 0)[0].regressed
    assert regressed(baseline(net=case()), baseline(net=case()), 0)[0].fail_above_percent == 0


def slow_at_times(slow: int, level: float = 1.0) -> Baseline:
    """Ten sessions, so many of which take 25 % longer."""
    made = sessions(level, seed=1, count=10)
    found = [trace(one.latencies_ms * (1.25 if i < slow else 1)) for i, one in enumerate(made)]
    return baseline(net=case_of(found, settings=SETTINGS, model_sha256="ab" * 32))


@pytest.mark.parametrize(
    ("slow", "level", "word"),
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
    slow: int, level: float, word: str
) -> None:
    (found,) = regressed(baseline(net=case(count=10)), slow_at_times(slow, level), 5)
    assert found.word == word
    assert found.regressed == (word == "slower")
    kept = f"judged on 10 of 10 sessions then, {10 - slow} of 10 now; the others were over 15 % slower"
    assert (kept in found.note) == (0 < slow < 10)
    assert ("it is the model that is slow at times" in found.note) == found.mostly_left_out


def test_a_machine_that_was_as_disturbed_then_leaves_nothing_undecided() -> None:
    (found,) = regressed(slow_at_times(7), slow_at_times(7), 5)
    assert found.word == "no difference"
    assert "judged on 3 of 10 sessions then, 3 of 10 now" in found.note


def test_what_must_not_take_the_place_of_its_baseline() -> None:
    base = baseline(net=case(count=10))
    (slower,) = regressed(base, slow_at_times(10), 5)
    assert why_keep([slower]) == "net regressed by more than 5 %"
    assert why_keep(regressed(base, slow_at_times(7), 5)) == "net is undecided"
    once = replace(slower, regressed=False, again_percent=Estimate(0, -2, 2))
    assert why_keep([once]) == "net was slower in the first of two rounds"
    assert why_keep(regressed(base, base, 5)) is None
    assert why_keep(regressed(base, slow_at_times(10))) is None


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file \(expected a baseline"):
        load_baseline(tmp_path / "base.json")
    with pytest.raises(UsageError, match="does not exist"):
        save_baseline(tmp_path / "none" / "base.json", baseline())


def test_too_few_runs() -> None:
    with pytest.raises(ValueError, match="10 runs or more, got 9"):
        case_of([trace(np.ones(9))], settings=SETTINGS)
    with pytest.raises(ValueError, match="none of them empty"):
        case_of([trace(np.ones(20)), trace(np.ones(0))], settings=SETTINGS)
