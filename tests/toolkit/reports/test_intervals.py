from collections.abc import Sequence
from dataclasses import replace

import pytest
from drawn import figure_of, figure_or_none, marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import (
    baseline_comparison,
    case_comparisons,
    compared,
    format_stages,
    full_bench,
    plain_bench,
    sweep,
)

from cnntk.benchmark.regression import CaseComparison
from cnntk.benchmark.result import ComparisonResult
from cnntk.benchmark.stages import Stages
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.reports.figure import Circle, Figure, Line, Rect, Text


def against(rows: Sequence[ComparisonResult], width: int) -> Figure | None:
    return figure_or_none("against", plain_bench(against=tuple(rows)), width)


def regressions(rows: Sequence[CaseComparison], width: int) -> Figure | None:
    return figure_or_none("regressions", baseline_comparison(*rows), width)


def test_faster_is_to_the_right_of_even_and_slower_to_the_left() -> None:
    figure = against(full_bench().against, 580)
    assert figure is not None
    faster, same, slower = marks_of(figure, Circle)
    even = next(line for line in marks_of(figure, Line) if line.color == "ink").points[0][0]
    assert slower.x < even < faster.x
    assert abs(same.x - even) < 10
    assert [mark.color for mark in (faster, same, slower)] == ["good", "muted", "bad"]
    texts = texts_of(figure)
    assert "1.93x faster (1.85 to 2.01)" in texts
    assert "no difference (0.970 to 1.05)" in texts
    assert figure.title == (
        "net is 1.93x faster than torch, eager; no difference to other.onnx; "
        "1.23x slower than openvino 2026.1"
    )


def test_an_interval_reaches_from_its_low_to_its_high_end() -> None:
    figure = against([compared("a", 2.0)], 580)
    assert figure is not None
    (dot,) = marks_of(figure, Circle)
    (bar,) = (line for line in marks_of(figure, Line) if line.width == 4.0)
    assert bar.points[0][0] < dot.x < bar.points[1][0]


def test_regressions_are_named() -> None:
    figure = regressions(case_comparisons(), 580)
    assert figure is not None
    assert [dot.color for dot in marks_of(figure, Circle)] == ["bad", "muted"]
    assert "+12.2 % (+8.1 to +16.4): regressed" in texts_of(figure)
    assert "+2.0 % (-1.1 to +5.2)" in texts_of(figure)
    assert figure.title == "Slower by more than the limit: latency"


def test_without_a_bound_nothing_is_accused() -> None:
    slower, same, _ = case_comparisons()
    texts = replace(slower, regressed=False, fail_above_percent=None)
    figure = regressions([texts, replace(same, mostly_disturbed=True)], 580)
    assert figure is not None
    assert [dot.color for dot in marks_of(figure, Circle)] == ["muted", "muted"]
    assert "+12.2 % (+8.1 to +16.4)" in texts_of(figure)
    assert "+2.0 % (-1.1 to +5.2): undecided" in texts_of(figure)


def test_nobody_and_nothing_to_draw() -> None:
    assert against([compared("a", None)], 580) is None
    assert against((), 580) is None
    assert regressions([CaseComparison("a", 1.0, None, None, False, "")], 580) is None


@pytest.mark.parametrize("ratio", [1e-4, 1.0, 1e5])
@pytest.mark.parametrize("width", [336, 580])
def test_any_ratio_stays_in_the_frame(ratio: float, width: int) -> None:
    figure = against([compared("x" * 200, ratio, "faster"), compared("b", 1.0)], width)
    assert figure is not None
    assert stray_marks(figure) == []
    assert max(len(text.text) for text in marks_of(figure, Text)) < 80
    slower = CaseComparison("a", 1.0, 2.0, Estimate(100 * ratio, -50.0, 200 * ratio), True, "")
    drawn = regressions([slower], width)
    assert drawn is not None
    assert stray_marks(drawn) == []


def test_a_line_for_each_number_of_threads() -> None:
    result = full_bench().sweep
    assert result is not None
    figure = figure_or_none("sweep-throughput", result, 580)
    assert figure is not None
    lines = [line for line in marks_of(figure, Line) if line.width == 2.0]
    assert [len(line.points) for line in lines] == [3, 3]
    assert len({line.color for line in lines}) == 2
    assert {"1 thread", "2 threads", "1", "8", "32"} <= set(texts_of(figure))
    assert figure.title == "865 images/s at most: batch 32 on 2 threads"


def test_more_images_a_second_stand_higher_and_more_ms_too() -> None:
    result = sweep((1, 1, 2.0), (8, 1, 8.0))
    for name in ("sweep-throughput", "sweep-latency"):
        figure = figure_or_none(name, result, 580)
        assert figure is not None
        first, second = marks_of(figure, Circle)
        assert first.x < second.x
        assert first.y > second.y


def test_threads_go_along_where_there_is_one_batch() -> None:
    figure = figure_or_none("sweep-throughput", sweep((4, 1, 2.0), (4, 2, 1.5), (4, 4, 1.4)), 336)
    assert figure is not None
    assert {"threads, log scale", "batch 4"} <= set(texts_of(figure))
    assert len(marks_of(figure, Circle)) == 3


def test_one_cell_is_no_line() -> None:
    assert figure_or_none("sweep-throughput", sweep((1, 1, 2.0)), 580) is None
    assert figure_or_none("sweep-latency", sweep((1, 1, 2.0)), 580) is None


@settings(deadline=None)
@given(
    cells=st.dictionaries(
        st.tuples(st.integers(1, 512), st.integers(1, 64)), st.floats(1e-4, 1e6), min_size=2, max_size=12
    ),
    width=st.sampled_from([336, 580]),
)
def test_any_sweep_stays_in_the_frame(cells: dict[tuple[int, int], float], width: int) -> None:
    result = sweep(*((batch, threads, ms) for (batch, threads), ms in sorted(cells.items())))
    for name in ("sweep-throughput", "sweep-latency"):
        figure = figure_or_none(name, result, width)
        assert figure is not None
        assert stray_marks(figure) == []
        assert len(marks_of(figure, Circle)) == len(cells)


@pytest.mark.parametrize("width", [336, 580])
def test_the_axis_of_latency_is_logarithmic_where_it_is_wide(width: int) -> None:
    narrow, wide = sweep((1, 1, 2.0), (2, 1, 3.0)), sweep((1, 1, 2.0), (64, 1, 100.0))
    for result, expected in ((narrow, "ms a run"), (wide, "ms a run, log scale")):
        figure = figure_or_none("sweep-latency", result, width)
        assert figure is not None
        assert expected in texts_of(figure)


RESULT = full_bench()
THICK = 26


def bars(figure: Figure) -> list[Rect]:
    return [mark for mark in marks_of(figure, Rect) if mark.height == THICK]


def test_parts_are_as_long_as_they_take() -> None:
    assert RESULT.cold_start is not None
    figure = figure_of("cold-start", RESULT.cold_start, 580)
    imported, session, first = bars(figure)
    assert imported.x < session.x < first.x
    assert (imported.width + 1) / (session.width + 1) == pytest.approx(268.0 / 57.1, rel=0.02)
    assert "import 268 ms (78 %)" in texts_of(figure)
    assert "344 ms" in texts_of(figure)


def test_the_peak_stands_beyond_what_is_resident_in_the_end() -> None:
    assert RESULT.memory is not None
    figure = figure_of("memory", RESULT.memory, 580)
    (peak,) = (line for line in marks_of(figure, Line) if line.color == "ink")
    assert peak.points[0][0] > max(bar.x + bar.width for bar in bars(figure))
    assert "peak: 120.6 MB" in texts_of(figure)


def test_a_bar_for_each_format() -> None:
    assert RESULT.stages is not None
    figure = figure_or_none("stages", RESULT.stages, 336)
    assert figure is not None
    assert len(bars(figure)) == 2 * 5
    assert len({bar.y for bar in bars(figure)}) == 2
    assert len({bar.color for bar in bars(figure)}) == 5
    assert figure_or_none("stages", replace(RESULT.stages, formats=()), 336) is None


def test_less_than_nothing_is_nothing() -> None:
    assert RESULT.memory is not None
    figure = figure_of("memory", replace(RESULT.memory, model_bytes=-4096), 580)
    assert len(bars(figure)) == 2
    assert stray_marks(figure) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=5))
def test_any_times_stay_in_the_frame(times_ms: list[float]) -> None:
    figure = figure_or_none("stages", Stages((format_stages("PNG", *times_ms),), "cpu", 1, ()), 336)
    assert figure is not None
    assert stray_marks(figure) == []
