"""The graph's way is the host's: every combination of steps, on random sizes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from pixel_graphs import dark_and_light, gap, graph

from cnntk.runtime.artifact.spec import Preprocessing

RGB = Preprocessing("rgb", 1, 1, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
GRAY = Preprocessing("gray", 1, 1, mean=(0.5,), std=(0.2,))
COLORS = (RGB, replace(RGB, color="bgr"), GRAY)
FILTERS = [
    ("nearest", True),
    ("bilinear", True),
    ("bicubic", True),
    ("bilinear", False),
    ("bicubic", False),
]
BOUNDS = {"nearest": 0.0, "bilinear": 2.0, "bicubic": 2.0}


@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
@pytest.mark.parametrize("levels", ["uint8", "float32"])
@pytest.mark.parametrize(("interpolation", "antialias"), FILTERS)
def test_every_combination(resize: str, interpolation: str, antialias: bool, levels: str) -> None:
    rng = np.random.default_rng([len(resize), len(interpolation), antialias, len(levels)])
    how = {"resize": resize, "interpolation": interpolation, "antialias": antialias, "levels": levels}
    bound = 0.01 + (BOUNDS[interpolation] if levels == "uint8" else 0.0)
    for color, invert, layout in itertools.product(
        COLORS, ("never", "always", "light-background"), ("NCHW", "NHWC")
    ):
        height, width = rng.integers(1, 40, 2).tolist()
        options = {**how, "height": height, "width": width, "invert": invert, "layout": layout}
        p = replace(color, **options, crop_ratio=float(rng.choice([1.0, 0.875, 0.5])))
        runs = {p: (graph(p), bound)}
        if antialias and interpolation != "nearest" and levels == "uint8":
            exact = replace(p, resize_form="exact")
            runs[exact] = (graph(exact), 0.01)
        for size in ((height, width), *rng.integers(1, 90, (3, 2)).tolist()):
            channels = 1 if color is GRAY else int(rng.choice([1, 3]))
            batch = dark_and_light(rng, tuple(size), channels, count=int(rng.integers(1, 4)))
            for p, (run, limit) in runs.items():
                assert gap(run, batch, p) <= limit, (size, p)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
@pytest.mark.parametrize("invert", ["never", "light-background"])
def test_odd_shapes(size: tuple[int, int], resize: str, invert: str) -> None:
    p = replace(RGB, height=5, width=9, resize=resize, invert=invert)
    assert gap(graph(p), dark_and_light(np.random.default_rng(0), size, 3), p) <= 2.01


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "size", [(448, 448), (112, 112), (300, 500), (1000, 60)], ids=lambda size: f"{size[0]}x{size[1]}"
)
def test_large_images(interpolation: str, size: tuple[int, int]) -> None:
    """Few levels differ, and floats hardly."""
    p = replace(RGB, height=224, width=224, interpolation=interpolation)
    batch = dark_and_light(np.random.default_rng(0), size, 3)
    assert gap(graph(p), batch, p) <= 2.01
    floats = replace(p, levels="float32")
    assert gap(graph(floats), batch, floats) <= 0.02


def test_neighbors_in_the_batch_are_not_seen() -> None:
    p = replace(RGB, height=20, width=30, resize="longest", invert="light-background")
    run, batch = graph(p), dark_and_light(np.random.default_rng(0), (33, 21), 3, count=4)
    together = run(batch)
    for i in range(4):
        np.testing.assert_array_equal(together[i], run(batch[i : i + 1])[0])


@pytest.mark.parametrize(
    "other",
    [
        {"antialias": False},
        {"interpolation": "bicubic"},
        {"color": "bgr"},
        {"resize": "stretch"},
        {"crop_ratio": 1.0},
        {"invert": "always"},
        {"mean": (0.5, 0.4, 0.2)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_the_check_can_fail(other: dict[str, object]) -> None:
    p = replace(RGB, height=16, width=16, resize="shortest", crop_ratio=0.8)
    batch = dark_and_light(np.random.default_rng(0), (60, 80), 3)
    run = graph(p)
    assert gap(run, batch, p) <= 2.01
    assert gap(run, batch, replace(p, **other)) > 5
