import itertools
from itertools import combinations

import numpy as np
import pytest
from drawn import figure_of, marks_of, stray_marks, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_bench import latency
from numpy.typing import NDArray
from simulated_latencies import lognormal, samples

from cnntk.benchmark.latency import Latency
from cnntk.reports.figure import Figure, Line, Polygon, Rect, Text, area_of, text_width
from cnntk.reports.over_time import edges_of, time_bins, window_of
from cnntk.runtime.sections import Timeline


def test_outliers_are_cut_off_and_counted() -> None:
    values = lognormal(1000)
    values[[3, 500]] = 5.0, 7.0
    window = window_of(values)
    assert window.beyond == 2
    assert window.high < 2.5
    assert not window.log
    assert window.message.startswith("2 runs beyond")
    assert window.message.endswith("up to 7.00 ms")


def test_nothing_is_cut_of_quiet_runs() -> None:
    values = lognormal(1000)
    window = window_of(values)
    assert window.beyond == 0
    assert window.message == ""
    assert window.low < values.min() < values.max() < window.high


def test_two_speeds_that_are_far_apart_are_both_seen() -> None:
    window = window_of(np.array([0.05] * 90 + [4.0] * 10))
    assert window.log
    assert window.beyond == 0
    assert window.low < 0.05 < 4.0 < window.high


@given(st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=30))
def test_any_runs_have_a_window(values: list[float]) -> None:
    window = window_of(np.array(values))
    assert 0 <= window.low < window.high
    assert not window.log or window.low > 0


def histogram(result: Latency, width: int) -> Figure:
    return figure_of("latency-histogram", result, width)


def over_time(result: Latency, width: int) -> Figure:
    return figure_of("latency-over-time", result, width)


def bar_shares(figure: Figure) -> list[float]:
    return [float(bar.hint.split(": ")[1].split(" %")[0]) for bar in marks_of(figure, Rect)]


def test_the_shares_of_all_bars_are_all_runs() -> None:
    assert sum(bar_shares(histogram(latency(lognormal(2000)), 580))) == pytest.approx(100, abs=3)


def test_the_highest_bar_is_where_most_runs_are() -> None:
    figure = figure_of(
        "latency-histogram",
        latency(np.concatenate((np.linspace(1.0, 1.1, 90), np.linspace(1.4, 1.5, 10)))),
        580,
    )
    highest = max(marks_of(figure, Rect), key=lambda bar: bar.height)
    assert highest.x < figure.width / 2


def test_the_axis_is_logarithmic_where_runs_are_far_apart() -> None:
    wide = histogram(latency(np.array([0.05] * 90 + [4.0] * 10)), 580)
    assert "ms, log scale" in texts_of(wide)
    assert sum(bar_shares(wide)) == pytest.approx(100)
    assert "ms" in texts_of(histogram(latency(lognormal(500)), 580))


def test_runs_beyond_the_edge_are_counted() -> None:
    values = lognormal(2000)
    values[5] = 9.0
    figure = histogram(latency(values), 580)
    assert any(text.startswith("1 run beyond") for text in texts_of(figure))


def test_runs_that_are_all_but_the_same_make_no_endless_bins() -> None:
    values = 1.0 + 1e-12 * np.arange(1000.0)
    values[-1] = 1.2
    assert len(edges_of(values, window_of(values))) <= 61


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60), width=st.sampled_from([336, 580]))
def test_any_runs_stay_in_the_frame(values: list[float], width: int) -> None:
    figure = histogram(latency(np.array(values)), width)
    assert stray_marks(figure) == []
    assert len(marks_of(figure, Rect)) <= 60


def names_of(figure: Figure) -> list[Text]:
    return [text for text in marks_of(figure, Text) if text.text.startswith("p")]


@pytest.mark.parametrize("width", [336, 580])
@pytest.mark.parametrize("spread", [0.01, 0.05, 0.1, 0.3])
def test_names_of_percentiles_never_meet(spread: float, width: int) -> None:
    values = np.exp(np.random.default_rng(0).normal(0, spread, 12_000))
    values[0] = 1.5
    figure = histogram(latency(values), width)
    assert len(names_of(figure)) == 4
    message = [area_of(text) for text in marks_of(figure, Text) if text.y < 90]
    assert not any(a.meets(b) for a, b in combinations(message, 2))


def test_the_plot_is_higher_only_where_two_rows_do_not_do() -> None:
    narrow = np.exp(np.random.default_rng(0).normal(0, 0.01, 12_000))
    narrow[0] = 1.5
    heights = [histogram(latency(values), 336).height for values in (narrow, narrow[:20])]
    assert heights[0] > heights[1] == 270


def timeline(values: NDArray[np.float64]) -> Timeline:
    runs = samples(values)
    return Timeline(runs.starts_s, runs.latencies_ms, ())


def test_bins_hold_all_runs() -> None:
    values = lognormal(1003)
    bins = time_bins(timeline(values), 100)
    assert len(bins) == 100
    assert sum(s.runs for s in bins) == 1003
    assert min(s.shortest for s in bins) == values.min()
    assert max(s.longest for s in bins) == values.max()
    assert all(s.shortest <= s.median <= s.longest for s in bins)


def test_slower_stands_higher_and_later_to_the_right() -> None:
    figure = over_time(latency(np.array([1.0] * 50 + [2.0] * 50)), 580)
    middle = next(line for line in marks_of(figure, Line) if line.color == "series-1")
    xs, ys = zip(*middle.points, strict=True)
    assert list(xs) == sorted(xs)
    assert ys[0] > ys[-1]


def test_an_outlier_is_marked_and_counted() -> None:
    values = lognormal(2000)
    quiet = over_time(latency(values), 580)
    values[1000] = 40.0
    figure = over_time(latency(values), 580)
    assert [m.hint for m in marks_of(figure, Polygon) if m.color == "bad"] == ["up to 40.0 ms"]
    assert any("1 run beyond" in text and "40.0 ms" in text for text in texts_of(figure))
    assert not [m for m in marks_of(quiet, Polygon) if m.color == "bad"]


@pytest.mark.parametrize(("width", "apart"), [(336, True), (580, False)])
def test_what_is_cut_off_and_the_axis_never_touch(width: int, apart: bool) -> None:
    values = lognormal(2000)
    values[1000] = 40.0
    axis, message = (
        next(m for m in marks_of(over_time(latency(values), width), Text) if start in m.text)
        for start in ("ms a run", "run beyond")
    )
    assert (message.y - axis.y >= 12) == apart
    assert apart or text_width(axis.text + message.text, 10.5) < message.x


def test_percentiles_are_named_where_there_are_runs_enough() -> None:
    names = [
        text.split()[0] for text in texts_of(over_time(latency(lognormal(1200)), 336)) if "p" in text[:1]
    ]
    assert names == ["p50", "p90", "p99"]


def test_names_of_percentiles_never_touch() -> None:
    figure = over_time(latency(np.full(20_000, 1.0) + 1e-6 * np.arange(20_000)), 580)
    ys = sorted(m.y for m in figure.marks if getattr(m, "text", "").startswith("p"))
    assert len(ys) == 4
    assert all(b - a >= 11 for a, b in itertools.pairwise(ys))


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=60), width=st.sampled_from([336, 580]))
def test_any_runs_stay_in_the_frame_over_time(values: list[float], width: int) -> None:
    assert stray_marks(over_time(latency(np.array(values)), width)) == []


@pytest.mark.parametrize("count", [2, 20])
def test_runs_that_all_take_the_same(count: int) -> None:
    assert stray_marks(over_time(latency(np.full(count, 1.5)), 580)) == []
