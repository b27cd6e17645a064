"""Charts of layers: by their time, and under the machine's roofs.

The roofline model is of Williams et al., *Roofline*, CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cnntk.benchmark.layers.roofline import PEAK_TOLERANCE
from cnntk.reports.figure import (
    Circle,
    Figure,
    Frame,
    Line,
    Mark,
    Rect,
    Scale,
    Text,
    axes,
    layer_label,
    legend,
    position_labels,
    text_width,
)  # fmt: skip
from cnntk.runtime.sections import Chart, number, percent, shorten

if TYPE_CHECKING:
    from cnntk.benchmark.layers.report import LayerReport, LayerTime
    from cnntk.benchmark.layers.roofline import Peaks

__all__ = ["COLORS_OF_LIMITS", "MAX_BARS", "draw_layers", "draw_roofline"]

MAX_BARS = 24
"""Number of bars; the layers that are left are summed up in a line."""

COLORS_OF_LIMITS = {"compute": "series-1", "memory": "series-2", "in cache": "series-3", None: "series-5"}
_LIMITS = {
    "compute": "limited by multiply-adds",
    "memory": "limited by memory bandwidth",
    "in cache": "moves bytes within caches",
    None: "limit not known",
}
_PITCH, _BAR_HEIGHT, _BARS_TOP = 20, 13, 4
_NAME_SHARE, _NAME_SIZE = 0.34, 11.5
"""Largest share of the width for names, and their size."""

_HEIGHT = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 40
_MAX_RADIUS, _MIN_RADIUS = 15.0, 2.5
_LEGEND_PITCH = 18
_LABELED = 8
"""Number of the longest layers, which are labeled."""

_IN_CACHE = "above the memory roof: read from the cache"

_ALONG = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Positions along a roof where its label may stand."""


def draw_layers(chart: Chart, width: int) -> Figure | None:
    """Layers by their time, the longest first, in the color of what limits them; None without layers."""
    report: LayerReport = chart.data
    rows = sorted(report.rows, key=lambda row: row.time_ms, reverse=True)
    if not rows:
        return None
    letters = int(_NAME_SHARE * width / text_width("x", _NAME_SIZE))
    names = (layer_label(row.name, row.op_type, letters) for row in rows[:MAX_BARS])
    left = max(text_width(name, _NAME_SIZE) for name in names) + 6
    room = max(text_width(_figures(row)) for row in rows[:MAX_BARS])
    scale = Scale(0.0, rows[0].time_ms or 1.0, left, width - room - 6)
    marks: list[Mark] = []
    for index, row in enumerate(rows[:MAX_BARS]):
        marks += _bar(row, scale, _BARS_TOP + index * _PITCH, width)
    bottom = _BARS_TOP + min(len(rows), MAX_BARS) * _PITCH
    if others := rows[MAX_BARS:]:
        marks.append(Text(left, bottom + 11, _rest(others), size=10.5))
        bottom += _PITCH
    entries, end = legend(_limits(rows), bottom + 8, width)
    if any(row.limit_fraction for row in rows[:MAX_BARS]):
        x, y = 4.5, end
        marks.append(Line(((x, y - 1), (x, y + 10)), "ink", 2.0))
        marks.append(Text(14, y + 8.5, "time at its limit", "ink"))
        end += _PITCH
    return Figure(chart.name, chart.title, width, round(end), (*marks, *entries))


def _limits(rows: Sequence[LayerTime]) -> list[tuple[str, str]]:
    """The limits that occur, with their colors."""
    limits = {row.limit for row in rows}
    return [(color, _LIMITS[limit]) for limit, color in COLORS_OF_LIMITS.items() if limit in limits]


def _bar(row: LayerTime, scale: Scale, y: float, width: int) -> Iterator[Mark]:
    hint = f"{row.name} ({row.op_type}): {_figures(row)}"
    if row.gmacs_per_s is not None:
        hint += f", {number(row.gmacs_per_s)} G multiply-adds/s"
    end = scale.at(row.time_ms)
    letters = int((scale.first - 6) / text_width("x", _NAME_SIZE) + 1e-6)
    yield Text(
        scale.first - 6, y + 10.5, layer_label(row.name, row.op_type, letters), "ink", "end", _NAME_SIZE, hint
    )
    yield Rect(scale.first, y, max(end - scale.first, 1.0), _BAR_HEIGHT, COLORS_OF_LIMITS[row.limit], hint)
    if row.limit_fraction is not None:
        x = scale.at(row.time_ms * row.limit_fraction)
        yield Line(
            ((x, y - 2), (x, y + _BAR_HEIGHT + 2)),
            "ink",
            2.0,
            hint=f"{percent(row.limit_fraction)} of the limit",
        )
    yield Text(width, y + 10.5, _figures(row), "ink", "end", hint=hint)


def _figures(row: LayerTime) -> str:
    return f"{number(row.time_ms)} ms, {percent(row.share)}"


def _rest(rows: Sequence[LayerTime]) -> str:
    time_ms, share = sum(row.time_ms for row in rows), sum(row.share for row in rows)
    return f"and {len(rows)} shorter: {number(time_ms)} ms, {percent(share)}"


def draw_roofline(chart: Chart, width: int) -> Figure | None:
    """Layers under the machine's roofs; None where no layer multiplies or the peaks are not known."""
    report: LayerReport = chart.data
    rows = [row for row in report.rows if row.gmacs_per_s and row.multiply_adds and row.bytes]
    if not rows or report.peaks is None:
        return None
    rows.sort(key=lambda row: row.time_ms, reverse=True)
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM)
    xs, ys = _scales(rows, report.peaks, frame)
    roofs = [*_memory(report.peaks, xs, ys), *_compute(report.peaks, xs, ys)]
    dots = [_dot(row, rows[0].time_ms, report.peaks, xs, ys) for row in rows]
    labels = (_positions(dot, shorten(row.name, 18)) for row, dot in zip(rows[:_LABELED], dots, strict=False))
    marks: list[Mark] = [
        *axes(frame, xs, ys, "multiply-adds per byte, log scale", "G multiply-adds/s, log scale"),
        *(line for line, _ in roofs),
        *dots,
        *position_labels([*(positions for _, positions in roofs), *labels], dots, frame),
    ]
    entries, end = legend(_limits(rows), frame.bottom + 46, width)
    if any(_cached(row, report.peaks) for row in rows):
        entries.append(Text(0, end + 8.5, _IN_CACHE, "ink"))
        end += _LEGEND_PITCH
    return Figure(chart.name, chart.title, width, round(end), (*marks, *entries))


def _cached(row: LayerTime, peaks: Peaks) -> bool:
    """Whether the layer moves more bytes per second than memory provides, so that it is above that roof."""
    return (row.gb_per_s or 0.0) > (1 + PEAK_TOLERANCE) * peaks.memory_gb_s


def _intensity(row: LayerTime) -> float:
    return row.multiply_adds / row.bytes


def _scales(rows: Sequence[LayerTime], peaks: Peaks, frame: Frame) -> tuple[Scale, Scale]:
    """Scales that show all dots, and the corner under the roof of float32."""
    speeds = [row.gmacs_per_s or 1.0 for row in rows]
    highest = max(peaks.float32_gmacs, peaks.int8_gmacs, *speeds)
    corner = peaks.float32_gmacs / peaks.memory_gb_s
    across = [corner, *(_intensity(row) for row in rows)]
    lowest = min(*speeds, peaks.float32_gmacs)
    return (
        Scale(min(across) / 2, max(across) * 3, frame.left, frame.right, log=True),
        Scale(lowest / 2, highest * 1.7, frame.bottom, frame.top, log=True),
    )


def _memory(peaks: Peaks, xs: Scale, ys: Scale) -> Iterator[tuple[Line, list[Text]]]:
    """The rising roof, memory bandwidth, with positions of its label; nothing where it is out of sight."""
    begin = max(xs.low, ys.low / peaks.memory_gb_s)
    end = min(xs.high, max(peaks.float32_gmacs, peaks.int8_gmacs) / peaks.memory_gb_s)
    if end <= begin:
        return
    text = f"memory {number(peaks.memory_gb_s)} GB/s"
    positions = []
    for share in reversed(_ALONG):
        value = begin * (end / begin) ** share
        x, y = xs.at(value), ys.at(value * peaks.memory_gb_s)
        positions.append(Text(x - 6, y - 4, text, anchor="end", size=10.5))
        positions.append(Text(x + 8, y + 12, text, size=10.5))
    ends = tuple((xs.at(value), ys.at(value * peaks.memory_gb_s)) for value in (begin, end))
    yield Line(ends, "muted", 1.5, hint=text), positions


def _compute(peaks: Peaks, xs: Scale, ys: Scale) -> Iterator[tuple[Line, list[Text]]]:
    """The level roofs, the peak of each data type, from where memory bandwidth suffices for it."""
    for name, peak in (("int8", peaks.int8_gmacs), ("float32", peaks.float32_gmacs)):
        begin, y, text = xs.at(peak / peaks.memory_gb_s), ys.at(peak), f"{name} {number(peak)}"
        room = xs.last - begin - text_width(text, 10.5)
        positions = [
            Text(xs.last - 2 - share * room, y - 5, text, anchor="end", size=10.5) for share in _ALONG
        ]
        yield Line(((begin, y), (xs.last, y)), "muted", 1.5, hint=f"{text} G multiply-adds/s"), positions


def _dot(row: LayerTime, longest_ms: float, peaks: Peaks, xs: Scale, ys: Scale) -> Circle:
    radius = max(_MAX_RADIUS * math.sqrt(row.time_ms / longest_ms), _MIN_RADIUS)
    speed = row.gmacs_per_s or 0.0
    hint = (
        f"{row.name}: {number(row.time_ms)} ms, {number(speed)} G multiply-adds/s, "
        f"{number(_intensity(row))} per byte, {row.dtype}"
    )
    if row.limit_fraction is not None:
        hint += f", {percent(row.limit_fraction)} of the limit"
    if _cached(row, peaks):
        hint += ", from the cache"
    return Circle(xs.at(_intensity(row)), ys.at(speed), round(radius, 1), COLORS_OF_LIMITS[row.limit], hint)


def _positions(dot: Circle, label: str) -> Iterator[Text]:
    distance = dot.radius + 4
    yield Text(dot.x + distance, dot.y + 4, label, "ink", "start")
    yield Text(dot.x - distance, dot.y + 4, label, "ink", "end")
    yield Text(dot.x, dot.y - distance, label, "ink", "middle")
    yield Text(dot.x, dot.y + distance + 8, label, "ink", "middle")
