"""Latency over time: what runs took at least, in the middle and at most, stretch by stretch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cnntk.benchmark.latency import Latency
from cnntk.benchmark.statistics.samples import LatencySamples
from cnntk.reports.axes import Frame, Scale, with_axes
from cnntk.reports.figure import Figure, Line, Mark, Place, Polygon, Text, text_width
from cnntk.reports.headlines import latency_headline
from cnntk.reports.text import short
from cnntk.reports.window import Window, window_of

__all__ = ["Stretch", "draw_over_time", "stretches_of"]

_HEIGHT = 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 62, 40, 40
_UNITS_A_STRETCH = 2.0
_LABEL_PITCH = 12
_TOLD_ABOVE = 12
_SIZE = 10.5


@dataclass(frozen=True)
class Stretch:
    """Runs that stand at one place of the plot; times in ms, moments in s."""

    at_s: float
    runs: int
    least: float
    median: float
    most: float


def draw_over_time(latency: Latency, width: int) -> Figure:
    """The plot, so many units wide."""
    trace = latency.samples
    window = window_of(trace.latencies_ms)
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM)
    end = max(float(trace.starts_s[-1] + trace.latencies_ms[-1] / 1e3), 1e-9)
    xs = Scale(0.0, end, frame.left, frame.right)
    ys = Scale(window.low, window.high, frame.bottom, frame.top, window.log)
    stretches = stretches_of(trace, int((frame.right - frame.left) / _UNITS_A_STRETCH))
    what = "ms a run" + ": least, median, most" * (len(stretches) < len(trace)) + ", log scale" * window.log
    beside = text_width(what + window.told, _SIZE) < frame.right
    marks: list[Mark] = [
        *with_axes(
            frame, xs, ys, "seconds", what, above=_TOLD_ABOVE if beside else _TOLD_ABOVE + _LABEL_PITCH + 2
        ),
        *_band(stretches, xs, ys),
        *_percentiles(latency, frame, ys),
        *_cut_off(stretches, window, xs, frame),
    ]
    return Figure("latency-over-time", latency_headline(latency), width, _HEIGHT, tuple(marks))


def stretches_of(trace: LatencySamples, most: int) -> tuple[Stretch, ...]:
    """Up to so many stretches of equally many runs."""
    parts = np.array_split(np.arange(len(trace)), min(most, len(trace)))
    return tuple(
        Stretch(
            at_s=float(trace.starts_s[part].mean()),
            runs=len(part),
            least=float(trace.latencies_ms[part].min()),
            median=float(np.median(trace.latencies_ms[part])),
            most=float(trace.latencies_ms[part].max()),
        )
        for part in parts
    )


def _band(stretches: tuple[Stretch, ...], xs: Scale, ys: Scale) -> Iterator[Mark]:
    upper: list[Place] = [(xs.at(s.at_s), ys.at(s.most)) for s in stretches]
    lower: list[Place] = [(xs.at(s.at_s), ys.at(s.least)) for s in reversed(stretches)]
    yield Polygon((*upper, *lower), "band")
    middle = tuple((xs.at(s.at_s), ys.at(s.median)) for s in stretches)
    runs = stretches[0].runs
    hint = f"median of {runs} run{'s' * (runs > 1)} at a time"
    yield Line(middle if len(middle) > 1 else middle * 2, "series-1", 1.5, hint=hint)


def _percentiles(latency: Latency, frame: Frame, ys: Scale) -> Iterator[Mark]:
    """Dashed lines, their names at the right where there is room."""
    free = frame.bottom + _LABEL_PITCH
    for percent, found in latency.percentiles_ms.items():
        if found is None or found.value > ys.high:
            continue
        y, words = ys.at(found.value), f"p{percent} {short(found.value)}"
        hint = f"p{percent}: {short(found.value)} ms ({short(found.low)} to {short(found.high)})"
        yield Line(((frame.left, y), (frame.right, y)), "ink", 1.0, dashed=True, hint=hint)
        free = min(y + 3.5, free - _LABEL_PITCH)
        yield Text(frame.right + 5, free, words, "ink", size=_SIZE, hint=hint)


def _cut_off(stretches: tuple[Stretch, ...], window: Window, xs: Scale, frame: Frame) -> Iterator[Mark]:
    """An arrow out of the frame at each stretch whose longest run is not seen, and how many there are."""
    for stretch in stretches:
        if stretch.most > window.high:
            x, hint = xs.at(stretch.at_s), f"up to {short(stretch.most)} ms"
            points = ((x - 3.5, frame.top), (x + 3.5, frame.top), (x, frame.top - 6))
            yield Polygon(points, "bad", hint)
    if window.told:
        yield Text(frame.right, frame.top - _TOLD_ABOVE, window.told, "bad", "end", _SIZE)
