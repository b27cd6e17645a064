import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnntk.reports.axes import Frame, Scale, key, log_levels, round_levels, with_axes
from cnntk.reports.figure import Rect, Text, text_width

positive = st.floats(1e-9, 1e12)


def test_ends_and_middle() -> None:
    scale = Scale(0.0, 10.0, 100.0, 200.0)
    assert [scale.at(v) for v in (0, 5, 10)] == [100, 150, 200]
    log = Scale(1.0, 100.0, 0.0, 100.0, log=True)
    assert [log.at(v) for v in (1, 10, 100)] == [0, 50, 100]


def test_what_is_beyond_stands_on_the_end() -> None:
    assert Scale(1.0, 2.0, 50.0, 0.0).at(99) == 0
    assert Scale(1.0, 2.0, 50.0, 0.0, log=True).at(0) == 50


@given(low=positive, factor=st.floats(1.001, 1e9), log=st.booleans())
def test_levels_lie_on_the_scale_and_go_up(low: float, factor: float, log: bool) -> None:
    scale = Scale(low, low * factor, 0.0, 100.0, log)
    levels = scale.levels()
    assert 1 <= len(levels) <= 12
    assert levels == sorted(set(levels))
    assert all(low * (1 - 1e-6) <= v <= low * factor * (1 + 1e-6) for v in levels)


def test_levels_are_round() -> None:
    assert round_levels(0, 23) == [0, 5, 10, 15, 20]
    assert round_levels(0.0012, 0.0031) == pytest.approx([0.0015, 0.002, 0.0025, 0.003])
    assert log_levels(0.9, 30) == [1, 2, 5, 10, 20]
    assert log_levels(0.9, 20_000) == [1, 10, 100, 1000, 10_000]


def test_numbers_across_never_touch() -> None:
    frame = Frame(20, 90, 10, 50)
    xs, ys = Scale(1000.0, 90_000.0, 20, 90, log=True), Scale(0, 1, 50, 10)
    texts = [m for m in with_axes(frame, xs, ys, "", "") if isinstance(m, Text) and m.anchor == "middle"]
    for left, right in itertools.pairwise(texts):
        assert right.x - left.x >= (text_width(left.text, 10.5) + text_width(right.text, 10.5)) / 2


def test_a_key_goes_on_in_the_next_line() -> None:
    marks, end = key([("series-1", "first one"), ("series-2", "second one")], 10, 100)
    boxes = [m for m in marks if isinstance(m, Rect)]
    assert [(b.x, b.y) for b in boxes] == [(0, 10), (0, 28)]
    assert end == 46
    assert key([], 10, 100) == ([], 10)


def test_no_level_is_no_number() -> None:
    assert all(math.isfinite(v) for v in round_levels(-1e-9, 1e-9))
