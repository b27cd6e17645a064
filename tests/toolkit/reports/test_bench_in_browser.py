"""The page of a bench as a browser shows it, at the width of a desktop and of a phone, light and dark.

``bench-1280.png`` and ``bench-390.png`` beside this file are what it looked like: a thumbnail of each
section, one below the other. After a change that is meant, look at the page, then write them anew::

    PYTHONPATH=tests python tests/toolkit/reports/test_bench_in_browser.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Window, measured, screenshots
from made_up_bench import full_bench
from numpy.typing import NDArray
from PIL import Image

from cnntk.reports.charts import render_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

DESKTOP, PHONE = 1280, 390
HEIGHT = 13000
"""Pixels, a little more than the page on a phone has."""

SIZE = (64, 48)

TOLERANCE = 25.0
"""Levels of gray of 255, on average over a section's thumbnail: with a serif or a monospaced font instead of
a sans serif sections differed by up to 18, without the style sheet one of them by 35."""

INK = 0.005
"""Share of a plot's pixels that stand out from its ground; the emptiest plot has four times as many."""

Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Shot:
    """A page as it lies and looks."""

    lies: dict[str, Any]
    pixels: Pixels

    def part(self, box: list[float]) -> Pixels:
        left, top, right, bottom = (max(round(v), 0) for v in box)
        return self.pixels[top:bottom, left:right]


@dataclass(frozen=True)
class Shots:
    """All that is looked at."""

    light: dict[int, Shot]
    dark: Shot
    unstyled: Shot
    unbroken: Shot
    blank: Shot


def take_screenshots() -> Shots:
    page = render_report(full_bench())
    unstyled = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    unbroken = page.replace("overflow-wrap: anywhere", "white-space: nowrap")
    blank = page.replace("currentColor", "none")
    windows = [
        Window(page, DESKTOP),
        *(Window(version, PHONE) for version in (page, unstyled, unbroken, blank)),
    ]
    lies = measured(windows)
    looks = [*screenshots(windows, HEIGHT), *screenshots(windows[1:2], HEIGHT, dark=True)]
    pixels = [np.asarray(image.convert("L"), dtype=np.float64) for image in looks]
    desktop, phone, bare, unbroken_shot, empty = map(Shot, lies, pixels[:5])
    return Shots({DESKTOP: desktop, PHONE: phone}, Shot(lies[1], pixels[5]), bare, unbroken_shot, empty)


@pytest.fixture(scope="module")
def shots() -> Shots:
    return take_screenshots()


def thumbnails(shot: Shot) -> Pixels:
    """Of each section, one below the other."""
    parts = [Image.fromarray(shot.part(box).astype(np.uint8)) for box in shot.lies["sections"].values()]
    return np.vstack(
        [np.asarray(part.resize(SIZE, Image.Resampling.BOX), dtype=np.float64) for part in parts]
    )


def reference(width: int) -> Path:
    return Path(__file__).with_name(f"bench-{width}.png")


def differences(shot: Shot, width: int) -> list[float]:
    """Of each section from what it looked like; endless where there are others than were."""
    with Image.open(reference(width)) as image:
        before = np.asarray(image, dtype=np.float64)
    now = thumbnails(shot)
    if now.shape != before.shape:
        return [float("inf")]
    return [float(part.mean()) for part in np.split(np.abs(now - before), len(now) // SIZE[1])]


def ink(shot: Shot, box: list[float]) -> float:
    part = shot.part(box)
    return float((np.abs(part - np.median(part)) > 60).mean())


def contrast(pixels: Pixels) -> float:
    """WCAG's, of the farthest levels from the most frequent one."""
    ground = float(np.median(pixels))
    text = float(np.quantile(pixels, 0.002 if ground > 128 else 0.998))
    dark, light = sorted((level / 255) ** 2.2 for level in (ground, text))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_page_never_scrolls_sideways(shots: Shots, width: int) -> None:
    lies = shots.light[width].lies
    assert lies["width"] == width
    assert lies["scroll_width"] == width
    boxes = [*lies["sections"].values(), *lies["figures"]]
    assert all(0 <= left < right <= width for left, _, right, _ in boxes)


def test_without_broken_lines_it_would(shots: Shots) -> None:
    assert shots.unbroken.lies["scroll_width"] > PHONE


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_each_plot_is_shown_once_and_has_ink(shots: Shots, width: int) -> None:
    shot = shots.light[width]
    assert len(shot.lies["figures"]) == 11
    assert min(ink(shot, box) for box in shot.lies["figures"]) > INK


def test_a_plot_without_colors_has_none(shots: Shots) -> None:
    assert max(ink(shots.blank, box) for box in shots.blank.lies["figures"]) < INK


def test_light_and_dark(shots: Shots) -> None:
    light, dark = (shot.part(shot.lies["sections"]["machine"]) for shot in (shots.light[PHONE], shots.dark))
    assert np.median(light) > 230
    assert np.median(dark) < 50
    assert contrast(light) > 4.5
    assert contrast(dark) > 4.5
    assert min(ink(shots.dark, box) for box in shots.dark.lies["figures"]) > INK


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_it_looks_as_it_did(shots: Shots, width: int) -> None:
    assert max(differences(shots.light[width], width)) < TOLERANCE


def test_it_would_be_seen_if_it_did_not(shots: Shots) -> None:
    phone = shots.light[PHONE]
    fewer = {name: box for name, box in phone.lies["sections"].items() if name != "layers"}
    assert max(differences(Shot({**phone.lies, "sections": fewer}, phone.pixels), PHONE)) > TOLERANCE
    assert max(differences(shots.unstyled, PHONE)) > TOLERANCE
    assert max(differences(shots.dark, PHONE)) > TOLERANCE


if __name__ == "__main__":
    for width, shot in take_screenshots().light.items():
        Image.fromarray(thumbnails(shot).round().astype(np.uint8)).save(reference(width), optimize=True)
