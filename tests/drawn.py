"""Figures of results, and what they look like, for tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeVar

from cnntk.reports.charts import draw
from cnntk.reports.figure import Bitmap, Circle, Figure, Line, Mark, Point, Polygon, Rect, Text, area_of
from cnntk.runtime.sections import Section

Kind = TypeVar("Kind", Rect, Bitmap, Line, Polygon, Circle, Text)


def figure_or_none(name: str, result: Any, width: int) -> Figure | None:
    """The chart of that name in a result's sections, or in the sections themselves."""
    sections: Iterable[Section] = result.sections() if hasattr(result, "sections") else result
    charts = [chart for section in sections for chart in section.charts if chart.name == name]
    return draw(charts[0], width) if charts else None


def figure_of(name: str, result: Any, width: int) -> Figure:
    figure = figure_or_none(name, result, width)
    assert figure is not None
    return figure


def marks_of(figure: Figure, kind: type[Kind]) -> list[Kind]:
    return [mark for mark in figure.marks if isinstance(mark, kind)]


def texts_of(figure: Figure) -> list[str]:
    return [mark.text for mark in marks_of(figure, Text)]


def corners_of(mark: Mark) -> list[Point]:
    if isinstance(mark, Rect | Bitmap):
        return [(mark.x, mark.y), (mark.x + mark.width, mark.y + mark.height)]
    if isinstance(mark, Circle):
        return [(mark.x - mark.radius, mark.y - mark.radius), (mark.x + mark.radius, mark.y + mark.radius)]
    return text_corners(mark) if isinstance(mark, Text) else list(mark.points)


def text_corners(text: Text) -> list[Point]:
    """Both ends of the base line, turned as the text is."""
    area, turn = area_of(text), math.radians(text.degrees)
    ends = (area.left - text.x, area.right - text.x)
    return [(text.x + end * math.cos(turn), text.y + end * math.sin(turn)) for end in ends]


def stray_marks(figure: Figure) -> list[Mark]:
    """Marks that reach out of the figure by more than 5 pixels, texts with all their letters."""
    return [mark for mark in figure.marks if not all(_inside(point, figure) for point in corners_of(mark))]


def _inside(point: Point, figure: Figure) -> bool:
    x, y = point
    return math.isfinite(x + y) and -5 <= x <= figure.width + 5 and -5 <= y <= figure.height + 5
