"""Light backgrounds: the graph decides as the host does, also where it is close."""

import numpy as np
import pytest
from pixel_graphs import dark_and_light, gap, graph

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.preprocessing.preprocess import preprocess


@pytest.mark.parametrize("resize", ["stretch", "longest"])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (2, 2), (3, 3), (6, 9)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_by_the_outermost_pixels(color: str, layout: str, size: tuple[int, int], resize: str) -> None:
    """Sums are exact, so that the size of a level more is enough."""
    channels = 1 if color == "gray" else 3
    p = Preprocessing(
        color,
        *size,
        resize=resize,
        invert="light-background",
        layout=layout,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    rng, run = np.random.default_rng(0), graph(p)
    close = rng.integers(126, 130, (200, *size, channels), dtype=np.uint8)
    output = run(close)
    assert gap(run, close, p) < 0.001
    never = preprocess(list(close), Preprocessing(**{**vars(p), "invert": "never"}))
    inverted = (abs(output - never) > 0.001).any(axis=(1, 2, 3))
    assert 20 < inverted.sum() < 180


@pytest.mark.parametrize("levels", ["uint8", "float32"])
def test_large_images_are_summed_in_double(levels: str) -> None:
    """In float32 a sum over 300x300x3 would be off by a whole level."""
    p = Preprocessing(
        "rgb",
        300,
        300,
        resize="longest",
        invert="light-background",
        levels=levels,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )
    image = np.random.default_rng(0).integers(0, 256, (1, 300, 300, 3), dtype=np.uint8)
    image[:, [0, -1]] = image[:, :, [0, -1]] = 127
    image[:, 0] = 128
    image[:, 1:-1, 0] = 128
    image[:, 0, -2:] = 127  # 300 + 298 - 2 light, as many dark but for one
    run = graph(p)
    for light in range(-3, 4):
        closer = image.copy()
        closer[0, -1, 5, 0] = 127 + light
        assert gap(run, closer, p) < 0.001


def test_padding_is_black_around_an_inverted_image() -> None:
    p = Preprocessing("gray", 8, 8, resize="longest", invert="light-background", scale=1.0)
    dark, light = graph(p)(dark_and_light(np.random.default_rng(0), (4, 8), 1))[:, 0]
    for image in (dark, light):
        assert not image[:2].any()
        assert not image[6:].any()
        assert image[2:6].any(axis=1).all()


def test_always_costs_nothing() -> None:
    """255 - v is part of the normalization."""
    from pixel_graphs import echo

    from cnntk.exporters.preprocessing import add_preprocessing

    p = Preprocessing("gray", 8, 8)
    always = Preprocessing("gray", 8, 8, invert="always", mean=(1.0,))
    assert add_preprocessing(echo(always), always).nodes <= add_preprocessing(echo(p), p).nodes + 1
