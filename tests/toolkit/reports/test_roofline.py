from dataclasses import replace
from itertools import combinations

import pytest
from drawn import figure_or_none, marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import PEAKS, full_bench, layer, layers

from cnntk.reports.figure import Circle, Figure, Line, Rect, Text, area_of, text_width
from cnntk.reports.roofline import MAX_BARS


def roofline(*rows: tuple[float, int, int], width: int = 580) -> Figure:
    figure = figure_or_none(
        "roofline", layers(*(layer(f"layer {i}", *row) for i, row in enumerate(rows))), width
    )
    assert figure is not None
    return figure


def roof(figure: Figure, name: str) -> Line:
    return next(line for line in marks_of(figure, Line) if line.hint.startswith(name))


def test_a_layer_at_the_peak_lies_on_the_roof() -> None:
    figure = roofline((1.0, 112_000_000, 1_000_000), (1.0, 56_000_000, 1_000_000))
    at_peak, below = marks_of(figure, Circle)
    assert at_peak.y == pytest.approx(roof(figure, "float32").points[0][1], abs=0.2)
    assert below.y > at_peak.y
    assert below.x < at_peak.x


def test_roofs_meet_where_memory_feeds_just_enough() -> None:
    figure = roofline((1.0, 1_000_000, 8_000_000), (1.0, 50_000_000, 500_000))
    memory, int8 = roof(figure, "memory"), roof(figure, "int8")
    assert memory.points[-1] == pytest.approx(int8.points[0], abs=0.2)
    assert roof(figure, "float32").points[0][1] > int8.points[0][1]
    assert {"int8 448", "float32 112", "memory 28.0 GB/s"} <= set(texts_of(figure))


def test_a_dots_area_is_its_time() -> None:
    long, short = marks_of(roofline((4.0, 10_000_000, 100_000), (1.0, 50_000_000, 100_000)), Circle)
    assert long.radius == pytest.approx(2 * short.radius, rel=0.02)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.floats(1e-6, 1e4), st.integers(1, 10**12), st.integers(1, 10**10)),
        min_size=1,
        max_size=15,
    ),
    width=st.sampled_from([336, 580]),
)
def test_no_name_lies_on_another_or_on_a_dot(rows: list[tuple[float, int, int]], width: int) -> None:
    figure = roofline(*rows, width=width)
    assert stray_marks(figure) == []
    names = [area_of(t) for t in marks_of(figure, Text) if t.text.startswith(("layer", "float32", "int8"))]
    assert not any(a.meets(b) for a, b in combinations(names, 2))
    assert not any(area_of(dot).meets(name) for dot in marks_of(figure, Circle) for name in names)


def test_only_layers_that_multiply_are_on_it() -> None:
    report = full_bench().layers
    assert report is not None
    figure = figure_or_none("roofline", report, 580)
    assert figure is not None
    hints = [dot.hint for dot in marks_of(figure, Circle)]
    assert [hint.split(":")[0] for hint in hints] == ["features.0", "features.3", "classifier"]
    assert "59 % of the limit" in hints[0]
    assert "int8" in hints[1]


def test_nothing_to_draw() -> None:
    assert figure_or_none("roofline", layers(layer("a", 1.0, 10, 10), peaks=None), 580) is None
    assert figure_or_none("roofline", layers(layer("a", 1.0, 0, 10)), 580) is None
    assert figure_or_none("roofline", layers(layer("a", 0.0, 10, 10)), 580) is None
    assert figure_or_none(
        "roofline", layers(layer("a", 1.0, 10, 10), peaks=replace(PEAKS, cache_bytes=None)), 580
    )


@pytest.mark.parametrize("width", [336, 580])
def test_what_lies_above_the_memory_roof_is_explained(width: int) -> None:
    words = "above the memory roof: read from the cache"
    above, below = (1.0, 1_000_000, 40_000_000), (1.0, 1_000_000, 20_000_000)  # 28 MB a ms are the roof
    figure = roofline(above, below, width=width)
    (text,) = (text for text in marks_of(figure, Text) if text.text == words)
    assert text.x + text_width(words) < width
    assert [dot.hint.endswith("from the cache") for dot in marks_of(figure, Circle)] == [True, False]
    assert words not in texts_of(roofline(below, width=width))


THICK = 13


def test_the_longest_comes_first_in_the_ink_of_its_limit() -> None:
    report = full_bench().layers
    assert report is not None
    figure = figure_or_none("layers", report, 580)
    assert figure is not None
    bars = [mark for mark in marks_of(figure, Rect) if mark.height == THICK]
    assert [bar.width for bar in bars] == sorted((bar.width for bar in bars), reverse=True)
    assert bars[1].width / bars[0].width == pytest.approx(0.5 / 1.1, rel=0.01)
    assert [bar.color for bar in bars] == ["series-1", "series-1", "series-2", "series-3", "series-5"]
    assert "features.0 (Conv): 1.10 ms, 55 %, 81.8 G multiply-adds/s" in bars[0].hint
    assert {"limited by memory bandwidth", "limit not known"} <= set(texts_of(figure))


def test_the_mark_stands_where_the_layer_would_end_at_its_limit() -> None:
    figure = figure_or_none("layers", layers(layer("a", 2.0, 100, 100, limit_fraction=0.5)), 580)
    assert figure is not None
    bar = next(mark for mark in marks_of(figure, Rect) if mark.height == THICK)
    mark = next(line for line in marks_of(figure, Line) if line.hint)
    assert mark.points[0][0] == pytest.approx(bar.x + bar.width / 2, abs=0.2)
    assert mark.hint == "50 % of the limit"


def test_of_many_layers_the_short_ones_are_summed_up() -> None:
    rows = [layer(f"layer{i}", 1.0 + i, 10, 10, share=0.01) for i in range(MAX_BARS + 6)]
    figure = figure_or_none("layers", layers(*rows), 336)
    assert figure is not None
    assert "and 6 shorter: 21.0 ms, 6.0 %" in texts_of(figure)
    assert stray_marks(figure) == []


@pytest.mark.parametrize("time_ms", [0.0, 1e-9, 1e9])
@pytest.mark.parametrize("distance", [None, 0.0, 1.3])
def test_one_layer(time_ms: float, distance: float | None) -> None:
    figure = figure_or_none("layers", layers(layer("x" * 200, time_ms, 10, 10, limit_fraction=distance)), 336)
    assert figure is not None
    assert stray_marks(figure) == []


def test_nothing_to_draw_layer_bars() -> None:
    assert figure_or_none("layers", layers(), 580) is None
