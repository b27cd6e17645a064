"""The figure engine: charts as marks with coordinates, which a page or an SVG file draws.

Coordinates are CSS pixels from the upper left corner. A color is a name of `COLORS`, which has it for light
and for dark pages. Those of series can be distinguished by people who see no red, green or blue (as Machado,
Oliveira and Fernandes simulate it, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291), and all have WCAG's AA
contrast to the page: 4.5 for text, 3 for marks.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

from cnntk.runtime.sections import kind_text, shorten

__all__ = [
    "COLORS", "SERIES", "Anchor", "Area", "Bitmap", "Circle", "Color", "Figure", "Frame", "Line", "Mark",
    "Point", "Polygon", "Rect", "Scale", "Text", "area_of", "axes", "layer_label", "legend", "log_levels",
    "moved", "position_labels", "round_levels", "text_width",
]  # fmt: skip

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

_LEVELS = 5
_NUMBERS_REACH = 8
"""Pixels that a number below the horizontal axis may reach beyond the frame."""

_LEGEND_PITCH = 18


class Color(NamedTuple):
    """A color as ``#rrggbb``, on a light and on a dark page."""

    light: str
    dark: str


COLORS: Mapping[str, Color] = MappingProxyType(
    {
        "paper": Color("#ffffff", "#181c22"),
        "ground": Color("#f5f6f8", "#101318"),
        "ink": Color("#1b2027", "#e6e9ee"),
        "muted": Color("#5d6673", "#98a2b1"),
        "line": Color("#dde1e7", "#2e353f"),
        "accent": Color("#2457c5", "#84aaff"),
        "good": Color("#17743c", "#6fd597"),
        "good-soft": Color("#e2f3e8", "#17331f"),
        "bad": Color("#b3261e", "#ff9d94"),
        "bad-soft": Color("#fbe4e2", "#42201d"),
        "linear": Color("#dfe9ff", "#22345c"),
        "pool": Color("#e1f2ea", "#1c3a2e"),
        "join": Color("#fdeedb", "#44341c"),
        "view": Color("#f0f1f4", "#262b33"),
        "other": Color("#efe6fa", "#35284a"),
        "series-1": Color("#2457c5", "#84aaff"),
        "series-2": Color("#d9660a", "#ffb55c"),
        "series-3": Color("#128a5e", "#0f8a68"),
        "series-4": Color("#7a1f5c", "#c04fa0"),
        "series-5": Color("#8792a0", "#c3c9d2"),
        "band": Color("#c3d3f5", "#2f4374"),
    }
)
"""Colors by the name of the style sheet's variable."""

SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5")
"""Colors of series, in the order in which they are used."""


@dataclass(frozen=True)
class Rect:
    """A filled rectangle; ``hint`` is shown where a pointer rests on it, as with the other marks."""

    shape: ClassVar[str] = "rect"

    x: float
    y: float
    width: float
    height: float
    color: str
    hint: str = ""


@dataclass(frozen=True)
class Bitmap:
    """A PNG or JPEG picture, stretched to a rectangle; its pixels stay square where it is enlarged."""

    shape: ClassVar[str] = "bitmap"

    x: float
    y: float
    width: float
    height: float
    data: bytes
    hint: str = ""

    @property
    def href(self) -> str:
        """The picture as a ``data:`` address."""
        kind = "jpeg" if self.data.startswith(b"\xff\xd8") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Line:
    """A line through two points or more, ``width`` pixels wide."""

    shape: ClassVar[str] = "line"

    points: tuple[Point, ...]
    color: str
    width: float = 1.0
    dashed: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Polygon:
    """A filled area."""

    shape: ClassVar[str] = "polygon"

    points: tuple[Point, ...]
    color: str
    hint: str = ""


@dataclass(frozen=True)
class Circle:
    """A circle, hollow, or filled and with a rim in the page's color that separates it from neighbors."""

    shape: ClassVar[str] = "circle"

    x: float
    y: float
    radius: float
    color: str
    hint: str = ""
    hollow: bool = False


@dataclass(frozen=True)
class Text:
    """A line of text; ``y`` is its base line, ``degrees`` turns it clockwise around its anchor."""

    shape: ClassVar[str] = "text"

    x: float
    y: float
    text: str
    color: str = "muted"
    anchor: Anchor = "start"
    size: float = 11.0
    hint: str = ""
    bold: bool = False
    degrees: float = 0.0


Mark = Rect | Bitmap | Line | Polygon | Circle | Text


@dataclass(frozen=True)
class Figure:
    """Marks in a frame, drawn in their order.

    Attributes:
        name: Name of its file, without suffix.
        title: Sentence that says what the figure shows.
        width: Width in pixels.
        height: Height in pixels.
        marks: Marks, from the lowest to the uppermost.
    """

    name: str
    title: str
    width: int
    height: int
    marks: tuple[Mark, ...]


def text_width(text: str, size: float = 11.0) -> float:
    """Width of a text in a sans serif font, rather over- than underestimated."""
    return 0.62 * size * len(text)


def layer_label(name: str, op: str, letters: int) -> str:
    """A layer's name in at most so many letters, before it its kind if there is room for both."""
    both = f"{kind_text(op)} {name}"
    return both if op.lower() not in name.lower() and len(both) <= letters else shorten(name, letters)


def moved(mark: Mark, right: float, down: float) -> Mark:
    """The same mark, so many pixels further right and down."""
    if isinstance(mark, Line | Polygon):
        return replace(mark, points=tuple((x + right, y + down) for x, y in mark.points))
    return replace(mark, x=mark.x + right, y=mark.y + down)


@dataclass(frozen=True)
class Scale:
    """A map from values to coordinates; values beyond its ends are drawn at the ends.

    Attributes:
        low: Value at ``first``.
        high: Value at ``last``, greater than ``low``.
        first: Coordinate of ``low``.
        last: Coordinate of ``high``.
        log: Whether equal ratios are equally far apart; then ``low`` is greater than 0.
    """

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def at(self, value: float) -> float:
        """The coordinate of a value."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.first + min(max(share, 0.0), 1.0) * (self.last - self.first), 1)

    def levels(self, about: int = _LEVELS) -> list[float]:
        """Round values within its ends."""
        return log_levels(self.low, self.high) if self.log else round_levels(self.low, self.high, about)


@dataclass(frozen=True)
class Frame:
    """The area of a chart in which values are drawn."""

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
    inside = [level for level in levels if low <= level <= high]
    return inside if len(inside) > 1 else round_levels(low, high)


def axes(
    frame: Frame,
    xs: Scale,
    ys: Scale,
    x_title: str,
    y_title: str,
    *,
    x_levels: Sequence[float] = (),
    above: float = 12.0,
) -> Iterator[Mark]:
    """The grid, its numbers, and the titles of both axes.

    Args:
        frame: Area in which values are drawn.
        xs: Scale of the horizontal axis.
        ys: Scale of the vertical axis.
        x_title: Title of the horizontal axis, below its numbers.
        y_title: Title of the vertical axis, above the frame.
        x_levels: Values to be labeled on the horizontal axis; by default round ones.
        above: Distance of ``y_title`` from the frame, in pixels.
    """
    for value in ys.levels():
        y = ys.at(value)
        yield Line(((frame.left, y), (frame.right, y)), "line")
        yield Text(frame.left - 6, y + 3.5, f"{value:,g}", anchor="end", size=10.5)
    for value in _without_overlap(xs, x_levels or xs.levels()):
        x = xs.at(value)
        yield Line(((x, frame.top), (x, frame.bottom)), "line")
        text = f"{value:,g}"
        middle = min(x, frame.right + _NUMBERS_REACH - text_width(text, 10.5) / 2)
        yield Text(middle, frame.bottom + 15, text, anchor="middle", size=10.5)
    yield Text(0, frame.top - above, y_title, size=10.5)
    yield Text(frame.right, frame.bottom + 31, x_title, anchor="end", size=10.5)


def legend(entries: Sequence[tuple[str, str]], y: float, width: float) -> tuple[list[Mark], float]:
    """A legend of (color, text) pairs, in lines from ``y`` on; and the y at which it ends."""
    marks: list[Mark] = []
    x = 0.0
    for color, text in entries:
        entry_width = 14 + text_width(text) + 14
        if x and x + entry_width - 14 > width:
            x, y = 0.0, y + _LEGEND_PITCH
        marks += [Rect(x, y, 9, 9, color), Text(x + 14, y + 8.5, text, "ink")]
        x += entry_width
    return marks, y + (_LEGEND_PITCH if entries else 0)


def _without_overlap(xs: Scale, levels: Sequence[float]) -> list[float]:
    """Levels whose numbers don't touch."""
    result: list[float] = []
    for value in levels:
        room = text_width(f"{value:,g}", 10.5) + 4
        if not result or abs(xs.at(value) - xs.at(result[-1])) >= room:
            result.append(value)
    return result


@dataclass(frozen=True)
class Area:
    """The bounding box of a circle or a text."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Area) -> bool:
        """Whether they overlap."""
        separate = self.right <= other.left or other.right <= self.left
        return not separate and self.top < other.bottom and other.top < self.bottom

    def within(self, frame: Frame) -> bool:
        """Whether all of it is in the frame."""
        across = frame.left <= self.left and self.right <= frame.right
        return across and frame.top <= self.top and self.bottom <= frame.bottom


def position_labels(
    groups: Iterable[Iterable[Text]], circles: Sequence[Circle], frame: Frame
) -> Iterator[Text]:
    """The first text of each group that overlaps neither circles nor the texts before it.

    Args:
        groups: Possible positions of each label, the most important label first; a label without a free
            position is left out.
        circles: Circles that stay uncovered.
        frame: Area that texts stay within.
    """
    occupied = [area_of(circle) for circle in circles]
    for group in groups:
        for text in group:
            area = area_of(text)
            if area.within(frame) and not any(area.meets(other) for other in occupied):
                occupied.append(area)
                yield text
                break


def area_of(mark: Circle | Text) -> Area:
    """The bounding box of a mark, rather too large than too small."""
    if isinstance(mark, Circle):
        r = mark.radius
        return Area(mark.x - r, mark.y - r, mark.x + r, mark.y + r)
    width = text_width(mark.text, mark.size)
    before: dict[Anchor, float] = {"start": 0.0, "middle": width / 2, "end": width}
    left = mark.x - before[mark.anchor]
    return Area(left, mark.y - 0.8 * mark.size, left + width, mark.y + 0.25 * mark.size)
