import io

import numpy as np
from PIL import Image

from cnntk.reports.figure import Circle, Figure, Line, Mark, Polygon, Rect, Text
from cnntk.reports.png import SCALE, png_of


def pixels(*marks: Mark) -> np.ndarray:
    data = png_of(Figure("a", "a", 60, 40, marks))
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=int)


def test_it_is_twice_as_large_and_white_where_nothing_is() -> None:
    empty = pixels()
    assert empty.shape == (40 * SCALE, 60 * SCALE)
    assert (empty == 255).all()


def test_each_mark_is_where_it_belongs() -> None:
    shapes: list[Mark] = [
        Rect(10, 10, 10, 10, "ink"),
        Circle(15, 15, 5, "ink"),
        Polygon(((10, 10), (20, 10), (15, 20)), "ink"),
        Line(((10, 10), (20, 20)), "ink", 2.0),
        Line(((10, 15), (20, 15)), "ink", 2.0, dashed=True),
        Text(10, 20, "Hg", "ink"),
    ]
    for shape in shapes:
        inked = pixels(shape) < 200
        assert inked.any(), shape
        rows, columns = np.nonzero(inked)
        assert rows.min() >= 9 * SCALE
        assert rows.max() <= 24 * SCALE
        assert columns.min() >= 9 * SCALE
        assert columns.max() <= 26 * SCALE


def test_a_rectangle_is_as_large_as_it_says() -> None:
    assert (pixels(Rect(10, 10, 20, 5, "ink")) < 100).sum() == 20 * 5 * SCALE**2


def test_dashes_leave_gaps() -> None:
    whole = pixels(Line(((0, 20), (60, 20)), "ink", 2.0))
    dashed = pixels(Line(((0, 20), (60, 20)), "ink", 2.0, dashed=True))
    assert 0.4 < (dashed < 100).sum() / (whole < 100).sum() < 0.7


def test_text_ends_where_it_is_anchored() -> None:
    columns = np.nonzero(pixels(Text(30, 20, "word", "ink", "end")) < 200)[1]
    assert columns.max() <= 30 * SCALE
    assert columns.min() > 0


def test_letters_that_the_font_has_not_are_replaced() -> None:
    assert (pixels(Text(0, 20, "é×µ", "ink")) == pixels(Text(0, 20, "exu", "ink"))).all()
    assert (pixels(Text(0, 20, "报", "ink")) == pixels(Text(0, 20, "?", "ink"))).all()
