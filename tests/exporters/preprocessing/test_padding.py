"""Black on both sides."""

import numpy as np
import pytest
from pixel_graphs import graph

from cnntk.runtime.artifact.spec import Preprocessing


@pytest.mark.parametrize("invert", ["never", "always", "light-background"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [(2, 7), (3, 7), (7, 2), (7, 4), (7, 7)])
def test_the_odd_pixel_is_below_or_right(size: tuple[int, int], layout: str, invert: str) -> None:
    p = Preprocessing("gray", 7, 7, resize="longest", invert=invert, layout=layout, scale=1.0)
    image = np.full((2, *size, 1), 100 if invert == "light-background" else 200, dtype=np.uint8)
    top, left = (7 - size[0]) // 2, (7 - size[1]) // 2
    expected = np.zeros((7, 7), dtype=np.float32)
    expected[top : top + size[0], left : left + size[1]] = {
        "never": 200,
        "always": 55,
        "light-background": 100,
    }[invert]
    assert np.array_equal(graph(p)(image).reshape(2, 7, 7), np.stack([expected] * 2))
