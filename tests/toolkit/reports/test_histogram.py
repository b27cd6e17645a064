from itertools import combinations

import numpy as np
import pytest
from drawn import marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import latency
from made_up_traces import lognormal

from cnntk.reports.figure import Figure, Rect, Text
from cnntk.reports.histogram import draw_histogram, edges_of
from cnntk.reports.labels import area_of
from cnntk.reports.window import window_of


def told_shares(figure: Figure) -> list[float]:
    return [float(bar.hint.split(": ")[1].split(" %")[0]) for bar in marks_of(figure, Rect)]


def test_the_shares_of_all_bars_are_all_runs() -> None:
    assert sum(told_shares(draw_histogram(latency(lognormal(2000)), 580))) == pytest.approx(100, abs=3)


def test_the_highest_bar_is_where_most_runs_are() -> None:
    figure = draw_histogram(
        latency(np.concatenate((np.linspace(1.0, 1.1, 90), np.linspace(1.4, 1.5, 10)))), 580
    )
    highest = max(marks_of(figure, Rect), key=lambda bar: bar.height)
    assert highest.x < figure.width / 2


def test_the_axis_is_logarithmic_where_runs_are_far_apart() -> None:
    wide = draw_histogram(latency(np.array([0.05] * 90 + [4.0] * 10)), 580)
    assert "ms, log scale" in texts_of(wide)
    assert sum(told_shares(wide)) == pytest.approx(100)
    assert "ms" in texts_of(draw_histogram(latency(lognormal(500)), 580))


def test_runs_beyond_the_edge_are_told() -> None:
    values = lognormal(2000)
    values[5] = 9.0
    figure = draw_histogram(latency(values), 580)
    assert any(text.startswith("1 run beyond") for text in texts_of(figure))


def test_runs_that_are_all_but_the_same_make_no_endless_bins() -> None:
    values = 1.0 + 1e-12 * np.arange(1000.0)
    values[-1] = 1.2
    assert len(edges_of(values, window_of(values))) <= 61


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60), width=st.sampled_from([336, 580]))
def test_any_runs_stay_in_the_frame(values: list[float], width: int) -> None:
    figure = draw_histogram(latency(np.array(values)), width)
    assert stray_marks(figure) == []
    assert len(marks_of(figure, Rect)) <= 60


def names_of(figure: Figure) -> list[Text]:
    return [text for text in marks_of(figure, Text) if text.text.startswith("p")]


@pytest.mark.parametrize("width", [336, 580])
@pytest.mark.parametrize("spread", [0.01, 0.05, 0.1, 0.3])
def test_names_of_percentiles_never_meet(spread: float, width: int) -> None:
    values = np.exp(np.random.default_rng(0).normal(0, spread, 12_000))
    values[0] = 1.5
    figure = draw_histogram(latency(values), width)
    assert len(names_of(figure)) == 4
    told = [area_of(text) for text in marks_of(figure, Text) if text.y < 90]
    assert not any(a.meets(b) for a, b in combinations(told, 2))


def test_the_plot_is_higher_only_where_two_rows_do_not_do() -> None:
    narrow = np.exp(np.random.default_rng(0).normal(0, 0.01, 12_000))
    narrow[0] = 1.5
    heights = [draw_histogram(latency(values), 336).height for values in (narrow, narrow[:20])]
    assert heights[0] > heights[1] == 270
