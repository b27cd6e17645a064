import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
    assert found["compared"] == []


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
    known["machine"]["cpu"] = "another one"
    base.write_text(json.dumps(known))
    elsewhere = cnntk("bench", tiny_onnx, *QUICK, "--compare", base)
    assert elsewhere.status == 2
    assert "another machine" in elsewhere.err
    assert cnntk("bench", tiny_onnx, *QUICK, "--compare", base, "--other-machine").status == 0


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
