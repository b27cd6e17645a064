"""A figure as PNG, drawn by Pillow from the same marks."""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageColor, ImageDraw, ImageFont

from cnntk.reports.colors import COLORS
from cnntk.reports.figure import Circle, Figure, Line, Mark, Place, Polygon, Rect, Text

__all__ = ["png_of"]

SCALE = 2
"""Pixels of a unit."""

_FINER = 2
"""Times as large it is drawn, then made smaller: that smooths its edges."""

_DASH, _GAP = 5.0, 4.0
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png_of(figure: Figure) -> bytes:
    """The file, on light paper."""
    size = (figure.width * SCALE, figure.height * SCALE)
    image = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), COLORS["paper"].light)
    pen = _Pen(ImageDraw.Draw(image), SCALE * _FINER)
    for mark in figure.marks:
        pen.draw(mark)
    data = io.BytesIO()
    image.resize(size, Image.Resampling.BOX).save(data, "PNG", optimize=True)
    return data.getvalue()


@dataclass(frozen=True)
class _Pen:
    """Draws marks so many times as large as they are."""

    canvas: ImageDraw.ImageDraw
    scale: int

    def draw(self, mark: Mark) -> None:
        color = ImageColor.getrgb(COLORS[mark.ink].light)
        match mark:
            case Rect(x, y, width, height):
                self.canvas.rectangle(self._corners(x, y, x + width, y + height), color)
            case Polygon(points):
                self.canvas.polygon(self._many(points), color)
            case Circle(x, y, radius):
                rim = COLORS["paper"].light
                corners = self._corners(x - radius, y - radius, x + radius, y + radius)
                self.canvas.ellipse(corners, color, rim, self.scale)
            case Line(points, width=width, dashed=dashed):
                pixels = max(round(width * self.scale), 1)
                for part in _dashes(points) if dashed else (points,):
                    self.canvas.line(self._many(part), color, pixels, joint="curve")
            case Text(x, y, text, anchor=anchor, size=size):
                font = ImageFont.load_default(size * self.scale)
                self.canvas.text(self._one((x, y)), _plain(text), color, font, _ANCHORS[anchor])

    def _one(self, place: Place) -> Place:
        return place[0] * self.scale, place[1] * self.scale

    def _many(self, places: Sequence[Place]) -> list[Place]:
        return [self._one(place) for place in places]

    def _corners(self, left: float, top: float, right: float, bottom: float) -> list[Place]:
        """The last pixel is within."""
        x, y = self._one((right, bottom))
        start = self._one((left, top))
        return [start, (max(x - 1, start[0]), max(y - 1, start[1]))]


def _dashes(points: Sequence[Place]) -> Iterator[tuple[Place, ...]]:
    for (x, y), (to_x, to_y) in pairwise(points):
        length = math.hypot(to_x - x, to_y - y) or 1.0
        begin = 0.0
        while begin < length:
            ends = (begin / length, min((begin + _DASH) / length, 1.0))
            yield tuple((x + (to_x - x) * share, y + (to_y - y) * share) for share in ends)
            begin += _DASH + _GAP


def _plain(text: str) -> str:
    """Without accents, as Pillow's own font has ASCII and little else."""
    flat = unicodedata.normalize("NFKD", text.replace("×", "x").replace("µ", "u"))
    kept = "".join(letter for letter in flat if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() or letter in "…±" else "?" for letter in kept)
