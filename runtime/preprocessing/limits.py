"""By how much ways to preprocess an image may differ, in pixel values of 0 to 255.

| what                     | bound               | reason                                                  |
|--------------------------|---------------------|---------------------------------------------------------|
| integers, exact form,    | 0                   | all compute Pillow's integers                           |
| and torch and host       |                     |                                                         |
| integers, other forms of | 2                   | each rounds after each axis: a tie on the first moves   |
| the graph                |                     | the second by up to 1.3 (a cubic's weights), which may  |
|                          |                     | be a tie again; those are few                           |
| same, without antialias  | 1                   | rounded once                                            |
| floats                   | 255 k 2^-22         | positions of up to n pixels in float32, twice 2^-23,    |
|                          |                     | and up to 255 from one pixel to the next. With          |
|                          |                     | antialias the filter is n / m pixels wide where n       |
|                          |                     | become m, so k = min(n, m); without, k = n              |
| nearest, or no resize    | 0                   | integers                                                |

`ROUNDING` is added to all: values may be compared after the normalization, in float32.
"""

from __future__ import annotations

from cnntk.runtime.artifact.spec import Preprocessing

__all__ = ["ROUNDING", "pixel_limit"]

ROUNDING = 0.005
"""Limit of what is equal."""

_POSITION = 255 * 2.0**-22


def pixel_limit(size: tuple[int, int], p: Preprocessing, *, exact: bool) -> float:
    """Largest difference of two ways to do ``p``.

    Args:
        size: Height and width of the image.
        p: Preprocessing that both do.
        exact: Whether both compute Pillow's integers: host, torch and the exact form of a graph.
    """
    resized = p.resized_size(*size)
    if p.interpolation == "nearest" or resized == size:
        return ROUNDING
    if p.levels == "uint8":
        return ROUNDING + ((0 if exact else 2) if p.antialias else 1)
    pixels = max(map(min, size, resized)) if p.antialias else max(size)
    return ROUNDING + _POSITION * pixels
