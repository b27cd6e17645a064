"""Layers under the machine's roofs (Williams et al., Roofline, CACM 52(4), 2009)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnntk.measuring.layers import LayerReport, LayerRow
from cnntk.measuring.peaks import Peaks
from cnntk.reports.axes import Frame, Scale, key, with_axes
from cnntk.reports.figure import Anchor, Circle, Figure, Line, Mark, Text, text_width
from cnntk.reports.headlines import roofline_headline
from cnntk.reports.layer_bars import INKS, limit_key
from cnntk.reports.text import short, shorten

__all__ = ["Area", "draw_roofline"]

_HEIGHT = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 40
_LARGEST, _LEAST = 15.0, 2.5
_NAMED = 8


@dataclass(frozen=True)
class Area:
    """What a dot or a label takes."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Area) -> bool:
        """Whether they overlap."""
        beside = self.right <= other.left or other.right <= self.left
        return not beside and self.top < other.bottom and other.top < self.bottom

    def within(self, frame: Frame) -> bool:
        """Whether all of it is in the frame."""
        return frame.left <= self.left and self.right <= frame.right and frame.top <= self.top


def draw_roofline(report: LayerReport, width: int) -> Figure | None:
    """The plot, so many units wide; None where no layer multiplies, or the machine's peaks are not known."""
    rows = [row for row in report.rows if row.gmacs_per_s and row.multiply_adds and row.bytes]
    if not rows or report.peaks is None:
        return None
    rows.sort(key=lambda row: row.time_ms, reverse=True)
    frame = Frame(_LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM)
    xs, ys = _scales(rows, report.peaks, frame)
    roofs = list(_roofs(report.peaks, xs, ys))
    dots = [_dot(row, rows[0].time_ms, xs, ys) for row in rows]
    marks: list[Mark] = [
        *with_axes(frame, xs, ys, "multiply-adds a byte, log scale", "G multiply-adds a second, log scale"),
        *roofs,
        *dots,
        *_names(rows, dots, [_area(m) for m in roofs if isinstance(m, Text)], frame),
    ]
    explained, end = key(limit_key(rows), frame.bottom + 46, width)
    return Figure("roofline", roofline_headline(report), width, round(end), (*marks, *explained))


def _intensity(row: LayerRow) -> float:
    return row.multiply_adds / row.bytes


def _scales(rows: Sequence[LayerRow], peaks: Peaks, frame: Frame) -> tuple[Scale, Scale]:
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


def _roofs(peaks: Peaks, xs: Scale, ys: Scale) -> Iterator[Mark]:
    """Upright: what memory gives; across: what each kind of number gives, from where memory can feed it."""
    top = max(peaks.float32_gmacs, peaks.int8_gmacs)
    begin = max(xs.low, ys.low / peaks.memory_gb_s)
    end = min(xs.high, top / peaks.memory_gb_s)
    if end > begin:
        line = tuple((xs.at(x), ys.at(x * peaks.memory_gb_s)) for x in (begin, end))
        yield Line(line, "muted", 1.5, hint=f"memory: {short(peaks.memory_gb_s)} GB/s")
        x = math.exp(0.5 * (math.log(begin) + math.log(end)))
        words = f"memory {short(peaks.memory_gb_s)} GB/s"
        place = max(xs.at(x) - 6, xs.first + text_width(words, 10.5) + 4)
        yield Text(place, ys.at(x * peaks.memory_gb_s) - 4, words, "muted", "end", 10.5)
    for name, peak in (("int8", peaks.int8_gmacs), ("float32", peaks.float32_gmacs)):
        y = ys.at(peak)
        yield Line(((xs.at(peak / peaks.memory_gb_s), y), (xs.last, y)), "muted", 1.5, hint=f"{name}: {peak:.4g}")
        yield Text(xs.last - 2, y - 5, f"{name} {short(peak)}", "muted", "end", 10.5)


def _dot(row: LayerRow, longest_ms: float, xs: Scale, ys: Scale) -> Circle:
    radius = max(_LARGEST * math.sqrt(row.time_ms / longest_ms), _LEAST)
    speed = row.gmacs_per_s or 0.0
    hint = (
        f"{row.name}: {short(row.time_ms)} ms, {short(speed)} G multiply-adds/s, "
        f"{short(_intensity(row))} a byte, {row.numbers}"
    )
    if row.distance is not None:
        hint += f", {row.distance:.0%} of the limit"
    return Circle(xs.at(_intensity(row)), ys.at(speed), round(radius, 1), INKS[row.limit], hint)


def _names(
    rows: Sequence[LayerRow], dots: Sequence[Circle], taken: list[Area], frame: Frame
) -> Iterator[Text]:
    """Of the longest layers, each beside its dot where nothing else is; else it has none."""
    taken += [_area(dot) for dot in dots[:_NAMED]]
    for row, dot in zip(rows[:_NAMED], dots, strict=False):
        for label in _beside(dot, shorten(row.name, 18)):
            area = _area(label)
            if area.within(frame) and not any(area.meets(other) for other in taken):
                taken.append(area)
                yield label
                break


def _beside(dot: Circle, words: str) -> Iterator[Text]:
    away = dot.radius + 4
    yield Text(dot.x + away, dot.y + 4, words, "ink", "start")
    yield Text(dot.x - away, dot.y + 4, words, "ink", "end")
    yield Text(dot.x, dot.y - away, words, "ink", "middle")
    yield Text(dot.x, dot.y + away + 8, words, "ink", "middle")


def _area(mark: Circle | Text) -> Area:
    if isinstance(mark, Circle):
        r = mark.radius
        return Area(mark.x - r, mark.y - r, mark.x + r, mark.y + r)
    width = text_width(mark.text, mark.size)
    before: dict[Anchor, float] = {"start": 0.0, "middle": width / 2, "end": width}
    left = mark.x - before[mark.anchor]
    return Area(left, mark.y - 0.8 * mark.size, left + width, mark.y + 0.25 * mark.size)
