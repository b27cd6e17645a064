"""Charts of how long runs took: over time, and as a histogram."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.reports.figure import (
    Figure,
    Frame,
    Line,
    Mark,
    Point,
    Polygon,
    Rect,
    Scale,
    Text,
    axes,
    text_width,
)
from cnntk.runtime.sections import Chart, Timeline, Value, number

__all__ = ["TimeBin", "Window", "draw_histogram", "draw_over_time", "edges_of", "time_bins", "window_of"]

_HEIGHT, _BOTTOM = 270, 40
_TOP, _LEFT = 40, 46
_HISTOGRAM_TOP, _HISTOGRAM_RIGHT = 56, 14
_PIXELS_PER_BIN = 2.0
_LABEL_PITCH = 12
_TITLE_ABOVE = 12
_SIZE = 10.5
_LABEL_ROW, _LABEL_ROWS = 13, 2
"""Height of a row of labels, and how many rows fit; with more rows the histogram becomes higher."""

_MAX_BINS = 60

_REACH = 3.0
"""Multiple of the distance from the median to the 99th percentile that is shown above the latter."""

_MIN_SHOWN = 0.2
"""Share of the median that is shown above the 99th percentile at least."""

_ROOM = 0.06

_WIDE_RATIO = 8.0
"""Upper by lower end from which the axis is logarithmic and shows all runs."""


@dataclass(frozen=True)
class Window:
    """The range of durations that a chart shows, so that a few outliers don't press the others flat.

    Attributes:
        low: Lower end in ms.
        high: Upper end in ms, greater than ``low``.
        beyond: Number of runs that took longer than ``high``.
        longest: Duration of the longest run in ms.
        log: Whether the axis is logarithmic.
    """

    low: float
    high: float
    beyond: int
    longest: float
    log: bool

    @property
    def message(self) -> str:
        """What is cut off; empty where nothing is."""
        runs = f"{self.beyond:,} run{'s' * (self.beyond > 1)}"
        return f"{runs} beyond {number(self.high)} ms, up to {number(self.longest)} ms" * bool(self.beyond)


@dataclass(frozen=True)
class TimeBin:
    """Consecutive runs that are drawn at one x: the middle of their starts in s, and durations in ms."""

    at_s: float
    runs: int
    shortest: float
    median: float
    longest: float


def window_of(values: NDArray[np.float64]) -> Window:
    """The range of all durations, or without those that are far above the others."""
    least, median, late, longest = (float(v) for v in np.quantile(values, (0, 0.5, 0.99, 1)))
    end = late + max(_REACH * (late - median), _MIN_SHOWN * median)
    room = _ROOM * (min(end, longest) - least) or 0.1 * abs(longest) or 1.0
    high = longest + room if longest <= end else end
    if least > 0 and high > _WIDE_RATIO * least:
        return Window(least / (1 + _ROOM), longest * (1 + _ROOM), 0, longest, True)
    return Window(max(least - room, 0.0), high, int((values > high).sum()), longest, False)


def draw_over_time(chart: Chart, width: int) -> Figure:
    """The shortest, the median and the longest run at each time."""
    data: Timeline = chart.data
    window = window_of(data.values_ms)
    labels = (text_width(_label(name, estimate), _SIZE) for name, estimate in data.marks)
    top, bottom = _TOP, _HEIGHT - _BOTTOM
    ys = Scale(window.low, window.high, bottom, top, window.log)
    left = max(_LEFT, *(text_width(f"{value:,g}", _SIZE) + 8 for value in ys.levels()))
    frame = Frame(left, width - max(labels, default=0.0) - 8, top, bottom)
    end = max(float(data.starts_s[-1] + data.values_ms[-1] / 1e3), 1e-9)
    xs = Scale(0.0, end, frame.left, frame.right)
    bins = time_bins(data, int((frame.right - frame.left) / _PIXELS_PER_BIN))
    several = ": shortest, median, longest" * (len(bins) < len(data.values_ms))
    title = f"ms a run{several}{', log scale' * window.log}"
    fits = text_width(title + window.message, _SIZE) < frame.right
    above = _TITLE_ABOVE if fits else _TITLE_ABOVE + _LABEL_PITCH + 2
    marks: list[Mark] = [
        *axes(frame, xs, ys, "seconds", title, above=above),
        *_band(bins, xs, ys),
        *_percentiles(data, frame, ys),
        *_outliers(bins, window, xs, frame),
    ]
    return Figure(chart.name, chart.title, width, _HEIGHT, tuple(marks))


def time_bins(data: Timeline, most: int) -> tuple[TimeBin, ...]:
    """At most so many bins with equally many runs."""
    count = len(data.values_ms)
    return tuple(
        TimeBin(
            at_s=float(data.starts_s[part].mean()),
            runs=len(part),
            shortest=float(data.values_ms[part].min()),
            median=float(np.median(data.values_ms[part])),
            longest=float(data.values_ms[part].max()),
        )
        for part in np.array_split(np.arange(count), min(most, count))
    )


def _band(bins: Sequence[TimeBin], xs: Scale, ys: Scale) -> Iterator[Mark]:
    upper: list[Point] = [(xs.at(b.at_s), ys.at(b.longest)) for b in bins]
    lower: list[Point] = [(xs.at(b.at_s), ys.at(b.shortest)) for b in reversed(bins)]
    yield Polygon((*upper, *lower), "band")
    middle = tuple((xs.at(b.at_s), ys.at(b.median)) for b in bins)
    runs = bins[0].runs
    hint = f"median of {runs} run{'s' * (runs > 1)} at a time"
    yield Line(middle if len(middle) > 1 else middle * 2, "series-1", 1.5, hint=hint)


def _percentiles(data: Timeline, frame: Frame, ys: Scale) -> Iterator[Mark]:
    """Dashed lines, with their names at the right where there is room."""
    free = frame.bottom + _LABEL_PITCH
    for name, estimate in data.marks:
        if estimate.value > ys.high:
            continue
        y = ys.at(estimate.value)
        yield Line(((frame.left, y), (frame.right, y)), "ink", 1.0, dashed=True, hint=estimate.hint)
        free = min(y + 3.5, free - _LABEL_PITCH)
        yield Text(frame.right + 5, free, _label(name, estimate), "ink", size=_SIZE, hint=estimate.hint)


def _outliers(bins: Sequence[TimeBin], window: Window, xs: Scale, frame: Frame) -> Iterator[Mark]:
    """An arrow out of the frame at each bin whose longest run is not shown, and how many there are."""
    for time_bin in bins:
        if time_bin.longest > window.high:
            x, hint = xs.at(time_bin.at_s), f"up to {number(time_bin.longest)} ms"
            points = ((x - 3.5, frame.top), (x + 3.5, frame.top), (x, frame.top - 6))
            yield Polygon(points, "bad", hint)
    if window.message:
        yield Text(frame.right, frame.top - _TITLE_ABOVE, window.message, "bad", "end", _SIZE)


@dataclass(frozen=True)
class _Label:
    """The label of a percentile: x of its line, x of its middle, text, and row above the frame."""

    x: float
    middle: float
    text: str
    row: int


def draw_histogram(chart: Chart, width: int) -> Figure:
    """The share of the runs in each range of durations."""
    data: Timeline = chart.data
    values = data.values_ms
    window = window_of(values)
    xs = Scale(window.low, window.high, _LEFT, width - _HISTOGRAM_RIGHT, window.log)
    labels = list(_labels(data, xs))
    more = _LABEL_ROW * max(max((label.row for label in labels), default=0) + 1 - _LABEL_ROWS, 0)
    frame = Frame(_LEFT, width - _HISTOGRAM_RIGHT, _HISTOGRAM_TOP + more, _HEIGHT + more - _BOTTOM)
    edges = edges_of(values[values <= window.high], window)
    shares = 100 * np.histogram(values, edges)[0] / len(values)
    ys = Scale(0.0, 1.08 * float(shares.max()), frame.bottom, frame.top)
    marks: list[Mark] = [
        *axes(frame, xs, ys, f"ms{', log scale' * window.log}", "% of the runs", above=frame.top - 12),
        *_histogram_bars(edges, shares, xs, ys),
    ]
    for label in labels:
        marks.append(Line(((label.x, frame.top - 3), (label.x, frame.bottom)), "ink", 1.0, dashed=True))
        y = frame.top - 8 - _LABEL_ROW * label.row
        marks.append(Text(label.middle, y, label.text, "ink", "middle", _SIZE))
    if window.message:
        x, y = frame.right, frame.bottom - 6
        marks.append(Polygon(((x, y - 4), (x, y + 4), (x + 7, y)), "bad", window.message))
        marks.append(Text(frame.right, 12, window.message, "bad", "end", _SIZE))
    return Figure(chart.name, chart.title, width, _HEIGHT + more, tuple(marks))


def edges_of(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """The edges of bins that fill the window, equally wide on its axis.

    The bins are as wide as Freedman and Diaconis have them, 2 IQR / N^(1/3) (Z. Wahrsch. 57 (1981) 453), or
    as many as Sturges has, log2 N + 1, where these are more; 60 at most.
    """
    ends = np.array((window.low, window.high))
    scaled = np.log(values) if window.log else values
    low, high = map(float, np.log(ends) if window.log else ends)
    width = 2 * float(np.subtract(*np.quantile(scaled, (0.75, 0.25)))) / math.cbrt(len(values))
    fine = min((high - low) / width, _MAX_BINS) if width > 0 else 0
    count = max(math.ceil(fine), math.ceil(math.log2(len(values))) + 1)
    edges = np.linspace(low, high, min(count, _MAX_BINS) + 1)
    return np.exp(edges) if window.log else edges


def _histogram_bars(
    edges: NDArray[np.float64], shares: NDArray[np.float64], xs: Scale, ys: Scale
) -> Iterator[Mark]:
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if share:
            left, right, y = xs.at(low), xs.at(high), ys.at(share)
            hint = f"{number(low)} to {number(high)} ms: {share:.2g} % of the runs"
            height = max(ys.first - y, 1.0)
            yield Rect(left, ys.first - height, max(right - left - 0.5, 0.8), height, "series-1", hint)


def _labels(data: Timeline, xs: Scale) -> Iterator[_Label]:
    """The labels of percentiles, each in the lowest row where it touches no other."""
    ends: list[float] = []
    for name, estimate in data.marks:
        if estimate.value > xs.high:
            continue
        x, text = xs.at(estimate.value), _label(name, estimate)
        half = text_width(text, _SIZE) / 2
        middle = min(max(x, xs.first + half), xs.last + _HISTOGRAM_RIGHT - half)
        row = next((i for i, end in enumerate(ends) if middle - half > end), len(ends))
        ends[row : row + 1] = [middle + half + 4]
        yield _Label(x, middle, text, row)


def _label(name: str, estimate: Value) -> str:
    return f"{name} {number(estimate.value)}"
