"""What figures look like, for tests."""

from __future__ import annotations

import math
from typing import TypeVar

from cnntk.reports.figure import Circle, Figure, Line, Mark, Place, Polygon, Rect, Text

Kind = TypeVar("Kind", Rect, Line, Polygon, Circle, Text)


def marks_of(figure: Figure, kind: type[Kind]) -> list[Kind]:
    return [mark for mark in figure.marks if isinstance(mark, kind)]


def texts_of(figure: Figure) -> list[str]:
    return [mark.text for mark in marks_of(figure, Text)]


def corners_of(mark: Mark) -> list[Place]:
    if isinstance(mark, Rect):
        return [(mark.x, mark.y), (mark.x + mark.width, mark.y + mark.height)]
    if isinstance(mark, Circle):
        return [(mark.x - mark.radius, mark.y - mark.radius), (mark.x + mark.radius, mark.y + mark.radius)]
    return [(mark.x, mark.y)] if isinstance(mark, Text) else list(mark.points)


def stray_marks(figure: Figure) -> list[Mark]:
    """Those that reach out of the figure by more than 5 units; texts by the end where they are held."""
    return [mark for mark in figure.marks if not all(_inside(place, figure) for place in corners_of(mark))]


def _inside(place: Place, figure: Figure) -> bool:
    x, y = place
    return math.isfinite(x + y) and -5 <= x <= figure.width + 5 and -5 <= y <= figure.height + 5
