"""From values to places, and the lines and numbers by which a reader finds the way back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnntk.reports.figure import Line, Mark, Rect, Text, text_width

__all__ = ["Frame", "Scale", "key", "log_levels", "round_levels", "with_axes"]

_LEVELS = 5
_KEY_PITCH = 18


@dataclass(frozen=True)
class Scale:
    """From values to places; what is beyond its ends stands on them.

    Attributes:
        low: value at ``first``.
        high: value at ``last``; over ``low``.
        first: place.
        last: place.
        log: whether equal ratios are equally far apart; then ``low`` is over 0.
    """

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.first + min(max(share, 0.0), 1.0) * (self.last - self.first), 1)

    def levels(self, about: int = _LEVELS) -> list[float]:
        """Round values on it."""
        return log_levels(self.low, self.high) if self.log else round_levels(self.low, self.high, about)


@dataclass(frozen=True)
class Frame:
    """The area of a plot in which values have places."""

    left: float
    right: float
    top: float
    bottom: float


def round_levels(low: float, high: float, about: int = _LEVELS) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, about so many of them."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= rough), 10 * power)
    first = math.ceil(low / step)
    digits = max(0, 10 - math.floor(math.log10(step)))
    return [round(i * step, digits) for i in range(first, math.floor(high / step) + 1)]


def log_levels(low: float, high: float) -> list[float]:
    """Powers of ten between two values over 0; with twice and five times each where these are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    every = max(1, len(decades) // 8)
    levels = [float(f"{m}e{p}") for p in decades if p % every == 0 for m in steps]
    found = [level for level in levels if low <= level <= high]
    return found if len(found) > 1 else round_levels(low, high)


def with_axes(
    frame: Frame,
    xs: Scale,
    ys: Scale,
    x_title: str,
    y_title: str,
    *,
    x_levels: Sequence[float] = (),
    above: float = 12.0,
) -> Iterator[Mark]:
    """The grid, its numbers, and what they are.

    Args:
        frame: where values have places.
        xs: of the axis across.
        ys: of the upright one.
        x_title: stands below the numbers across.
        y_title: stands above the frame.
        x_levels: values to be named across; by default round ones.
        above: how far above the frame.
    """
    for value in ys.levels():
        y = ys.at(value)
        yield Line(((frame.left, y), (frame.right, y)), "line")
        yield Text(frame.left - 6, y + 3.5, f"{value:,g}", anchor="end", size=10.5)
    for value in _apart(xs, x_levels or xs.levels()):
        x = xs.at(value)
        yield Line(((x, frame.top), (x, frame.bottom)), "line")
        yield Text(x, frame.bottom + 15, f"{value:,g}", anchor="middle", size=10.5)
    yield Text(0, frame.top - above, y_title, size=10.5)
    yield Text(frame.right, frame.bottom + 31, x_title, anchor="end", size=10.5)


def key(entries: Sequence[tuple[str, str]], y: float, width: float) -> tuple[list[Mark], float]:
    """What inks mean, as (ink, words), in lines from ``y`` on; and where these end."""
    marks: list[Mark] = []
    x = 0.0
    for ink, words in entries:
        taken = 14 + text_width(words) + 14
        if x and x + taken - 14 > width:
            x, y = 0.0, y + _KEY_PITCH
        marks += [Rect(x, y, 9, 9, ink), Text(x + 14, y + 8.5, words, "ink")]
        x += taken
    return marks, y + (_KEY_PITCH if entries else 0)


def _apart(xs: Scale, levels: Sequence[float]) -> list[float]:
    """Levels whose numbers don't touch."""
    kept: list[float] = []
    for value in levels:
        room = text_width(f"{value:,g}", 10.5) + 4
        if not kept or abs(xs.at(value) - xs.at(kept[-1])) >= room:
            kept.append(value)
    return kept
