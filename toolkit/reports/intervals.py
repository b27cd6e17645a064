"""Comparisons as intervals around the line of no difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnntk.benchmark.regression import CaseComparison
from cnntk.benchmark.result import ComparisonResult
from cnntk.reports.axes import Scale
from cnntk.reports.figure import Circle, Figure, Line, Mark, Text, text_width
from cnntk.reports.headlines import against_headline, regression_headline
from cnntk.reports.text import short, shorten

__all__ = ["Interval", "draw_against", "draw_regressions"]

_PITCH, _TOP = 44, 14
_SPAN = 1.25
"""Times and parts of 1 that are seen on either side at least."""

_PERCENT = 10.0
"""That are seen on either side of 0 at least."""

_INKS = {"faster": "good", "slower": "bad", "no difference": "muted"}


@dataclass(frozen=True)
class Interval:
    """A value with its interval, and what it means."""

    name: str
    value: float
    low: float
    high: float
    told: str
    ink: str


def draw_against(against: Sequence[ComparisonResult], width: int) -> Figure | None:
    """Times as fast as others; None where there is nobody that could be measured."""
    rows = [
        Interval(
            name=result.target.name,
            value=found.ratio,
            low=found.low,
            high=found.high,
            told=f"{short(found.ratio)} ({short(found.low)} to {short(found.high)}): {found.verdict}",
            ink=_INKS[found.verdict],
        )
        for result in against
        if (found := result.comparison) is not None
    ]
    ends = [1 / _SPAN, _SPAN, *(end for row in rows for end in (row.low / 1.05, row.high * 1.05))]
    scale = Scale(min(ends), max(ends), 8.0, width - 8.0, log=True)
    unit = "times as fast as the other, log scale"
    return _drawn("against", against_headline(against), rows, scale, 1.0, unit)


def draw_regressions(verdicts: Sequence[CaseComparison], width: int) -> Figure | None:
    """Slowdown since the baseline; None where nothing could be compared."""
    rows = [
        Interval(
            name=verdict.name,
            value=found.value,
            low=found.low,
            high=found.high,
            told=f"{found.value:+.1f} % ({found.low:+.1f} to {found.high:+.1f})"
            + ": regressed" * verdict.regressed
            + ": undecided" * (verdict.verdict == "undecided"),
            ink="bad" if verdict.regressed else "muted",
        )
        for verdict in verdicts
        if (found := verdict.slowdown_percent) is not None
    ]
    ends = [-_PERCENT, _PERCENT, *(end for row in rows for end in (1.05 * row.low, 1.05 * row.high))]
    scale = Scale(min(ends), max(ends), 8.0, width - 8.0)
    unit = "% that a run takes longer than in the baseline"
    return _drawn("regressions", regression_headline(verdicts), rows, scale, 0.0, unit)


def _drawn(
    name: str, title: str, rows: Sequence[Interval], scale: Scale, even: float, unit: str
) -> Figure | None:
    if not rows:
        return None
    width = round(scale.last + 8)
    bottom = _TOP + len(rows) * _PITCH
    marks: list[Mark] = list(_axis(scale, even, len(rows), bottom, unit))
    for number, row in enumerate(rows):
        marks += _row(row, scale, _TOP + number * _PITCH, width)
    return Figure(name, title, width, bottom + 40, tuple(marks))


def _axis(scale: Scale, even: float, rows: int, bottom: float, unit: str) -> Iterator[Mark]:
    """Numbers below, and lines behind the intervals, which leave the words between them alone."""
    taken = -1e9
    for value in scale.levels():
        x, words = scale.at(value), f"{value:,g}"
        half = text_width(words, 10.5) / 2 + 2
        if x - half > taken and half < x < scale.last + 8 - half:
            yield from _behind(x, rows, "line", 1.0)
            yield Text(x, bottom + 15, words, anchor="middle", size=10.5)
            taken = x + half
    yield from _behind(scale.at(even), rows, "ink", 1.5)
    yield Text(scale.last, bottom + 31, unit, anchor="end", size=10.5)


def _behind(x: float, rows: int, ink: str, width: float) -> Iterator[Mark]:
    for number in range(rows):
        y = _TOP + number * _PITCH
        yield Line(((x, y + 16), (x, y + 34)), ink, width)


def _row(row: Interval, scale: Scale, y: float, width: int) -> Iterator[Mark]:
    told = text_width(row.told)
    letters = max(int((width - told - 24) / text_width("x", 12)), 8)
    yield Text(0, y + 11, shorten(row.name, letters), "ink", size=12, hint=row.name)
    yield Text(width, y + 11, row.told, row.ink, "end")
    left, right, middle = scale.at(row.low), scale.at(row.high), y + 25
    yield Line(((left, middle), (right, middle)), row.ink, 4.0, hint=f"{row.name}: {row.told}")
    for x in (left, right):
        yield Line(((x, middle - 6), (x, middle + 6)), row.ink, 1.5)
    yield Circle(scale.at(row.value), middle, 5.0, row.ink, f"{row.name}: {row.told}")
