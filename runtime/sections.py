"""Sections of a result, which the command line prints as text and reports draw as a page.

A result's ``sections()`` returns them, so that a new figure needs no change in either. Numbers in cells and
lines are text already; `number`, `size_text` and `percent` write them alike everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Align = Literal["left", "right", "decimal"]
Tone = Literal["", "good", "bad"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        text: Text of the cell.
        hint: Full text that a page shows where the pointer rests on the cell.
        tone: Whether the cell is good or bad news, which a page shows by its color.
    """

    text: str
    hint: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Header of the column.
        align: Alignment of the cells; ``decimal`` puts the decimal points below each other.
        wrap: Whether long cells are prose that may be broken over several lines.
        interval: Whether the column is the interval of the column before it, where a narrow page shows it.
        optional: Whether text of 80 columns may leave the column out where it has no room for it.
    """

    title: str
    align: Align = "left"
    wrap: bool = False
    interval: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """A table; each row has a cell for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str | Cell, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A chart, which only pages draw: whatever it shows is in the section's lines or tables as well.

    Attributes:
        name: Name of its file, without suffix, like ``latency-histogram``.
        kind: Name of the function that draws it, a key of `cnntk.reports.charts.DRAWERS`.
        title: Sentence that says what the chart shows.
        data: Plain data, of the type that this kind of chart draws.
    """

    name: str
    kind: str
    title: str
    data: Any


@dataclass(frozen=True)
class Part:
    """A part of a `Bar`: its name, its value, and the value as text with its unit."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Bar:
    """Parts stacked in one bar, and a value that is marked beside them."""

    title: str
    parts: tuple[Part, ...]
    mark: Part | None = None


@dataclass(frozen=True)
class Bars:
    """Data of a chart of kind ``bars``: bars with the same parts, whose values have one unit."""

    unit: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its interval, and the text that a page shows for it."""

    value: float
    low: float
    high: float
    hint: str = ""


@dataclass(frozen=True)
class Curves:
    """Data of a chart of kind ``curves``: estimates over positive x values, a line for each name."""

    x_title: str
    y_title: str
    lines: tuple[tuple[str, tuple[tuple[float, Estimate], ...]], ...]


@dataclass(frozen=True)
class Intervals:
    """Data of a chart of kind ``intervals``: a row for each name.

    Attributes:
        unit: Title of the axis.
        equal: Value that means no difference.
        rows: Name, estimate and tone of each row.
        bound: Value that is the limit, if there is one.
        log: Whether equal ratios are equally far apart.
    """

    unit: str
    equal: float
    rows: tuple[tuple[str, Estimate, Tone], ...]
    bound: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a result.

    Attributes:
        title: Title; empty for a result of one section.
        headline: Sentence that says the most important of it.
        method: Sentences on how it was measured, which pages show and text leaves out.
        lines: Labels and texts, one a line.
        tables: Tables.
        charts: Charts, which pages draw side by side.
        notes: Sentences on what else to know.
        tone: Whether it is good or bad news.
    """

    title: str
    headline: str = ""
    method: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    notes: tuple[str, ...] = ()
    tone: Tone = ""


def under(title: str, texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Lines of a section; only the first has the title as its label."""
    return tuple((title if i == 0 else "", text) for i, text in enumerate(texts))


def number(value: float) -> str:
    """``0.0521``, ``12.0``, ``19,112``: three significant digits or more, and at most six decimals."""
    rounded = abs(float(f"{value:.3g}"))
    if not 0 < rounded < math.inf:
        return f"{value:g}"
    return f"{value:,.{min(max(2 - math.floor(math.log10(rounded)), 0), 6)}f}"


def interval(estimate: Any) -> str:
    """``0.0521 to 0.0534``: the ends of anything that has ``low`` and ``high``."""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def size_text(size_bytes: float) -> str:
    """``245.1 kB``, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"


def percent(share: float) -> str:
    """``26 %``; ``0.4 %``."""
    return f"{100 * share:.{0 if abs(share) >= 0.0995 or share == 0 else 1}f} %"


def threads_text(threads: int) -> str:
    """``1 thread``; ``4 threads``."""
    return f"{threads} thread{'s' * (threads != 1)}"


def speed_text(ratio: float, other: str, ms: float | None = None, other_ms: float | None = None) -> str:
    """``1.9x slower than float32 (0.091 ms vs 0.047 ms)``.

    Args:
        ratio: Time of the other by time of the subject: over 1, the subject is faster.
        other: Name of what the subject is compared with.
        ms: Time of the subject in ms, if it is to be shown.
        other_ms: Time of the other in ms.
    """
    factor = number(max(ratio, 1 / ratio)) if ratio > 0 else "0"
    text = f"{factor}x {'faster' if ratio >= 1 else 'slower'} than {other}"
    if ms is None or other_ms is None:
        return text
    return f"{text} ({number(ms)} ms vs {number(other_ms)} ms)"
