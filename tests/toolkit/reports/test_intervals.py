from dataclasses import replace

import pytest
from drawn import marks_of, stray_marks, texts_of
from made_up_bench import case_comparisons, compared, full_bench

from cnntk.benchmark.regression import CaseComparison
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.reports.figure import Circle, Line, Text
from cnntk.reports.intervals import draw_against, draw_regressions


def test_faster_is_to_the_right_of_even_and_slower_to_the_left() -> None:
    figure = draw_against(full_bench().against, 580)
    assert figure is not None
    faster, same, slower = marks_of(figure, Circle)
    even = next(line for line in marks_of(figure, Line) if line.ink == "ink").points[0][0]
    assert slower.x < even < faster.x
    assert abs(same.x - even) < 10
    assert [mark.ink for mark in (faster, same, slower)] == ["good", "muted", "bad"]
    told = texts_of(figure)
    assert "1.93 (1.85 to 2.01): faster" in told
    assert "1.01 (0.970 to 1.05): no difference" in told
    assert (
        figure.title == "Faster than torch, eager; no difference to other.onnx; slower than openvino 2026.1"
    )


def test_an_interval_reaches_from_its_low_to_its_high_end() -> None:
    figure = draw_against([compared("a", 2.0)], 580)
    assert figure is not None
    (dot,) = marks_of(figure, Circle)
    (bar,) = (line for line in marks_of(figure, Line) if line.width == 4.0)
    assert bar.points[0][0] < dot.x < bar.points[1][0]


def test_what_regressed_is_told() -> None:
    figure = draw_regressions(case_comparisons(), 580)
    assert figure is not None
    assert [dot.ink for dot in marks_of(figure, Circle)] == ["bad", "muted"]
    assert "+12.2 % (+8.1 to +16.4): regressed" in texts_of(figure)
    assert "+2.0 % (-1.1 to +5.2)" in texts_of(figure)
    assert figure.title == "Slower than is borne: latency"


def test_without_a_bound_nothing_is_accused() -> None:
    slower, same, _ = case_comparisons()
    told = replace(slower, regressed=False, fail_above_percent=None)
    figure = draw_regressions([told, replace(same, mostly_disturbed=True)], 580)
    assert figure is not None
    assert [dot.ink for dot in marks_of(figure, Circle)] == ["muted", "muted"]
    assert "+12.2 % (+8.1 to +16.4)" in texts_of(figure)
    assert "+2.0 % (-1.1 to +5.2): undecided" in texts_of(figure)


def test_nobody_and_nothing_to_draw() -> None:
    assert draw_against([compared("a", None)], 580) is None
    assert draw_against((), 580) is None
    assert draw_regressions([CaseComparison("a", 1.0, None, None, False, "")], 580) is None


@pytest.mark.parametrize("ratio", [1e-4, 1.0, 1e5])
@pytest.mark.parametrize("width", [336, 580])
def test_any_ratio_stays_in_the_frame(ratio: float, width: int) -> None:
    figure = draw_against([compared("x" * 200, ratio), compared("b", 1.0)], width)
    assert figure is not None
    assert stray_marks(figure) == []
    assert max(len(text.text) for text in marks_of(figure, Text)) < 80
    slower = CaseComparison("a", 1.0, 2.0, Estimate(100 * ratio, -50.0, 200 * ratio), True, "")
    drawn = draw_regressions([slower], width)
    assert drawn is not None
    assert stray_marks(drawn) == []
