from dataclasses import replace
from itertools import combinations

import pytest
from drawn import marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import PEAKS, full_bench, layer, layers

from cnntk.reports.figure import Circle, Figure, Line, Text, text_width
from cnntk.reports.labels import area_of
from cnntk.reports.roofline import draw_roofline


def roofline(*rows: tuple[float, int, int], width: int = 580) -> Figure:
    figure = draw_roofline(layers(*(layer(f"layer {i}", *row) for i, row in enumerate(rows))), width)
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
    figure = draw_roofline(report, 580)
    assert figure is not None
    hints = [dot.hint for dot in marks_of(figure, Circle)]
    assert [hint.split(":")[0] for hint in hints] == ["features.0", "features.3", "classifier"]
    assert "59 % of the limit" in hints[0]
    assert "int8" in hints[1]


def test_nothing_to_draw() -> None:
    assert draw_roofline(layers(layer("a", 1.0, 10, 10), peaks=None), 580) is None
    assert draw_roofline(layers(layer("a", 1.0, 0, 10)), 580) is None
    assert draw_roofline(layers(layer("a", 0.0, 10, 10)), 580) is None
    assert draw_roofline(layers(layer("a", 1.0, 10, 10), peaks=replace(PEAKS, cache_bytes=None)), 580)


@pytest.mark.parametrize("width", [336, 580])
def test_what_lies_above_the_memory_roof_is_explained(width: int) -> None:
    words = "above the memory roof: read from the cache"
    above, below = (1.0, 1_000_000, 40_000_000), (1.0, 1_000_000, 20_000_000)  # 28 MB a ms are the roof
    figure = roofline(above, below, width=width)
    (text,) = (text for text in marks_of(figure, Text) if text.text == words)
    assert text.x + text_width(words) < width
    assert [dot.hint.endswith("from the cache") for dot in marks_of(figure, Circle)] == [True, False]
    assert words not in texts_of(roofline(below, width=width))
