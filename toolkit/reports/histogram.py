"""How latencies are distributed: which share of the runs took how long."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnntk.benchmark.latency import Latency
from cnntk.reports.axes import Frame, Scale, with_axes
from cnntk.reports.figure import Figure, Line, Mark, Polygon, Rect, Text, text_width
from cnntk.reports.headlines import spread_headline
from cnntk.reports.text import short
from cnntk.reports.window import Window, window_of

__all__ = ["draw_histogram", "edges_of"]

_HEIGHT = 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 56, 40
_ROW, _ROWS = 13, 2
"""Height of a row of names, and how many there is room for; more rows make the plot higher."""

_MOST_BINS = 60


@dataclass(frozen=True)
class _Name:
    """Of a percentile: where its line stands, and its name, in which row above the frame."""

    x: float
    middle: float
    words: str
    row: int


def draw_histogram(latency: Latency, width: int) -> Figure:
    """The plot, so many units wide."""
    values = latency.samples.latencies_ms
    window = window_of(values)
    xs = Scale(window.low, window.high, _LEFT, width - _RIGHT, window.log)
    names = list(_names(latency, xs))
    more = _ROW * max(max((name.row for name in names), default=0) + 1 - _ROWS, 0)
    frame = Frame(_LEFT, width - _RIGHT, _TOP + more, _HEIGHT + more - _BOTTOM)
    edges = edges_of(values[values <= window.high], window)
    shares = 100 * np.histogram(values, edges)[0] / len(values)
    ys = Scale(0.0, 1.08 * float(shares.max()), frame.bottom, frame.top)
    marks: list[Mark] = [
        *with_axes(frame, xs, ys, f"ms{', log scale' * window.log}", "% of the runs", above=frame.top - 12),
        *_bars(edges, shares, xs, ys),
        *_percentiles(names, frame),
    ]
    if window.told:
        x, y = frame.right, frame.bottom - 6
        marks.append(Polygon(((x, y - 4), (x, y + 4), (x + 7, y)), "bad", window.told))
        marks.append(Text(frame.right, 12, window.told, "bad", "end", 10.5))
    return Figure("latency-histogram", spread_headline(latency), width, _HEIGHT + more, tuple(marks))


def edges_of(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Of bins that fill the window, equally wide on its axis.

    As wide as Freedman and Diaconis have them, 2 IQR / N^(1/3) (Z. Wahrsch. 57 (1981) 453), or as many as
    Sturges has, log2 N + 1, where these are more; 60 at most.
    """
    ends = np.array((window.low, window.high))
    scaled = np.log(values) if window.log else values
    low, high = map(float, np.log(ends) if window.log else ends)
    width = 2 * float(np.subtract(*np.quantile(scaled, (0.75, 0.25)))) / math.cbrt(len(values))
    fine = min((high - low) / width, _MOST_BINS) if width > 0 else 0
    bins = max(math.ceil(fine), math.ceil(math.log2(len(values))) + 1)
    edges = np.linspace(low, high, min(bins, _MOST_BINS) + 1)
    return np.exp(edges) if window.log else edges


def _bars(edges: NDArray[np.float64], shares: NDArray[np.float64], xs: Scale, ys: Scale) -> Iterator[Mark]:
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if share:
            left, right, y = xs.at(low), xs.at(high), ys.at(share)
            hint = f"{short(low)} to {short(high)} ms: {share:.2g} % of the runs"
            height = max(ys.first - y, 1.0)
            yield Rect(left, ys.first - height, max(right - left - 0.5, 0.8), height, "series-1", hint)


def _names(latency: Latency, xs: Scale) -> Iterator[_Name]:
    """Each in the lowest row where it meets no other."""
    ends: list[float] = []
    for percent, found in latency.percentiles_ms.items():
        if found is None or found.value > xs.high:
            continue
        x, words = xs.at(found.value), f"p{percent} {short(found.value)}"
        half = text_width(words, 10.5) / 2
        middle = min(max(x, xs.first + half), xs.last + _RIGHT - half)
        row = next((i for i, end in enumerate(ends) if middle - half > end), len(ends))
        ends[row : row + 1] = [middle + half + 4]
        yield _Name(x, middle, words, row)


def _percentiles(names: Sequence[_Name], frame: Frame) -> Iterator[Mark]:
    """Dashed lines, their names above them."""
    for name in names:
        yield Line(((name.x, frame.top - 3), (name.x, frame.bottom)), "ink", 1.0, dashed=True)
        yield Text(name.middle, frame.top - 8 - _ROW * name.row, name.words, "ink", "middle", 10.5)
