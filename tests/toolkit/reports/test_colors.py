"""Colors can be read, and told apart by those who see no red, green or blue."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from cnntk.reports.colors import COLORS, SERIES, Color

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
    found: Float64 = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return found


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
def test_series_are_told_apart(scheme: str, eye: str) -> None:
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
