import itertools

import numpy as np
import pytest
from drawn import marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import latency
from made_up_traces import lognormal, trace

from cnntk.reports.figure import Line, Polygon, Text, text_width
from cnntk.reports.over_time import draw_over_time, stretches_of


def test_stretches_hold_all_runs() -> None:
    values = lognormal(1003)
    stretches = stretches_of(trace(values), 100)
    assert len(stretches) == 100
    assert sum(s.runs for s in stretches) == 1003
    assert min(s.least for s in stretches) == values.min()
    assert max(s.most for s in stretches) == values.max()
    assert all(s.least <= s.median <= s.most for s in stretches)


def test_slower_stands_higher_and_later_to_the_right() -> None:
    figure = draw_over_time(latency(np.array([1.0] * 50 + [2.0] * 50)), 580)
    middle = next(line for line in marks_of(figure, Line) if line.ink == "series-1")
    xs, ys = zip(*middle.points, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[0] > ys[-1]


def test_a_run_that_is_far_off_is_marked_and_told() -> None:
    values = lognormal(2000)
    quiet = draw_over_time(latency(values), 580)
    values[1000] = 40.0
    figure = draw_over_time(latency(values), 580)
    assert [m.hint for m in marks_of(figure, Polygon) if m.ink == "bad"] == ["up to 40.0 ms"]
    assert any("1 run beyond" in text and "40.0 ms" in text for text in texts_of(figure))
    assert not [m for m in marks_of(quiet, Polygon) if m.ink == "bad"]


@pytest.mark.parametrize(("width", "apart"), [(336, True), (580, False)])
def test_what_is_cut_off_and_the_axis_never_touch(width: int, apart: bool) -> None:
    values = lognormal(2000)
    values[1000] = 40.0
    axis, told = (
        next(m for m in marks_of(draw_over_time(latency(values), width), Text) if start in m.text)
        for start in ("ms a run", "run beyond")
    )
    assert (told.y - axis.y >= 12) == apart
    assert apart or text_width(axis.text + told.text, 10.5) < told.x


def test_percentiles_are_named_where_there_are_runs_enough() -> None:
    names = [
        text.split()[0] for text in texts_of(draw_over_time(latency(lognormal(1200)), 336)) if "p" in text[:1]
    ]
    assert names == ["p50", "p90", "p99"]


def test_names_of_percentiles_never_touch() -> None:
    figure = draw_over_time(latency(np.full(20_000, 1.0) + 1e-6 * np.arange(20_000)), 580)
    ys = sorted(m.y for m in figure.marks if getattr(m, "text", "").startswith("p"))
    assert len(ys) == 4
    assert all(b - a >= 11 for a, b in itertools.pairwise(ys))


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60), width=st.sampled_from([336, 580]))
def test_any_runs_stay_in_the_frame(values: list[float], width: int) -> None:
    assert stray_marks(draw_over_time(latency(np.array(values)), width)) == []


@pytest.mark.parametrize("count", [2, 20])
def test_runs_that_all_take_the_same(count: int) -> None:
    assert stray_marks(draw_over_time(latency(np.full(count, 1.5)), 580)) == []
