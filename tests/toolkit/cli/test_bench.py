import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_up_bench import baseline_comparison, case_comparisons, full_bench, plain_bench
from simulated_latencies import samples

from cnntk.benchmark import run
from cnntk.benchmark.baseline import Baseline, save_baseline
from cnntk.benchmark.latency import Case, summarize_sessions
from cnntk.benchmark.machine import detect_machine
from cnntk.benchmark.options import BenchOptions
from cnntk.benchmark.result import BenchResult
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.cli.bench import _check_distinct
from cnntk.cli.output import print_sections
from cnntk.runtime.errors import UsageError


def print_bench_result(result: BenchResult) -> None:
    print_sections(result.sections(), result.header())


QUICK = ("--seconds", "0.1", "--threads", "1")


def test_figures(cnntk: Callable, tiny_onnx: Path) -> None:
    done = cnntk("bench", tiny_onnx, *QUICK, "--batch", "2")
    assert done.status == 0
    for word in (
        "p50",
        "p90",
        "p99",
        "images/s",
        "of batch 2 on 1 thread",
        "Cold start",
        "Memory",
        "onnxruntime",
    ):
        assert word in done.out


def test_all_fits_80_columns(cnntk: Callable, tiny_onnx: Path) -> None:
    lists = ("--threads", "1,2", "--batch", "1,8")
    done = cnntk("bench", tiny_onnx, "--seconds", "0.1", *lists, "--layers", "--against", tiny_onnx)
    assert done.status == 0
    for word in ("speed-up", "of the limit", "Comparison", "than a run without profiler"):
        assert word in " ".join(done.out.split())
    assert max(map(len, done.out.splitlines())) <= 80


def test_json(cnntk: Callable, tiny_onnx: Path) -> None:
    document = cnntk("bench", tiny_onnx, *QUICK, "--json").json
    assert document["schema"] == "cnntk-bench/1"
    assert document["latency"]["runs"] >= 20
    assert document["baseline"] is None


def test_a_sweep_and_a_baseline_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_bench_result(full_bench())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    sweep = lines[next(i for i, line in enumerate(lines) if "speed-up" in line) + 1 :][:4]
    assert [line.split("  ")[-1].strip() for line in sweep] == [
        "1.00", "no difference", "1.00", "1.58 (1.50 to 1.66)"
    ]  # fmt: skip
    at = next(i for i, line in enumerate(lines) if line.split()[:2] == ["baseline", "base.json,"])
    assert lines[at].endswith("measured at 2026-09-30T07:15:00+00:00")
    assert " ".join(lines[at + 1].split()) == "another machine cores: 8 in the baseline, 2 now"
    versions = "other versions onnxruntime: 1.20.1 in the baseline, 1.22.0 now"
    assert " ".join(lines[at + 2].split()) == versions


def test_a_sweep_of_long_runs_fits_too(capsys: pytest.CaptureFixture[str]) -> None:
    result = full_bench()
    cells = [replace(c, latency_ms=Estimate(12_345.6, 10_000.0, 99_999.9)) for c in result.sweep.cells]
    print_bench_result(replace(result, sweep=replace(result.sweep, cells=tuple(cells))))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A baseline of this machine, of runs that took next to nothing."""
    quick = samples(1e-6 * np.random.default_rng(0).uniform(1, 2, 100))
    case = summarize_sessions([quick, quick], settings={"device": "cpu", "threads": 1, "batch": 1})
    save_baseline(tmp_path / "base.json", Baseline.create(detect_machine(), {"latency": case}))
    return tmp_path / "base.json"


def elsewhere(base: Path) -> Path:
    """The same, of another machine."""
    stored = json.loads(base.read_bytes())
    stored["machine"]["cpu"] = "another one"
    base.write_text(json.dumps(stored))
    return base


@pytest.fixture
def begun(tmp_path: Path) -> tuple[object, ...]:
    """Who is measured against is loaded before all measuring: "junk" in the error means that it had begun."""
    (tmp_path / "junk.onnx").write_bytes(b"no model")
    return (*QUICK, "--against", tmp_path / "junk.onnx")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), "junk"),
        (("--threads", "2"), "other settings (threads: 1 in the baseline, 2 now)"),
        (("--batch", "8,1"), "other settings (batch: 1 in the baseline, 8 now)"),
    ],
    ids=["same", "threads", "batch"],
)
def test_other_settings_are_refused_before_measuring(
    cnntk: Callable,
    tiny_onnx: Path,
    base: Path,
    begun: tuple[object, ...],
    settings: tuple[str, ...],
    message: str,
) -> None:
    done = cnntk("bench", tiny_onnx, *begun, "--compare", base, *settings)
    assert done.status == 2
    assert message in done.err


def test_another_machine_is_refused_before_measuring(
    cnntk: Callable, tiny_onnx: Path, base: Path, begun: tuple[object, ...]
) -> None:
    done = cnntk("bench", tiny_onnx, *begun, "--compare", elsewhere(base))
    assert done.status == 2
    assert "another machine (cpu: another one in the baseline" in done.err
    allowed = cnntk("bench", tiny_onnx, *begun, "--compare", base, "--allow-other-machine")
    assert "junk" in allowed.err


@pytest.fixture
def few_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten would only take longer."""
    monkeypatch.setattr(run, "measure_case", partial(_few, run.measure_case))


def _few(measure: Callable, *args: object, **kwargs: object) -> Case:
    return measure(*args, **{**kwargs, "sessions": 2})


@pytest.mark.slow
@pytest.mark.usefixtures("few_sessions")
def test_allowed_to_compare_it_says_how_they_differ(
    cnntk: Callable, tiny_onnx: Path, base: Path, tmp_path: Path
) -> None:
    options = ("--compare", elsewhere(base), "--allow-other-machine", "--report", tmp_path / "page.html")
    done = cnntk("bench", tiny_onnx, *QUICK, *options)
    assert done.status == 0
    assert "another machine cpu: another one in the baseline" in " ".join(done.out.split())
    assert "cpu: another one in the baseline" in (tmp_path / "page.html").read_text()
    document = cnntk("bench", tiny_onnx, *QUICK, *options, "--force", "--json").json
    assert document["baseline"]["file"] == str(base)
    (compared,) = document["baseline"]["cases"]
    assert (compared["verdict"], compared["regressed"]) == ("slower", False)
    page = (tmp_path / "page.html").read_text()
    assert "Slower than the baseline: latency" in page
    assert not re.search("regressed|by more than the limit|✗", page)


@pytest.mark.slow
@pytest.mark.usefixtures("few_sessions")
def test_a_baseline_and_what_is_slower(cnntk: Callable, tiny_onnx: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    assert cnntk("bench", tiny_onnx, *QUICK, "--save", base).status == 0
    # With a bound that no noise reaches; that a real slowdown is detected is tested on fixed sessions.
    same = cnntk("bench", tiny_onnx, *QUICK, "--compare", base, "--fail-above", "100000%")
    assert same.status == 0
    assert "Since the baseline" in same.out
    stored = json.loads(base.read_bytes())
    case = stored["cases"]["latency"]
    case["sessions"] = [[ms / 1e6 for ms in session] for session in case["sessions"]]
    base.write_text(json.dumps(stored))
    slower = cnntk("bench", tiny_onnx, *QUICK, "--compare", base, "--fail-above", "5%")
    assert slower.status == 1
    assert "REGRESSED (measured twice, then +" in " ".join(slower.out.split())
    allowed = cnntk("bench", tiny_onnx, *QUICK, "--compare", base)
    assert allowed.status == 0
    assert "slower" in allowed.out
    assert "REGRESSED" not in allowed.out


@pytest.mark.slow
@pytest.mark.usefixtures("few_sessions")
def test_a_regression_is_not_forgotten(cnntk: Callable, tiny_onnx: Path, base: Path, tmp_path: Path) -> None:
    """Where the baseline is renewed by each run: what failed by it does not take its place."""
    before, other = base.read_bytes(), tmp_path / "other.json"
    for _ in range(2):
        args = ("--compare", base, "--save", base, "--fail-above", "5%", "--force")
        done = cnntk("bench", tiny_onnx, *QUICK, *args)
        assert done.status == 1
        reason = "was not replaced, because latency regressed by more than 5 %; to accept this run, save it"
        assert f"{reason} under another name" in " ".join(done.out.split())
        assert base.read_bytes() == before
    done = cnntk("bench", tiny_onnx, *QUICK, "--compare", base, "--save", other, "--fail-above", "5%")
    assert (done.status, other.exists(), "replaced" in done.out) == (1, True, False)
    done = cnntk("bench", tiny_onnx, *QUICK, "--compare", base, "--save", base, "--force")
    assert done.status == 0
    assert f"saved: {base}" in done.err
    assert base.read_bytes() != before


def test_report_and_plots(cnntk: Callable, tiny_onnx: Path, tmp_path: Path) -> None:
    page, plots = tmp_path / "page.html", tmp_path / "plots"
    done = cnntk("bench", tiny_onnx, *QUICK, "--report", page, "--plots", plots)
    assert done.status == 0
    assert "<svg" in page.read_text()
    assert list(plots.glob("*.svg"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--batch", "1,x"), "like 1,8,32"),
        (("--batch", "0"), "1 or more"),
        (("--fail-above", "much", "--compare", "x"), "like 5%"),
        (("--fail-above", "5%"), "needs a baseline: --compare FILE"),
        (("--compare", "nothing.json"), "nothing.json: no such file"),
        (("--save", "no/such/folder/base.json"), "no/such/folder"),
        (
            ("--against", "nobody"),
            "unknown target 'nobody'; use an .onnx file, torch,",
        ),
        (("--against", "nothing.onnx"), "nothing.onnx: no such file"),
        (("--weights", "x.pt"), "(weights, random) need --against torch:SOURCE"),
        (("--random", "--against", "torch"), "(weights, random) need --against torch:SOURCE"),
        (("--image", "nope.jpg"), "nope.jpg: no such file"),
        (("--image", "."), ".: contains no image"),
        (("--report", "/proc/x.html"), "can't create files in the folder /proc"),
        (("--save", "/proc/x.json"), "can't create files in the folder /proc"),
        (("--plots", "/proc/plots"), "can't create files in the folder /proc"),
        (("--plots", "/proc/version"), "/proc/version: is a file; name a folder"),
        (("--plots", "all.png"), "plots are SVG files"),
        (("--threads", "9999"), "threads=9999: "),
        (("--threads", "1,9999"), "threads=9999: "),
        (("--seconds", "nan"), "--seconds"),
    ],
)
def test_wrong_options_are_one_line(
    cnntk: Callable, tiny_onnx: Path, wrong: tuple[str, ...], message: str
) -> None:
    done = cnntk("bench", tiny_onnx, *QUICK, *wrong)
    assert done.status == 2
    assert message in done.err
    assert done.out == ""


@pytest.mark.parametrize("option", ["--save", "--report"])
@pytest.mark.parametrize("reads", ["model", "against", "image"])
def test_what_is_read_is_not_overwritten(
    cnntk: Callable, tiny_onnx: Path, seven: Path, option: str, reads: str
) -> None:
    file = seven if reads == "image" else tiny_onnx
    before = file.read_bytes()
    others = {"model": (), "against": ("--against", tiny_onnx), "image": ("--image", seven)}[reads]
    done = cnntk("bench", *(() if reads == "against" else (tiny_onnx,)), *QUICK, *others, option, file)
    assert done.status == 2
    assert "that is read; choose another name" in done.err
    assert file.read_bytes() == before


def test_an_existing_file_needs_force(cnntk: Callable, tiny_onnx: Path, tmp_path: Path) -> None:
    for option, name in (("--save", "notes.txt"), ("--report", "page.html"), ("--plots", "a/b.svg")):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
        done = cnntk("bench", tiny_onnx, *QUICK, option, file.parent if option == "--plots" else file)
        assert done.status == 2
        assert f"{name} exists already; --force replaces it" in done.err.replace(":", "")
        assert file.read_text() == "mine"
    done = cnntk("bench", tiny_onnx, *QUICK, "--report", tmp_path / "page.html", "--force")
    assert done.status == 0
    assert "<svg" in (tmp_path / "page.html").read_text()
    same = tmp_path / "one.json"
    done = cnntk("bench", tiny_onnx, *QUICK, "--save", same, "--report", same)
    assert "choose another name" in done.err


def test_the_baseline_that_is_compared_with_may_be_renewed(base: Path, tiny_onnx: Path) -> None:
    outputs = {"--report": None, "--plots": None}
    _check_distinct(BenchOptions(save=str(base), baseline=str(base)), outputs, tiny_onnx)
    with pytest.raises(UsageError, match="is --compare that is read"):
        _check_distinct(BenchOptions(baseline=str(base)), {**outputs, "--report": str(base)}, tiny_onnx)


@pytest.mark.parametrize(
    ("package", "options", "needs"),
    [
        ("jinja2", ("--report", "page.html"), "--report needs jinja2"),
        ("jinja2", ("--plots", "plots"), "--plots needs jinja2"),
        ("torch", ("--against", "torch"), "--against torch needs torch"),
        ("openvino", ("--against", "openvino"), "--against openvino needs openvino"),
    ],
)
def test_missing_packages_are_reported_first(
    cnntk: Callable,
    tiny_onnx: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    options: tuple[str, ...],
    needs: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = cnntk("bench", tiny_onnx, *QUICK, *options)
    assert done.status == 2
    assert f"{needs}, which is not installed: pip install" in done.err
    assert done.out == ""


def test_a_folder_of_images(cnntk: Callable, seven: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(seven.read_bytes())
    document = cnntk("bench", *QUICK, "--image", photos, "--json").json
    assert [row["images"] for row in document["stages"]["formats"]] == [2]


def test_end_to_end_needs_a_classifier(cnntk: Callable, foreign_onnx: Path) -> None:
    done = cnntk("bench", foreign_onnx, *QUICK, "--end-to-end")
    assert done.status == 2
    assert "can't be measured end to end" in done.err
    assert "leave out --end-to-end" in done.err
    assert "use Engine" not in done.err


def test_torch_with_random_weights(cnntk: Callable, tiny_onnx: Path) -> None:
    pytest.importorskip("torch")
    options = ("--against", "torch:nowhere.py:Net", "--random")
    done = cnntk("bench", tiny_onnx, *QUICK, *options)
    assert done.status == 2
    assert "nowhere" in done.err


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        ({"regressed": False, "fail_above_percent": None}, ["+12.2 % +8.1 to +16.4 % slower"]),
        ({"regressed": True, "fail_above_percent": 5.0}, ["+16.4 % slower, REGRESSED"]),
        (
            {"regressed": True, "fail_above_percent": 5.0, "second_round_percent": Estimate(12.0, 8.0, 16.0)},
            ["REGRESSED (measured twice, then +12.0 % (+8.0 to +16.0))"],
        ),
        (
            {"regressed": False, "fail_above_percent": 5.0, "second_round_percent": Estimate(1.0, -1.0, 3.0)},
            ["not regressed (measured twice, then +1.0 % (-1.0 to +3.0))"],
        ),
        (
            {
                "regressed": False,
                "slowdown_percent": Estimate(-0.3, -2.2, 1.7),
                "mostly_disturbed": True,
                "note": "judged on 2 of 10 sessions",
            },
            ["-0.3 % -2.2 to +1.7 % undecided;", "judged on 2 of 10 sessions"],
        ),
    ],
    ids=["no bound", "bound", "twice", "not twice", "undecided"],
)
def test_verdicts_in_words(
    capsys: pytest.CaptureFixture[str], judged: dict[str, object], words: list[str]
) -> None:
    case = replace(case_comparisons()[0], **judged)
    print_bench_result(plain_bench(baseline=baseline_comparison(case)))
    text = " ".join(capsys.readouterr().out.split())
    for one in words:
        assert one in text
    assert ("REGRESSED" in text) == any("REGRESSED" in one for one in words)
