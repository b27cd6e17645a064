import pytest
from drawn import marks_of, stray_marks, texts_of
from made_up_bench import full_bench, layer, layers

from cnntk.reports.figure import Line, Rect
from cnntk.reports.layer_bars import MOST, draw_layers

THICK = 13


def test_the_longest_comes_first_in_the_ink_of_its_limit() -> None:
    report = full_bench().layers
    assert report is not None
    figure = draw_layers(report, 580)
    assert figure is not None
    bars = [mark for mark in marks_of(figure, Rect) if mark.height == THICK]
    assert [bar.width for bar in bars] == sorted((bar.width for bar in bars), reverse=True)
    assert bars[1].width / bars[0].width == pytest.approx(0.5 / 1.1, rel=0.01)
    assert [bar.ink for bar in bars] == ["series-1", "series-1", "series-2", "series-3", "series-5"]
    assert "features.0 (Conv): 1.10 ms, 55 %, 81.8 G multiply-adds/s" in bars[0].hint
    assert {"memory limits it", "limit not known"} <= set(texts_of(figure))


def test_the_mark_stands_where_the_layer_would_end_at_its_limit() -> None:
    figure = draw_layers(layers(layer("a", 2.0, 100, 100, limit_fraction=0.5)), 580)
    assert figure is not None
    bar = next(mark for mark in marks_of(figure, Rect) if mark.height == THICK)
    mark = next(line for line in marks_of(figure, Line) if line.hint)
    assert mark.points[0][0] == pytest.approx(bar.x + bar.width / 2, abs=0.2)
    assert mark.hint == "50 % of the limit"


def test_of_many_layers_the_short_ones_are_summed_up() -> None:
    rows = [layer(f"layer{i}", 1.0 + i, 10, 10, share=0.01) for i in range(MOST + 6)]
    figure = draw_layers(layers(*rows), 336)
    assert figure is not None
    assert "and 6 shorter: 21.0 ms, 6.0 %" in texts_of(figure)
    assert stray_marks(figure) == []


@pytest.mark.parametrize("time_ms", [0.0, 1e-9, 1e9])
@pytest.mark.parametrize("distance", [None, 0.0, 1.3])
def test_one_layer(time_ms: float, distance: float | None) -> None:
    figure = draw_layers(layers(layer("x" * 200, time_ms, 10, 10, limit_fraction=distance)), 336)
    assert figure is not None
    assert stray_marks(figure) == []


def test_nothing_to_draw() -> None:
    assert draw_layers(layers(), 580) is None
