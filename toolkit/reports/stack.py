"""Bars of parts that follow each other: what a whole is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnntk.benchmark.cold_start import ColdStart
from cnntk.benchmark.memory import Memory
from cnntk.benchmark.stages import FormatStages, Stages
from cnntk.reports.axes import Scale, key
from cnntk.reports.colors import SERIES
from cnntk.reports.figure import Anchor, Figure, Line, Mark, Rect, Text
from cnntk.reports.headlines import cold_start_headline, memory_headline, stages_headline
from cnntk.reports.text import bytes_text, percent, short

__all__ = ["Bar", "Part", "draw_cold_start", "draw_memory", "draw_stages"]

_THICK, _PITCH, _TOP = 26, 62, 24
_MB = 1e6
_NOTHING = 1e-12


@dataclass(frozen=True)
class Part:
    """Of a bar; ``told`` is its value as it is written."""

    name: str
    value: float
    told: str


@dataclass(frozen=True)
class Bar:
    """Parts, and a value to be marked beside them: ``None`` where there is none."""

    title: str
    parts: tuple[Part, ...]
    mark: Part | None = None


def draw_cold_start(found: ColdStart, width: int) -> Figure:
    """The time to the first answer."""
    steps = (
        ("import", found.import_ms),
        ("session", found.session_ms),
        ("first run", found.first_run_ms),
    )
    parts = tuple(Part(name, ms, f"{short(ms)} ms") for name, ms in steps)
    title = f"to the first answer: {short(found.total_ms)} ms"
    return _drawn("cold-start", cold_start_headline(found), [Bar(title, parts)], "ms", width)


def draw_memory(found: Memory, width: int) -> Figure:
    """What is resident in the end, and at most."""
    sizes = (
        ("Python", found.interpreter_bytes),
        ("runtime", found.runtime_bytes),
        ("model", found.model_bytes),
    )
    parts = tuple(Part(name, size / _MB, bytes_text(size)) for name, size in sizes)
    resident = bytes_text(sum(size for _, size in sizes))
    peak = Part("peak", found.peak_bytes / _MB, bytes_text(found.peak_bytes))
    return _drawn("memory", memory_headline(found), [Bar(f"resident: {resident}", parts, peak)], "MB", width)


def draw_stages(found: Stages, width: int) -> Figure | None:
    """The way from an image to its label, a bar for each format; None where there is no format."""
    if not found.formats:
        return None
    bars = [_way(row) for row in found.formats]
    return _drawn("stages", stages_headline(found), bars, "ms an image", width)


def _way(row: FormatStages) -> Bar:
    parts = tuple(
        Part(stage.name, stage.time_ms.value, f"{short(stage.time_ms.value)} ms") for stage in row.stages
    )
    whole = Part("in one call", row.call_ms, f"{short(row.call_ms)} ms")
    return Bar(f"{row.format}: {short(row.sum_ms)} ms", parts, whole)


def _drawn(name: str, title: str, bars: Sequence[Bar], unit: str, width: int) -> Figure:
    ends = [sum(max(part.value, 0.0) for part in bar.parts) for bar in bars]
    marked = [bar.mark.value for bar in bars if bar.mark is not None]
    longest = max(*ends, *marked, 0.0)
    scale = Scale(0.0, 1.02 * longest if longest > _NOTHING else 1.0, 1.0, width - 1.0)
    bottom = _TOP + (len(bars) - 1) * _PITCH + _THICK + 22
    marks: list[Mark] = list(_axis(scale, unit, bottom, width))
    for number, bar in enumerate(bars):
        marks += _bar(bar, scale, _TOP + number * _PITCH)
    explained, end = key(_key(bars), bottom + 38, width)
    return Figure(name, title, width, round(end), (*marks, *explained))


def _axis(scale: Scale, unit: str, bottom: float, width: int) -> Iterator[Mark]:
    for value in scale.levels(4):
        x, words = scale.at(value), f"{value:,g}"
        anchor: Anchor = "start" if x < 20 else "end" if x > width - 20 else "middle"
        yield Line(((x, _TOP - 4), (x, bottom - 14)), "line")
        yield Text(x, bottom, words, anchor=anchor, size=10.5)
    yield Text(width - 1, bottom + 16, unit, anchor="end", size=10.5)


def _bar(bar: Bar, scale: Scale, y: float) -> Iterator[Mark]:
    yield Text(1, y - 6, bar.title, "ink", size=12)
    begin = 0.0
    for number, part in enumerate(bar.parts):
        left, right = scale.at(begin), scale.at(begin + max(part.value, 0.0))
        if right > left:
            hint = f"{part.name}: {part.told}"
            yield Rect(left, y, max(right - left - 1, 0.8), _THICK, _ink(number), hint)
        begin += max(part.value, 0.0)
    if bar.mark is not None:
        x, hint = scale.at(bar.mark.value), f"{bar.mark.name}: {bar.mark.told}"
        yield Line(((x, y - 2), (x, y + _THICK + 5)), "ink", 2.0, hint=hint)
        yield Text(scale.last, y - 6, hint, "ink", "end")


def _key(bars: Sequence[Bar]) -> list[tuple[str, str]]:
    """Of one bar with its values and shares; of several the names alone."""
    if len(bars) > 1:
        return [(_ink(i), part.name) for i, part in enumerate(bars[0].parts)]
    whole = sum(part.value for part in bars[0].parts) or 1.0
    return [
        (_ink(i), f"{part.name} {part.told} ({percent(part.value / whole)})")
        for i, part in enumerate(bars[0].parts)
    ]


def _ink(number: int) -> str:
    return SERIES[number % len(SERIES)]
