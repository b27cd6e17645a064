"""Charts of values with their parts or intervals: stacked bars, curves, and comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnntk.reports.figure import (
    SERIES,
    Anchor,
    Circle,
    Figure,
    Frame,
    Line,
    Mark,
    Rect,
    Scale,
    Text,
    axes,
    legend,
    text_width,
)
from cnntk.runtime.sections import Bar, Bars, Chart, Curves, Intervals, Tone, Value, percent, shorten

__all__ = ["draw_bars", "draw_curves", "draw_intervals"]

_BAR_HEIGHT, _BAR_PITCH, _BARS_TOP = 26, 62, 24
_CURVES_HEIGHT = 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 30, 40
_WIDE_RATIO = 10.0
"""Largest by smallest value from which the axis of curves is logarithmic."""

_ROW_PITCH, _ROWS_TOP = 44, 14
_RATIO_MARGIN = 1.25
"""Ratio to the value of no difference that a logarithmic axis of intervals shows on either side at least."""

_MARGIN = 10.0
"""Difference from the value of no difference that a linear axis of intervals shows on either side."""

_TONE_COLORS: dict[Tone, str] = {"good": "good", "bad": "bad", "": "muted"}


def draw_bars(chart: Chart, width: int) -> Figure | None:
    """A bar of stacked parts for each row; None where there is no row."""
    data: Bars = chart.data
    if not data.bars:
        return None
    ends = [sum(max(part.value, 0.0) for part in bar.parts) for bar in data.bars]
    marked = [bar.mark.value for bar in data.bars if bar.mark is not None]
    longest = max(*ends, *marked, 0.0)
    scale = Scale(0.0, 1.02 * longest if longest > 1e-12 else 1.0, 1.0, width - 1.0)
    bottom = _BARS_TOP + (len(data.bars) - 1) * _BAR_PITCH + _BAR_HEIGHT + 22
    marks: list[Mark] = list(_bars_axis(scale, data.unit, bottom, width))
    for number, bar in enumerate(data.bars):
        marks += _bar(bar, scale, _BARS_TOP + number * _BAR_PITCH)
    entries, end = legend(_bars_legend(data.bars), bottom + 38, width)
    return Figure(chart.name, chart.title, width, round(end), (*marks, *entries))


def _bars_axis(scale: Scale, unit: str, bottom: float, width: int) -> Iterator[Mark]:
    for value in scale.levels(4):
        x = scale.at(value)
        anchor: Anchor = "start" if x < 20 else "end" if x > width - 20 else "middle"
        yield Line(((x, _BARS_TOP - 4), (x, bottom - 14)), "line")
        yield Text(x, bottom, f"{value:,g}", anchor=anchor, size=10.5)
    yield Text(width - 1, bottom + 16, unit, anchor="end", size=10.5)


def _bar(bar: Bar, scale: Scale, y: float) -> Iterator[Mark]:
    yield Text(1, y - 6, bar.title, "ink", size=12)
    begin = 0.0
    for number, part in enumerate(bar.parts):
        left, right = scale.at(begin), scale.at(begin + max(part.value, 0.0))
        if right > left:
            hint = f"{part.name}: {part.text}"
            yield Rect(left, y, max(right - left - 1, 0.8), _BAR_HEIGHT, _series(number), hint)
        begin += max(part.value, 0.0)
    if bar.mark is not None:
        x, hint = scale.at(bar.mark.value), f"{bar.mark.name}: {bar.mark.text}"
        yield Line(((x, y - 2), (x, y + _BAR_HEIGHT + 5)), "ink", 2.0, hint=hint)
        yield Text(scale.last, y - 6, hint, "ink", "end")


def _bars_legend(bars: Sequence[Bar]) -> list[tuple[str, str]]:
    """Names of the parts; of a single bar with their values and shares."""
    parts = bars[0].parts
    if len(bars) > 1:
        return [(_series(i), part.name) for i, part in enumerate(parts)]
    total = sum(part.value for part in parts) or 1.0
    return [
        (_series(i), f"{part.name} {part.text} ({percent(part.value / total)})")
        for i, part in enumerate(parts)
    ]


def draw_curves(chart: Chart, width: int) -> Figure | None:
    """A line for each name, with the interval of each value; None of a single value."""
    data: Curves = chart.data
    points = [point for _, line in data.lines for point in line]
    if len(points) < 2:
        return None
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _CURVES_HEIGHT - _BOTTOM)
    across = sorted({x for x, _ in points})
    xs = Scale(across[0] / 1.15, across[-1] * 1.15, frame.left + 6, frame.right, log=True)
    ys = _curves_scale([value for _, value in points], frame)
    y_title = data.y_title + ", log scale" * ys.log
    marks: list[Mark] = list(axes(frame, xs, ys, f"{data.x_title}, log scale", y_title, x_levels=across))
    for number, (_, line) in enumerate(data.lines):
        marks += _curve(line, xs, ys, _series(number))
    names = [(_series(i), name) for i, (name, _) in enumerate(data.lines)]
    entries, end = legend(names, frame.bottom + 46, width)
    return Figure(chart.name, chart.title, width, round(end), (*marks, *entries))


def _curves_scale(values: Sequence[Value], frame: Frame) -> Scale:
    highest, lowest = max(value.high for value in values), min(value.low for value in values)
    if highest > _WIDE_RATIO * lowest > 0:
        return Scale(lowest / 1.3, highest * 1.3, frame.bottom, frame.top, log=True)
    return Scale(0.0, 1.08 * highest or 1.0, frame.bottom, frame.top)


def _curve(line: Sequence[tuple[float, Value]], xs: Scale, ys: Scale, color: str) -> Iterator[Mark]:
    points = tuple((xs.at(x), ys.at(estimate.value)) for x, estimate in line)
    if len(points) > 1:
        yield Line(points, color, 2.0)
    for (x, y), (_, estimate) in zip(points, line, strict=True):
        yield Line(((x, ys.at(estimate.low)), (x, ys.at(estimate.high))), color, 1.2)
        yield Circle(x, y, 4.0, color, estimate.hint)


def draw_intervals(chart: Chart, width: int) -> Figure | None:
    """A row for each comparison, around the line of no difference; None where there is no row."""
    data: Intervals = chart.data
    if not data.rows:
        return None
    scale = _intervals_scale(data, width)
    bottom = _ROWS_TOP + len(data.rows) * _ROW_PITCH
    marks: list[Mark] = list(_intervals_axis(scale, data, bottom, width))
    for number, (name, estimate, tone) in enumerate(data.rows):
        marks += _interval(name, estimate, _TONE_COLORS[tone], scale, _ROWS_TOP + number * _ROW_PITCH, width)
    return Figure(chart.name, chart.title, width, bottom + 40, tuple(marks))


def _intervals_scale(data: Intervals, width: int) -> Scale:
    if data.log:
        ends = [data.equal / _RATIO_MARGIN, data.equal * _RATIO_MARGIN]
        ends += [end for _, e, _ in data.rows for end in (e.low / 1.05, e.high * 1.05)]
    else:
        ends = [data.equal - _MARGIN, data.equal + _MARGIN]
        ends += [1.05 * end for _, e, _ in data.rows for end in (e.low, e.high)]
    return Scale(min(ends), max(ends), 8.0, width - 8.0, log=data.log)


def _intervals_axis(scale: Scale, data: Intervals, bottom: float, width: int) -> Iterator[Mark]:
    """Numbers below, and lines behind the intervals, which don't cross the texts between them."""
    last_end = -1e9
    for value in scale.levels():
        x, text = scale.at(value), f"{value:,g}"
        half = text_width(text, 10.5) / 2 + 2
        if x - half > last_end and half < x < width - half:
            yield from _vertical_lines(x, len(data.rows), "line", 1.0)
            yield Text(x, bottom + 15, text, anchor="middle", size=10.5)
            last_end = x + half
    yield from _vertical_lines(scale.at(data.equal), len(data.rows), "ink", 1.5)
    if data.bound is not None:
        yield from _vertical_lines(scale.at(data.bound), len(data.rows), "bad", 1.5)
    yield Text(scale.last, bottom + 31, data.unit, anchor="end", size=10.5)


def _vertical_lines(x: float, rows: int, color: str, width: float) -> Iterator[Mark]:
    for number in range(rows):
        y = _ROWS_TOP + number * _ROW_PITCH
        yield Line(((x, y + 16), (x, y + 34)), color, width)


def _interval(name: str, estimate: Value, color: str, scale: Scale, y: float, width: int) -> Iterator[Mark]:
    letters = max(int((width - text_width(estimate.hint) - 24) / text_width("x", 12)), 8)
    hint = f"{name}: {estimate.hint}"
    yield Text(0, y + 11, shorten(name, letters), "ink", size=12, hint=name)
    yield Text(width, y + 11, estimate.hint, color, "end")
    left, right, middle = scale.at(estimate.low), scale.at(estimate.high), y + 25
    yield Line(((left, middle), (right, middle)), color, 4.0, hint=hint)
    for x in (left, right):
        yield Line(((x, middle - 6), (x, middle + 6)), color, 1.5)
    yield Circle(scale.at(estimate.value), middle, 5.0, color, hint)


def _series(number: int) -> str:
    return SERIES[number % len(SERIES)]
