"""Layers by their time, the longest first: a bar each, in the color of what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnntk.benchmark.layers.report import LayerReport, LayerTime
from cnntk.benchmark.layers.roofline import Limit
from cnntk.reports.axes import Scale, key
from cnntk.reports.figure import Figure, Line, Mark, Rect, Text, text_width
from cnntk.reports.headlines import layers_headline
from cnntk.reports.text import percent, short, shorten

__all__ = ["INKS", "MOST", "draw_layers", "limit_key"]

MOST = 24
"""Bars; what is left is summed up in one more."""

INKS: dict[Limit | None, str] = {
    "compute": "series-1",
    "memory": "series-2",
    "in cache": "series-3",
    None: "series-5",
}
_WORDS: dict[Limit | None, str] = {
    "compute": "multiply-adds limit it",
    "memory": "memory limits it",
    "in cache": "moves bytes in caches",
    None: "limit not known",
}
_PITCH, _THICK, _TOP = 20, 13, 4
_NAMES = 0.34
"""Of the width, for names."""


def draw_layers(report: LayerReport, width: int) -> Figure | None:
    """The plot, so many units wide; None where there are no layers."""
    rows = sorted(report.rows, key=lambda row: row.time_ms, reverse=True)
    if not rows:
        return None
    left = _NAMES * width
    room = max(text_width(_figures(row)) for row in rows[:MOST])
    scale = Scale(0.0, rows[0].time_ms or 1.0, left, width - room - 6)
    marks: list[Mark] = []
    for number, row in enumerate(rows[:MOST]):
        marks += _bar(row, scale, _TOP + number * _PITCH, width)
    bottom = _TOP + min(len(rows), MOST) * _PITCH
    if others := rows[MOST:]:
        marks.append(Text(left, bottom + 11, _rest(others), size=10.5))
        bottom += _PITCH
    explained, end = key(limit_key(rows), bottom + 8, width)
    if any(row.limit_fraction for row in rows[:MOST]):
        x, y = 4.5, end
        marks.append(Line(((x, y - 1), (x, y + 10)), "ink", 2.0))
        marks.append(Text(14, y + 8.5, "what it would take at its limit", "ink"))
        end += _PITCH
    return Figure("layers", layers_headline(report), width, round(end), (*marks, *explained))


def limit_key(rows: Sequence[LayerTime]) -> list[tuple[str, str]]:
    """The inks of the limits that occur."""
    found = {row.limit for row in rows}
    return [(INKS[limit], _WORDS[limit]) for limit in INKS if limit in found]


def _bar(row: LayerTime, scale: Scale, y: float, width: int) -> Iterator[Mark]:
    hint = f"{row.name} ({row.op_type}): {_figures(row)}"
    if row.gmacs_per_s is not None:
        hint += f", {short(row.gmacs_per_s)} G multiply-adds/s"
    end = scale.at(row.time_ms)
    letters = int((scale.first - 6) / text_width("x", 11.5))
    yield Text(scale.first - 6, y + 10.5, shorten(row.name, letters), "ink", "end", 11.5, row.name)
    yield Rect(scale.first, y, max(end - scale.first, 1.0), _THICK, INKS[row.limit], hint)
    if row.limit_fraction is not None:
        x = scale.at(row.time_ms * row.limit_fraction)
        yield Line(
            ((x, y - 2), (x, y + _THICK + 2)), "ink", 2.0, hint=f"{percent(row.limit_fraction)} of the limit"
        )
    yield Text(width, y + 10.5, _figures(row), "ink", "end", hint=hint)


def _figures(row: LayerTime) -> str:
    return f"{short(row.time_ms)} ms, {percent(row.share)}"


def _rest(rows: Sequence[LayerTime]) -> str:
    time_ms, share = sum(row.time_ms for row in rows), sum(row.share for row in rows)
    return f"and {len(rows)} shorter: {short(time_ms)} ms, {percent(share)}"
