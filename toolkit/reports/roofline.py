"""Layers under the machine's roofs (Williams et al., Roofline, CACM 52(4), 2009)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cnntk.benchmark.layers.report import LayerReport, LayerTime
from cnntk.benchmark.layers.roofline import PEAK_TOLERANCE, Peaks
from cnntk.reports.axes import Frame, Scale, key, with_axes
from cnntk.reports.figure import Circle, Figure, Line, Mark, Text, text_width
from cnntk.reports.headlines import roofline_headline
from cnntk.reports.labels import placed
from cnntk.reports.layer_bars import INKS, limit_key
from cnntk.reports.text import percent, short, shorten

__all__ = ["draw_roofline"]

_HEIGHT = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 40
_LARGEST, _LEAST = 15.0, 2.5
_PITCH = 18
_NAMED = 8
"""Layers, the longest."""

_IN_CACHE = "above the memory roof: read from the cache"

_ALONG = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of a roof: where its name may stand."""


def draw_roofline(report: LayerReport, width: int) -> Figure | None:
    """The plot, so many units wide; None where no layer multiplies, or the machine's peaks are not known."""
    rows = [row for row in report.rows if row.gmacs_per_s and row.multiply_adds and row.bytes]
    if not rows or report.peaks is None:
        return None
    rows.sort(key=lambda row: row.time_ms, reverse=True)
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM)
    xs, ys = _scales(rows, report.peaks, frame)
    roofs = [*_memory(report.peaks, xs, ys), *_compute(report.peaks, xs, ys)]
    dots = [_dot(row, rows[0].time_ms, report.peaks, xs, ys) for row in rows]
    named = (_beside(dot, shorten(row.name, 18)) for row, dot in zip(rows[:_NAMED], dots, strict=False))
    marks: list[Mark] = [
        *with_axes(frame, xs, ys, "multiply-adds a byte, log scale", "G multiply-adds a second, log scale"),
        *(line for line, _ in roofs),
        *dots,
        *placed([*(names for _, names in roofs), *named], dots, frame),
    ]
    explained, end = key(limit_key(rows), frame.bottom + 46, width)
    if any(_cached(row, report.peaks) for row in rows):
        explained.append(Text(0, end + 8.5, _IN_CACHE, "ink"))
        end += _PITCH
    return Figure("roofline", roofline_headline(report), width, round(end), (*marks, *explained))


def _cached(row: LayerTime, peaks: Peaks) -> bool:
    """Whether it moves more bytes a second than memory gives: it stands above that roof."""
    return (row.gb_per_s or 0.0) > (1 + PEAK_TOLERANCE) * peaks.memory_gb_s


def _intensity(row: LayerTime) -> float:
    return row.multiply_adds / row.bytes


def _scales(rows: Sequence[LayerTime], peaks: Peaks, frame: Frame) -> tuple[Scale, Scale]:
    """Room for all dots, and for the corner under the roof of float32."""
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
    """The roof that rises: what memory gives; and where its name may stand, none where it is out of sight."""
    begin = max(xs.low, ys.low / peaks.memory_gb_s)
    end = min(xs.high, max(peaks.float32_gmacs, peaks.int8_gmacs) / peaks.memory_gb_s)
    if end <= begin:
        return
    words = f"memory {short(peaks.memory_gb_s)} GB/s"
    names = []
    for share in reversed(_ALONG):
        value = begin * (end / begin) ** share
        x, y = xs.at(value), ys.at(value * peaks.memory_gb_s)
        names.append(Text(x - 6, y - 4, words, anchor="end", size=10.5))
        names.append(Text(x + 8, y + 12, words, size=10.5))
    ends = tuple((xs.at(value), ys.at(value * peaks.memory_gb_s)) for value in (begin, end))
    yield Line(ends, "muted", 1.5, hint=words), names


def _compute(peaks: Peaks, xs: Scale, ys: Scale) -> Iterator[tuple[Line, list[Text]]]:
    """The level ones: what each kind of number gives, from where memory can feed it."""
    for name, peak in (("int8", peaks.int8_gmacs), ("float32", peaks.float32_gmacs)):
        begin, y, words = xs.at(peak / peaks.memory_gb_s), ys.at(peak), f"{name} {short(peak)}"
        room = xs.last - begin - text_width(words, 10.5)
        names = [Text(xs.last - 2 - share * room, y - 5, words, anchor="end", size=10.5) for share in _ALONG]
        yield Line(((begin, y), (xs.last, y)), "muted", 1.5, hint=f"{words} G multiply-adds/s"), names


def _dot(row: LayerTime, longest_ms: float, peaks: Peaks, xs: Scale, ys: Scale) -> Circle:
    radius = max(_LARGEST * math.sqrt(row.time_ms / longest_ms), _LEAST)
    speed = row.gmacs_per_s or 0.0
    hint = (
        f"{row.name}: {short(row.time_ms)} ms, {short(speed)} G multiply-adds/s, "
        f"{short(_intensity(row))} a byte, {row.dtype}"
    )
    if row.limit_fraction is not None:
        hint += f", {percent(row.limit_fraction)} of the limit"
    if _cached(row, peaks):
        hint += ", from the cache"
    return Circle(xs.at(_intensity(row)), ys.at(speed), round(radius, 1), INKS[row.limit], hint)


def _beside(dot: Circle, words: str) -> Iterator[Text]:
    away = dot.radius + 4
    yield Text(dot.x + away, dot.y + 4, words, "ink", "start")
    yield Text(dot.x - away, dot.y + 4, words, "ink", "end")
    yield Text(dot.x, dot.y - away, words, "ink", "middle")
    yield Text(dot.x, dot.y + away + 8, words, "ink", "middle")
