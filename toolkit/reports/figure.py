"""What a plot is made of: marks at their places, for whatever draws them: a page, an SVG file or a PNG.

Places are in units of one CSS pixel, from the upper left corner. An ink is a name of
`cnntk.reports.colors.COLORS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

__all__ = [
    "Anchor",
    "Circle",
    "Figure",
    "Line",
    "Mark",
    "Place",
    "Polygon",
    "Rect",
    "Text",
    "moved",
    "text_width",
]

Place = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Rect:
    """A filled rectangle; ``hint`` is shown where a pointer rests on it, as with the others."""

    shape: ClassVar[str] = "rect"

    x: float
    y: float
    width: float
    height: float
    ink: str
    hint: str = ""


@dataclass(frozen=True)
class Line:
    """A line through two points or more, so many units wide."""

    shape: ClassVar[str] = "line"

    points: tuple[Place, ...]
    ink: str
    width: float = 1.0
    dashed: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Polygon:
    """A filled area."""

    shape: ClassVar[str] = "polygon"

    points: tuple[Place, ...]
    ink: str
    hint: str = ""


@dataclass(frozen=True)
class Circle:
    """A filled circle with a rim in the paper's color, so that neighbors can be told apart."""

    shape: ClassVar[str] = "circle"

    x: float
    y: float
    radius: float
    ink: str
    hint: str = ""


@dataclass(frozen=True)
class Text:
    """One line of text; ``y`` is its base line."""

    shape: ClassVar[str] = "text"

    x: float
    y: float
    text: str
    ink: str = "muted"
    anchor: Anchor = "start"
    size: float = 11.0
    hint: str = ""


Mark = Rect | Line | Polygon | Circle | Text


@dataclass(frozen=True)
class Figure:
    """Marks in a frame, drawn in their order.

    Attributes:
        name: of its file.
        title: what it says, in a sentence.
        width: of the frame.
        height: of the frame.
        marks: from the lowest to the uppermost.
    """

    name: str
    title: str
    width: int
    height: int
    marks: tuple[Mark, ...]


def text_width(text: str, size: float = 11.0) -> float:
    """About what a text takes in a sans serif, rather too much than too little."""
    return 0.58 * size * len(text)


def moved(mark: Mark, right: float, down: float) -> Mark:
    """The same, so many units further."""
    if isinstance(mark, Line | Polygon):
        return replace(mark, points=tuple((x + right, y + down) for x, y in mark.points))
    return replace(mark, x=mark.x + right, y=mark.y + down)
