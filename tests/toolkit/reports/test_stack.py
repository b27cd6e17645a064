from dataclasses import replace

import pytest
from drawn import marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import format_stages, full_bench

from cnntk.benchmark.stages import Stages
from cnntk.reports.figure import Figure, Line, Rect
from cnntk.reports.stack import draw_cold_start, draw_memory, draw_stages

RESULT = full_bench()
THICK = 26


def bars(figure: Figure) -> list[Rect]:
    return [mark for mark in marks_of(figure, Rect) if mark.height == THICK]


def test_parts_are_as_long_as_they_take() -> None:
    assert RESULT.cold_start is not None
    figure = draw_cold_start(RESULT.cold_start, 580)
    imported, session, first = bars(figure)
    assert imported.x < session.x < first.x
    assert (imported.width + 1) / (session.width + 1) == pytest.approx(268.0 / 57.1, rel=0.02)
    assert "import 268 ms (78 %)" in texts_of(figure)
    assert "to the first answer: 344 ms" in texts_of(figure)


def test_the_peak_stands_beyond_what_is_resident_in_the_end() -> None:
    assert RESULT.memory is not None
    figure = draw_memory(RESULT.memory, 580)
    (peak,) = (line for line in marks_of(figure, Line) if line.ink == "ink")
    assert peak.points[0][0] > max(bar.x + bar.width for bar in bars(figure))
    assert "peak: 121 MB" in texts_of(figure)


def test_a_bar_for_each_format() -> None:
    assert RESULT.stages is not None
    figure = draw_stages(RESULT.stages, 336)
    assert figure is not None
    assert len(bars(figure)) == 2 * 5
    assert len({bar.y for bar in bars(figure)}) == 2
    assert len({bar.ink for bar in bars(figure)}) == 5
    assert draw_stages(replace(RESULT.stages, formats=()), 336) is None


def test_less_than_nothing_is_nothing() -> None:
    assert RESULT.memory is not None
    figure = draw_memory(replace(RESULT.memory, model_bytes=-4096), 580)
    assert len(bars(figure)) == 2
    assert stray_marks(figure) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=5))
def test_any_times_stay_in_the_frame(times_ms: list[float]) -> None:
    figure = draw_stages(Stages((format_stages("PNG", *times_ms),), "cpu", 1, ()), 336)
    assert figure is not None
    assert stray_marks(figure) == []
