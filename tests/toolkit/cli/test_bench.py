import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_bench import baseline_note, full_bench, verdicts
from made_up_traces import trace

from cnntk.cli.bench_text import print_bench
from cnntk.measuring.case import case_of
from cnntk.measuring.machine import machine
from cnntk.measuring.regression import Baseline, save_baseline

QUICK = ("--seconds", "0.1", "--threads", "1")


def test_figures(cnntk: Callable, tiny_onnx: Path) -> None:
    done = cnntk("bench", tiny_onnx, *QUICK, "--batch", "2")
    assert done.status == 0
    for word in ("p50", "p90", "p99", "images/s", "1 thread, batch 2", "first answer", "memory", "machine"):
        assert word in done.out


def test_all_fits_80_columns(cnntk: Callable, tiny_onnx: Path) -> None:
    lists = ("--threads", "1,2", "--batch", "1,8")
    done = cnntk("bench", tiny_onnx, "--seconds", "0.1", *lists, "--layers", "--against", tiny_onnx)
    assert done.status == 0
    for word in ("speed-up", "of the limit", "against", "unaccounted for"):
        assert word in " ".join(done.out.split())
    assert max(map(len, done.out.splitlines())) <= 80


def test_json(cnntk: Callable, tiny_onnx: Path) -> None:
    found = cnntk("bench", tiny_onnx, *QUICK, "--json").json
    assert found["schema"] == "cnntk-bench/1"
    assert found["latency"]["runs"] >= 20
    assert (found["baseline"], found["compared"]) == (None, [])


def test_a_sweep_and_a_baseline_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_bench(full_bench(), verdicts(), baseline_note())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    sweep = lines[next(i for i, line in enumerate(lines) if "speed-up" in line) + 1 :][:4]
    assert [line.split("  ")[-1].strip() for line in sweep] == [
        "1.00", "no difference", "1.00", "1.58 (1.50 to 1.66)"
    ]  # fmt: skip
    at = lines.index("baseline     base.json, measured at 2026-09-30T07:15:00+00:00")
    assert lines[at + 1].strip() == "another machine: cores: 8 there, 2 here"
    assert lines[at + 2].strip() == "other versions: onnxruntime: 1.20.1 there, 1.22.0 here"
    assert lines[at + 3].startswith("compared     latency:")


def test_a_sweep_of_long_runs_fits_too(capsys: pytest.CaptureFixture[str]) -> None:
    result = full_bench()
    cells = [replace(c, latency_ms=12_345.6, low_ms=10_000.0, high_ms=99_999.9) for c in result.sweep.cells]
    print_bench(replace(result, sweep=replace(result.sweep, cells=tuple(cells))))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A baseline of this machine, of runs that took next to nothing."""
    quick = trace(1e-6 * np.random.default_rng(0).uniform(1, 2, 100))
    found = case_of([quick, quick], settings={"device": "cpu", "threads": 1, "batch": 1})
    save_baseline(tmp_path / "base.json", Baseline.of(machine(), {"latency": found}))
    return tmp_path / "base.json"


def elsewhere(base: Path) -> Path:
    """The same, of another machine."""
    known = json.loads(base.read_bytes())
    known["machine"]["cpu"] = "another one"
    base.write_text(json.dumps(known))
    return base


# Who is measured against is looked up before all measuring: "nobody" in the error means that it had begun.
BEGUN = (*QUICK, "--against", "nobody")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), "nobody"),
        (("--threads", "2"), "other settings (threads: 1 there, 2 here)"),
        (("--batch", "8,1"), "other settings (batch: 1 there, 8 here)"),
    ],
    ids=["same", "threads", "batch"],
)
def test_other_settings_are_refused_before_measuring(
    cnntk: Callable, tiny_onnx: Path, base: Path, settings: tuple[str, ...], message: str
) -> None:
    done = cnntk("bench", tiny_onnx, *BEGUN, "--compare", base, *settings)
    assert done.status == 2
    assert message in done.err


def test_another_machine_is_refused_before_measuring(cnntk: Callable, tiny_onnx: Path, base: Path) -> None:
    done = cnntk("bench", "no-such-model.onnx", *BEGUN, "--compare", elsewhere(base))
    assert done.status == 2
    assert "another machine (cpu: another one there" in done.err
    told = cnntk("bench", tiny_onnx, *BEGUN, "--compare", base, "--other-machine")
    assert "nobody" in told.err


@pytest.mark.slow
def test_told_to_go_on_it_says_how_they_differ(
    cnntk: Callable, tiny_onnx: Path, base: Path, tmp_path: Path
) -> None:
    options = ("--compare", elsewhere(base), "--other-machine", "--report", tmp_path / "page.html")
    done = cnntk("bench", tiny_onnx, *QUICK, *options)
    assert done.status == 0
    assert "another machine: cpu: another one there" in done.out
    assert "cpu: another one there" in (tmp_path / "page.html").read_text()
    found = cnntk("bench", tiny_onnx, *QUICK, *options, "--json").json
    assert found["baseline"]["file"] == str(base)
    assert found["compared"][0]["regressed"]


@pytest.mark.slow
def test_a_baseline_and_what_is_slower(cnntk: Callable, tiny_onnx: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    assert cnntk("bench", tiny_onnx, *QUICK, "--save", base).status == 0
    # With a bound that no noise reaches; that a real slowdown is found is tested on given sessions.
    same = cnntk("bench", tiny_onnx, *QUICK, "--compare", base, "--fail-above", "100000%")
    assert same.status == 0
    assert "compared" in same.out
    known = json.loads(base.read_bytes())
    case = known["cases"]["latency"]
    case["sessions"] = [[ms / 1e6 for ms in session] for session in case["sessions"]]
    base.write_text(json.dumps(known))
    slower = cnntk("bench", tiny_onnx, *QUICK, "--compare", base, "--fail-above", "5%")
    assert slower.status == 1
    assert "REGRESSED" in slower.out
    assert cnntk("bench", tiny_onnx, *QUICK, "--compare", base).status == 0


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
        (("--fail-above", "5%"), "--fail-above needs --compare FILE"),
        (("--qps", "10"), "are for --scenario"),
        (("--compare", "nothing.json"), "nothing.json: no such file"),
        (("--save", "no/such/folder/base.json"), "no/such/folder"),
        (("--against", "nobody"), "nobody"),
    ],
)
def test_wrong_options_are_one_line(
    cnntk: Callable, tiny_onnx: Path, wrong: tuple[str, ...], message: str
) -> None:
    done = cnntk("bench", tiny_onnx, *QUICK, *wrong)
    assert done.status == 2
    assert message in done.err
    assert done.out == ""
