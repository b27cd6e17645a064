"""Channels and layout."""

import numpy as np
import pytest
from pixel_graphs import echo, graph, open_session

from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.runtime.artifact.spec import Preprocessing

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_order(color: str, layout: str) -> None:
    p = Preprocessing(color, 4, 5, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, layout=layout)
    image = RNG.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    expected = image if color == "rgb" else image[..., ::-1]
    found = graph(p)(image)
    assert np.array_equal(found if layout == "NHWC" else found.transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gray_stands_for_all_three(layout: str) -> None:
    p = Preprocessing("bgr", 4, 5, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), layout=layout)
    gray = RNG.integers(0, 256, (2, 4, 5, 1), dtype=np.uint8)
    run = graph(p)
    assert np.array_equal(run(gray), run(np.repeat(gray, 3, axis=3)))


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_an_error(channels: int) -> None:
    p = Preprocessing("rgb", 4, 5, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = echo(p)
    add_preprocessing(model, p)
    with pytest.raises(Exception, match="Expand"):
        open_session(model).run(None, {"image": np.zeros((1, 4, 5, channels), np.uint8)})


def test_a_gray_network_takes_gray_images() -> None:
    p = Preprocessing("gray", 4, 5)
    model = echo(p)
    assert add_preprocessing(model, p).input.shape == ("N", "H", "W", 1)
    with pytest.raises(Exception, match="invalid dimensions"):
        open_session(model).run(None, {"image": np.zeros((1, 4, 5, 3), np.uint8)})
