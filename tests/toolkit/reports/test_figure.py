from __future__ import annotations

import itertools
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cnntk.reports.figure import (
    COLORS,
    SERIES,
    Area,
    Circle,
    Color,
    Frame,
    Rect,
    Scale,
    Text,
    area_of,
    axes,
    legend,
    log_levels,
    position_labels,
    round_levels,
    text_width,
)

positive = st.floats(1e-9, 1e12)


def test_ends_and_middle() -> None:
    scale = Scale(0.0, 10.0, 100.0, 200.0)
    assert [scale.at(v) for v in (0, 5, 10)] == [100, 150, 200]
    log = Scale(1.0, 100.0, 0.0, 100.0, log=True)
    assert [log.at(v) for v in (1, 10, 100)] == [0, 50, 100]


def test_what_is_beyond_stands_on_the_end() -> None:
    assert Scale(1.0, 2.0, 50.0, 0.0).at(99) == 0
    assert Scale(1.0, 2.0, 50.0, 0.0, log=True).at(0) == 50


@given(low=positive, factor=st.floats(1.001, 1e9), log=st.booleans())
def test_levels_lie_on_the_scale_and_go_up(low: float, factor: float, log: bool) -> None:
    scale = Scale(low, low * factor, 0.0, 100.0, log)
    levels = scale.levels()
    assert 1 <= len(levels) <= 12
    assert levels == sorted(set(levels))
    assert all(low * (1 - 1e-6) <= v <= low * factor * (1 + 1e-6) for v in levels)


def test_levels_are_round() -> None:
    assert round_levels(0, 23) == [0, 5, 10, 15, 20]
    assert round_levels(0.0012, 0.0031) == pytest.approx([0.0015, 0.002, 0.0025, 0.003])
    assert log_levels(0.9, 30) == [1, 2, 5, 10, 20]
    assert log_levels(0.9, 20_000) == [1, 10, 100, 1000, 10_000]


def test_numbers_across_never_touch() -> None:
    frame = Frame(20, 90, 10, 50)
    xs, ys = Scale(1000.0, 90_000.0, 20, 90, log=True), Scale(0, 1, 50, 10)
    texts = [m for m in axes(frame, xs, ys, "", "") if isinstance(m, Text) and m.anchor == "middle"]
    for left, right in itertools.pairwise(texts):
        assert right.x - left.x >= (text_width(left.text, 10.5) + text_width(right.text, 10.5)) / 2


def test_a_key_goes_on_in_the_next_line() -> None:
    marks, end = legend([("series-1", "first one"), ("series-2", "second one")], 10, 100)
    boxes = [m for m in marks if isinstance(m, Rect)]
    assert [(b.x, b.y) for b in boxes] == [(0, 10), (0, 28)]
    assert end == 46
    assert legend([], 10, 100) == ([], 10)


def test_no_level_is_no_number() -> None:
    assert all(math.isfinite(v) for v in round_levels(-1e-9, 1e-9))


FRAME = Frame(0, 200, 0, 100)


def test_the_first_free_position() -> None:
    circle = Circle(50, 50, 10, "ink")
    on_it, beside = Text(50, 50, "a"), Text(70, 50, "a")
    assert list(position_labels([[on_it, beside]], [circle], FRAME)) == [beside]
    assert list(position_labels([[on_it, beside]], [], FRAME)) == [on_it]


def test_the_first_of_two_has_the_position() -> None:
    first, second = Text(10, 50, "first"), Text(12, 52, "second")
    assert list(position_labels([[first], [second]], [], FRAME)) == [first]


def test_no_name_leaves_the_frame() -> None:
    assert list(position_labels([[Text(190, 50, "a long name")]], [], FRAME)) == []
    assert list(position_labels([[Text(190, 50, "a long name", anchor="end")]], [], FRAME)) != []
    assert list(position_labels([[Text(10, 5, "above")]], [], FRAME)) == []


def test_neighbors_do_not_meet() -> None:
    assert not Area(0, 0, 10, 10).meets(Area(10, 0, 20, 10))
    assert Area(0, 0, 10, 10).meets(Area(9, 9, 20, 20))
    assert area_of(Circle(5, 5, 2, "ink")) == Area(3, 3, 7, 7)


Float64 = NDArray[np.float64]

SEEN_WITHOUT = {
    "nothing": np.eye(3),
    "red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""Machado, Oliveira and Fernandes (2009), of linear RGB, full severity."""

APART = 20.0
"""CIE76 difference: 2.3 is just noticeable side by side, marks in a plot lie further from each other."""


def linear(color: str) -> Float64:
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear_rgb: Float64 = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear_rgb


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's ratio."""
    dark, light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: Float64) -> Float64:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one: str, other: str, eye: Float64) -> float:
    return float(np.linalg.norm(lab(eye @ linear(one)) - lab(eye @ linear(other))))


@pytest.mark.parametrize("scheme", Color._fields)
@pytest.mark.parametrize("eye", SEEN_WITHOUT)
def test_series_can_be_distinguished(scheme: str, eye: str) -> None:
    colors = [getattr(COLORS[name], scheme) for name in SERIES]
    assert min(apart(a, b, SEEN_WITHOUT[eye]) for a, b in combinations(colors, 2)) > APART


def test_red_and_green_would_not_be() -> None:
    assert apart("#8a6d00", "#b05a00", SEEN_WITHOUT["nothing"]) > APART
    assert apart("#8a6d00", "#b05a00", SEEN_WITHOUT["green"]) < APART


@pytest.mark.parametrize("scheme", Color._fields)
def test_text_and_marks_stand_out_from_the_paper(scheme: str) -> None:
    def ratio(name: str, ground: str = "paper") -> float:
        return contrast(getattr(COLORS[name], scheme), getattr(COLORS[ground], scheme))

    assert min(ratio(name) for name in ("ink", "muted", "accent", "good", "bad")) >= 4.5
    assert min(ratio(name, "ground") for name in ("ink", "muted")) >= 4.5
    assert ratio("good", "good-soft") >= 4.5
    assert ratio("bad", "bad-soft") >= 4.5
    assert min(ratio(name) for name in SERIES) >= 3
