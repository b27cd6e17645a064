"""Charts and the page of a quantization, from figures by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from drawn import figure_of, figure_or_none, marks_of, stray_marks, texts_of
from html_tags import tags

from cnntk.benchmark.compare import Comparison
from cnntk.quantization.accuracy import Accuracy, TopAccuracy
from cnntk.quantization.config import QuantConfig
from cnntk.quantization.options import QuantizeOptions
from cnntk.quantization.report import CandidateResult, QuantizedLayer, QuantizeReport, QuantizeSetup
from cnntk.reports import write_report
from cnntk.reports.charts import render_report
from cnntk.reports.figure import Circle, Line, Rect

EVIL = '<script>alert("x")</script>&'


def speed(ratio: float) -> Comparison:
    return Comparison(ratio, 0.9 * ratio, 1.1 * ratio, 2.0, 1.0, 60)


def accuracy(drop: float | None) -> Accuracy:
    if drop is None:
        return Accuracy(1000, 99.0, 0.123, expected_high=0.35)
    before, after = TopAccuracy(95.0, 99.0), TopAccuracy(95.0 - drop, 99.0)
    return Accuracy(1000, 99.0, 0.123, before, after, drop, drop - 0.4, drop + 0.4, 5, 2)


def step(
    change: str, ratio: float, drop: float | None, verdict: str = "accepted", size: int = 40_000
) -> CandidateResult:
    return CandidateResult(change, QuantConfig({}), size, speed(ratio), accuracy(drop), verdict)


def layer(title: str, kind: str, multiply_adds: int, cost: float | None, reason: str = "") -> QuantizedLayer:
    return QuantizedLayer("n0", title, "Conv", 900, multiply_adds, kind, reason, cost)


def report_of(*steps: CandidateResult, max_drop: float = 0.5) -> QuantizeReport:
    return QuantizeReport(
        path="small.onnx",
        name="net",
        changed=True,
        reason="all: fastest accepted",
        portable_to="every CPU",
        setup=QuantizeSetup(
            "net.onnx", QuantizeOptions("digits", max_drop=max_drop), 512, 359, True, 2, "a CPU"
        ),
        layers=(
            layer("features.0", "int8", 90_000, 0.25, "a convolution"),
            layer("classifier", "float32", 90_000, None, "small"),
        ),
        accuracy=accuracy(0.3),
        speed=steps[-1].speed if steps else None,
        size_bytes=40_000,
        original_size_bytes=160_000,
        candidates=steps,
        warnings=("calibration: few images",),
        digest="ab" * 32,
        seconds=3.0,
    )


@pytest.fixture
def report() -> QuantizeReport:
    return report_of(step("all", 3.0, 1.0, "drops by 1.00 points"), step("fewer", 2.0, 0.3))


def circles(report: QuantizeReport) -> list[Circle]:
    return marks_of(figure_of("candidates", report, 580), Circle)


def limit_y(report: QuantizeReport) -> float:
    lines = marks_of(figure_of("candidates", report, 580), Line)
    return next(line.points[0][1] for line in lines if line.color == "bad")


def test_faster_is_to_the_right_and_worse_above(report: QuantizeReport) -> None:
    original, first, second = circles(report)
    assert original.x < second.x < first.x
    assert first.y < limit_y(report) < second.y
    assert original.hollow
    assert [dot.color for dot in (first, second)] == ["bad", "good"]
    lines = [line for line in marks_of(figure_of("candidates", report, 580), Line) if not line.dashed]
    across = next(line for line in lines if line.color == "muted" and line.points[0][1] == first.y)
    assert across.points[0][0] < first.x < across.points[1][0]
    upright = next(line for line in lines if line.color == "muted" and line.points[0][0] == first.x)
    assert upright.points[1][1] < first.y < upright.points[0][1]


def test_a_quarter_of_the_size_has_half_the_radius(report: QuantizeReport) -> None:
    original, first, _ = circles(report)
    assert first.radius == pytest.approx(original.radius / 2)


def test_what_is_far_off_stands_on_the_edge() -> None:
    far = report_of(step("x", 2, 86, "drops"), step("y", 1.5, 0.4))
    _, first, second = circles(far)
    assert first.y == min(line.points[0][1] for line in marks_of(figure_of("candidates", far, 580), Line))
    assert second.y - limit_y(far) > 3


@pytest.mark.parametrize("drop", [0.0, -3.0, 1e-9])
@pytest.mark.parametrize("max_drop", [0.0, 100.0])
@pytest.mark.parametrize("width", [336, 580])
def test_any_figures_can_be_drawn(drop: float, max_drop: float, width: int) -> None:
    figure = figure_of("candidates", report_of(step("x", 0.001, drop, size=1), max_drop=max_drop), width)
    assert stray_marks(figure) == []


def test_nothing_to_draw(report: QuantizeReport) -> None:
    assert figure_or_none("candidates", report_of(), 580) is None
    assert figure_or_none("candidates", report_of(replace(step("x", 1, 1), speed=None)), 580) is None
    assert figure_or_none("layers", replace(report, layers=()), 580) is None


def test_bars_share_the_work(report: QuantizeReport) -> None:
    layers = (
        layer("a", "int8", 30, 0.4),
        layer("b", "float32", 10, -0.1, "small"),
        layer("c", "float32", 0, None),
    )
    figure = figure_of("layers", replace(report, layers=layers), 580)
    work = [rect.width for rect in marks_of(figure, Rect) if rect.height == 10]
    cost = [rect.width for rect in marks_of(figure, Rect) if rect.height == 4]
    assert work[0] == pytest.approx(3 * work[1], rel=0.01)
    assert work[2] == cost[1] == 1
    assert len(cost) == 2
    assert "b: float32, small" in [rect.hint for rect in marks_of(figure, Rect)]
    assert {"int8", "float32", "accuracy cost when quantized alone"} <= set(texts_of(figure))
    assert stray_marks(figure) == []


def test_what_stands_on_the_page(report: QuantizeReport) -> None:
    page = render_report(report)
    tags(page)
    for words in (
        "Quantized, and its accuracy is within the limit of 0.5 points.",
        "2.00x faster",
        "95.00 → 94.70 %",
        "drops by 1.00 points",
        "features.0",
        "every CPU",
        "calibration: few images",
        "selected",
    ):
        assert words in page


def test_it_needs_nothing_from_outside(report: QuantizeReport) -> None:
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?:", render_report(report))


def test_text_is_escaped(report: QuantizeReport) -> None:
    steps = (replace(report.candidates[0], change=EVIL), report.candidates[1])
    layers = (replace(report.layers[0], title=EVIL, reason=EVIL),)
    evil = replace(report, name=EVIL, reason=EVIL, candidates=steps, layers=layers)
    assert "<script" not in render_report(evil)


def test_a_model_that_stays(report: QuantizeReport) -> None:
    steps = (step("all", 0.5, 0.0, "slow"),)
    page = render_report(replace(report, changed=False, accuracy=None, speed=None, candidates=steps))
    assert "Not quantized: nothing that was tried is better and within the limits." in page
    assert "slow" in page


def test_without_labels(report: QuantizeReport) -> None:
    page = render_report(replace(report, accuracy=accuracy(None), candidates=(step("all", 2.0, None),)))
    assert "0.12" in page
    assert "at most 0.35" in page
    assert "top-1 on" not in page


def test_steps_that_were_not_measured_are_rows_alone(report: QuantizeReport) -> None:
    page = render_report(replace(report, candidates=(replace(step("slow one", 1.0, 0.0), accuracy=None),)))
    assert "slow one" in page
    assert "Candidates by speed" not in page


def test_it_is_written_whole(report: QuantizeReport, tmp_path: Path) -> None:
    write_report(report, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
