"""Drawn handwritten digits, which the other examples use in place of a camera or of users' images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_STROKES = (  # strokes of each digit, through points x,y of a box of 20x20
    ("10,1 5,4 3,10 5,17 10,19 15,16 17,9 15,3 10,1",),
    ("11,1 9,19",),
    ("4,5 7,1 12,1 15,5 13,10 4,19", "4,19 17,18"),
    ("4,3 9,1 14,3 14,7 8,10 14,12 15,16 10,19 4,17",),
    ("5,1 4,11 16,10", "15,1 13,19"),
    ("16,1 6,2 5,9 11,8 15,12 14,17 9,19 4,17",),
    ("12,1 6,7 4,13 6,18 11,19 15,15 13,11 8,11 5,15",),
    ("3,2 16,2 12,9 9,19",),
    ("14,4 10,1 6,3 6,7 13,12 15,16 10,19 5,16 7,11 14,6 14,4",),
    ("14,5 10,1 5,4 5,9 10,10 14,5 13,12 11,19",),
)
_SIDE = 28  # side of the image, in units of the strokes
_PEN = 2.6
_SCALE = 4  # drawn larger, so that edges are smooth


def drawn_digit(digit: int, size: int = 112, shift: tuple[float, float] = (0, 0)) -> NDArray[np.uint8]:
    """Draws a digit, black on white.

    Args:
        digit: Digit, 0 to 9.
        size: Height and width of the image in pixels.
        shift: Offset from the middle to the right and down, in 28ths of the image.

    Returns:
        uint8 (size, size).
    """
    unit = size * _SCALE / _SIDE
    paper = Image.new("L", (size * _SCALE, size * _SCALE), 255)
    pen = ImageDraw.Draw(paper)
    for stroke in _STROKES[digit]:
        pairs = [point.split(",") for point in stroke.split()]
        points = [((float(x) + 4 + shift[0]) * unit, (float(y) + 4 + shift[1]) * unit) for x, y in pairs]
        pen.line(points, fill=0, width=round(_PEN * unit), joint="curve")
        for x, y in points:
            r = _PEN * unit / 2
            pen.ellipse((x - r, y - r, x + r, y + r), fill=0)
    return np.asarray(paper.resize((size, size), Image.Resampling.BOX))
