from cnntk.reports.axes import Frame
from cnntk.reports.figure import Circle, Text
from cnntk.reports.labels import Area, area_of, placed

FRAME = Frame(0, 200, 0, 100)


def test_the_first_place_that_is_free() -> None:
    circle = Circle(50, 50, 10, "ink")
    on_it, beside = Text(50, 50, "a"), Text(70, 50, "a")
    assert list(placed([[on_it, beside]], [circle], FRAME)) == [beside]
    assert list(placed([[on_it, beside]], [], FRAME)) == [on_it]


def test_the_first_of_two_has_the_place() -> None:
    first, second = Text(10, 50, "first"), Text(12, 52, "second")
    assert list(placed([[first], [second]], [], FRAME)) == [first]


def test_no_name_leaves_the_frame() -> None:
    assert list(placed([[Text(190, 50, "a long name")]], [], FRAME)) == []
    assert list(placed([[Text(190, 50, "a long name", anchor="end")]], [], FRAME)) != []
    assert list(placed([[Text(10, 5, "above")]], [], FRAME)) == []


def test_neighbors_do_not_meet() -> None:
    assert not Area(0, 0, 10, 10).meets(Area(10, 0, 20, 10))
    assert Area(0, 0, 10, 10).meets(Area(9, 9, 20, 20))
    assert area_of(Circle(5, 5, 2, "ink")) == Area(3, 3, 7, 7)
